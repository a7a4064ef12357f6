package mail_test

import (
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// tokenFile is a file that another program keeps.
type tokenFile string

func newTokenFile(t testing.TB, token string) tokenFile {
	f := tokenFile(filepath.Join(t.TempDir(), "token"))
	f.write(t, token)
	return f
}

func (f tokenFile) write(t testing.TB, token string) {
	t.Helper()
	if err := os.WriteFile(string(f), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

const oldToken, newToken = "ya29.cAnArY-0ldS3cret~/+==", "ya29.cAnArY-n3wS3cret"

// A token that has expired is replaced in its file, and the next mail goes, although the
// pause after the refusal is long. The token is nowhere to be seen.
func TestTokenIsReplaced(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a1B2.", 120)
	for name, tt := range map[string]struct {
		mechanisms []string
		old, want  string
		status     string
	}{
		"XOAUTH2":               {[]string{"PLAIN", "XOAUTH2"}, oldToken, "AUTH XOAUTH2", "status 401"},
		"OAUTHBEARER":           {[]string{"LOGIN", "OAUTHBEARER"}, oldToken, "AUTH OAUTHBEARER", "status invalid_token"},
		"both":                  {[]string{"XOAUTH2", "OAUTHBEARER"}, oldToken, "AUTH OAUTHBEARER", "status invalid_token"},
		"longer than a command": {[]string{"XOAUTH2"}, long, "AUTH XOAUTH2", "status 401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var valid atomic.Value
			valid.Store(tt.old)
			server := smtptest.New(t, smtptest.Options{
				STARTTLS: true, Username: "a=b,c@example.com", Mechanisms: tt.mechanisms,
				Token: func(token string) bool { return token == valid.Load() },
				Script: func(s smtptest.Step) smtptest.Action { // repeats the token later, too
					if s.Command == "RCPT" && s.Mails == 1 {
						return smtptest.Action{Reply: "451 4.3.0 no, " + tt.old + " " + base64.StdEncoding.EncodeToString([]byte(newToken))}
					}
					return smtptest.Action{}
				},
			})
			file := newTokenFile(t, tt.old+"\n")
			var logs lockedBuffer
			cfg := config(server)
			cfg.Security, cfg.Username, cfg.TokenFile, cfg.LoginPause = mail.StartTLS, "a=b,c@example.com", string(file), time.Hour
			cfg.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			sender := newSender(t, cfg)
			if _, err := sender.Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			valid.Store(newToken)
			_, err := sender.Send(t.Context(), message())
			failed := sendError(t, err)
			if failed.Code != 535 || failed.Command != "AUTH" || !failed.ConfigurationFault() || !strings.Contains(failed.Text, tt.status) {
				t.Errorf("expired token: %v", err)
			}
			if _, err := sender.Send(t.Context(), message()); sendError(t, err).Code != 535 {
				t.Error(err)
			}
			file.write(t, newToken)
			if _, err := sender.Send(t.Context(), message()); err != nil {
				t.Errorf("new token: %v", err)
			}
			mails := server.WaitMails(2)
			if mails[0].Login != "a=b,c@example.com" || count(server.Commands(), tt.want) == 0 {
				t.Errorf("logged in as %q by %q", mails[0].Login, server.Commands())
			}
			stop := run(t, sender)
			for err = nil; err == nil; { // until a mail meets the connection of another
				_, err = sender.Send(t.Context(), message())
			}
			stop()
			for _, text := range []string{logs.String(), failed.Explain(), err.Error()} {
				for _, secret := range []string{"cAnArY", "0ldS3cret", "n3wS3cret", long[:40], base64.StdEncoding.EncodeToString([]byte(newToken))[:20]} {
					if strings.Contains(text, secret) {
						t.Errorf("%q is in %s", secret, text)
					}
				}
			}
		})
	}
}

// Servers refuse a mechanism that they offer, and take the other.
func TestTokenByTheOtherMechanism(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{
		Username: "u", Mechanisms: []string{"XOAUTH2", "OAUTHBEARER"}, Token: func(token string) bool { return token == newToken },
		Script: func(s smtptest.Step) smtptest.Action {
			if s.Line == "AUTH OAUTHBEARER" {
				return smtptest.Action{Reply: "504 5.7.4 Unrecognized authentication type"}
			}
			return smtptest.Action{}
		},
	})
	cfg := config(server)
	cfg.Username, cfg.TokenFile = "u", string(newTokenFile(t, newToken))
	sender := newSender(t, cfg)
	for range 2 {
		if _, err := sender.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
	if c := server.Commands(); count(c, "AUTH OAUTHBEARER") != 1 || count(c, "AUTH XOAUTH2") != 2 {
		t.Errorf("commands %q", c)
	}
}

// oauthSession is a session whose login another implementation checks.
type oauthSession struct {
	*recorder
	token string
	opts  *sasl.OAuthBearerOptions
}

func (s *oauthSession) NewSession(*smtp.Conn) (smtp.Session, error) { return s, nil }
func (s *oauthSession) AuthMechanisms() []string                    { return []string{sasl.OAuthBearer} }

func (s *oauthSession) Auth(string) (sasl.Server, error) {
	return sasl.NewOAuthBearerServer(func(opts sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opts = &opts
		if opts.Token != s.token {
			return &sasl.OAuthBearerError{Status: "invalid_token", Schemes: "bearer"}
		}
		return nil
	}), nil
}

func TestTokenIsReadByAnother(t *testing.T) {
	t.Parallel()
	session := &oauthSession{recorder: &recorder{}, token: newToken}
	cfg := startGoSMTP(t, session)
	file := newTokenFile(t, oldToken)
	cfg.Username, cfg.TokenFile = "u@example.com", string(file)
	sender := newSender(t, cfg)
	_, err := sender.Send(t.Context(), message())
	if failed := sendError(t, err); failed.Command != "AUTH" || failed.Code != 454 || !strings.Contains(failed.Text, "authentication error") || !strings.Contains(failed.Text, "status invalid_token") {
		t.Errorf("another token: %v", err)
	}
	file.write(t, newToken)
	if _, err := sender.Send(t.Context(), message()); err != nil {
		t.Errorf("right token: %v", err)
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	if want := (sasl.OAuthBearerOptions{Username: "u@example.com", Token: newToken, Host: "127.0.0.1", Port: cfg.Port}); *session.opts != want {
		t.Errorf("read as %+v, want %+v", *session.opts, want)
	}
}

// A file without a usable token is a fault of the configuration that ends when the file is
// there. The server is not asked.
func TestTokenFileMissing(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Username: "u", Mechanisms: []string{"XOAUTH2"}, Token: func(token string) bool { return token == newToken }})
	file := newTokenFile(t, "")
	cfg := config(server)
	cfg.Username, cfg.TokenFile = "u", string(file)
	sender := newSender(t, cfg)
	for _, content := range []string{"", " \n", `{"access_token": "` + oldToken + `"}`, "Bearer " + oldToken, oldToken + "\n" + newToken, strings.Repeat("x", 20<<10)} {
		file.write(t, content)
		_, err := sender.Send(t.Context(), message())
		if failed := sendError(t, err); failed.Command != "AUTH" || !failed.ConfigurationFault() || strings.Contains(failed.Explain(), "ya29") || !strings.Contains(failed.Explain(), string(file)) {
			t.Errorf("%.20q: %s", content, failed.Explain())
		}
	}
	if n, _ := server.Connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
	file.write(t, newToken)
	if _, err := sender.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
}

func TestTokenConfig(t *testing.T) {
	t.Parallel()
	for want, edit := range map[string]func(*mail.Config){
		"without a user":    func(c *mail.Config) { c.TokenFile = "/t" },
		"Password as well":  func(c *mail.Config) { c.TokenFile, c.Username, c.Password = "/t", "u", "p" },
		"control character": func(c *mail.Config) { c.TokenFile, c.Username = "/t", "u\x01auth=" },
		"readable":          func(c *mail.Config) { c.TokenFile, c.Username, c.Host = "/t", "u", "relay.example" },
	} {
		cfg := mail.Config{Host: "127.0.0.1", Security: mail.Plain, FromAddress: "mail@evently.example"}
		edit(&cfg)
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
