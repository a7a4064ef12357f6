package mail_test

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/mail/verp"
)

// The parameters are sent where they are offered, and nowhere else.
func TestNotificationParameters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, to, orcpt string
		offers          []string
	}{
		{"plain address", "jane+news=x@example.com", "ORCPT=rfc822;jane+2Bnews+3Dx@example.com", []string{"DSN"}},
		{"international domain", "jane@bücher.example", "ORCPT=rfc822;jane@xn--bcher-kva.example", []string{"DSN"}},
		{"international address", "jörg+x@bücher.example", `ORCPT=utf-8;jörg\x{2B}x@xn--bcher-kva.example`, []string{"dsn", "SMTPUTF8", "8BITMIME"}},
		{"not offered", "jane@example.com", "", []string{"SMTPUTF8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := smtptest.New(t, smtptest.Options{Extensions: tt.offers})
			m := message()
			m.To = tt.to
			receipt, err := newSender(t, config(server)).Send(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			got := server.WaitMails(1)[0]
			ref, _, _ := strings.Cut(strings.Trim(receipt.MessageID, "<>"), "@")
			for _, want := range []string{"RET=HDRS", "ENVID=" + ref} {
				if slices.Contains(got.Params, want) != (tt.orcpt != "") {
					t.Errorf("MAIL parameters %q, %q is wrong", got.Params, want)
				}
			}
			want := []string{"NOTIFY=FAILURE,DELAY", tt.orcpt}
			if tt.orcpt == "" {
				want = nil
			}
			if !slices.EqualFunc(got.RcptParams, want, strings.EqualFold) { // RFC 3461 section 4.2: the type has any case
				t.Errorf("RCPT parameters %q, want %q", got.RcptParams, want)
			}
			if utf8 := strings.HasPrefix(tt.to, "jörg"); slices.Contains(got.Params, "SMTPUTF8") != utf8 {
				t.Errorf("MAIL parameters %q, SMTPUTF8 wanted: %t", got.Params, utf8)
			}
		})
	}
}

// recorder is a session of go-smtp's server, which decodes the parameters.
type recorder struct {
	mu   sync.Mutex
	from string
	mail smtp.MailOptions
	rcpt smtp.RcptOptions
	data []byte
}

func (r *recorder) NewSession(*smtp.Conn) (smtp.Session, error) { return r, nil }
func (r *recorder) Reset()                                      {}
func (r *recorder) Logout() error                               { return nil }

func (r *recorder) Mail(from string, opts *smtp.MailOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.from, r.mail = from, *opts
	return nil
}

func (r *recorder) Rcpt(_ string, opts *smtp.RcptOptions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rcpt = *opts
	return nil
}

func (r *recorder) Data(body io.Reader) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data, err = io.ReadAll(body)
	return err
}

// startGoSMTP starts the server of another implementation and returns how to reach it.
func startGoSMTP(t testing.TB, backend smtp.Backend) mail.Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(backend)
	server.Domain, server.EnableDSN, server.EnableSMTPUTF8, server.AllowInsecureAuth = "relay.example", true, true, true
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { _ = server.Close(); running.Wait() })
	return mail.Config{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: mail.Plain,
		FromAddress: "mail@evently.example", HelloName: "worker-1.evently.example",
	}
}

// Another implementation reads the parameters as they are meant.
func TestNotificationParametersAreRead(t *testing.T) {
	t.Parallel()
	server := &recorder{}
	cfg := startGoSMTP(t, server)
	for to, kind := range map[string]smtp.DSNAddressType{
		"jane+news@example.com": smtp.DSNAddressTypeRFC822,
		"jörg+x@example.com":    smtp.DSNAddressTypeUTF8,
		`"a..b"@example.com`:    smtp.DSNAddressTypeRFC822,
	} {
		m := message()
		m.To = to
		receipt, err := newSender(t, cfg).Send(t.Context(), m)
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		server.mu.Lock()
		if server.rcpt.OriginalRecipient != to || server.rcpt.OriginalRecipientType != kind ||
			!slices.Equal(server.rcpt.Notify, []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}) {
			t.Errorf("%s: RCPT read as %+v", to, server.rcpt)
		}
		if server.mail.Return != smtp.DSNReturnHeaders || !strings.Contains(receipt.MessageID, "<"+server.mail.EnvelopeID+"@") || server.mail.UTF8 != (kind == smtp.DSNAddressTypeUTF8) {
			t.Errorf("%s: MAIL read as %+v", to, server.mail)
		}
		server.mu.Unlock()
	}
}

// A copy that is sent again has the same envelope id, and another mail another one.
func TestEnvelopeIDIsThatOfTheMail(t *testing.T) {
	t.Parallel()
	server := smtptest.New(t, smtptest.Options{Extensions: []string{"DSN"}})
	sender := newSender(t, config(server))
	for _, id := range []string{"a", "a", "b"} {
		m := message()
		m.TaskID = id
		if _, err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, m := range server.WaitMails(3) {
		at := slices.IndexFunc(m.Params, func(p string) bool { return strings.HasPrefix(p, "ENVID=") })
		ids = append(ids, m.Params[at])
	}
	if ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("envelope ids %q", ids)
	}
}

// A relay of an internationalised name is dialled, and greeted, by its A-labels.
func TestInternationalHosts(t *testing.T) {
	t.Parallel()
	cfg := mail.Config{Host: "mail.bücher.example", HelloName: "wörker.bücher.example", FromAddress: "mail@bücher.example"}
	if err := cfg.Check(); err != nil {
		t.Error(err)
	}
	cfg.Host = "mail.b\u200büch er.example"
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "Host") {
		t.Errorf("%v, want a fault of the host", err)
	}
	server := smtptest.New(t, smtptest.Options{})
	greeted := config(server)
	greeted.HelloName = "wörker.bücher.example"
	if _, err := newSender(t, greeted).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if got := server.WaitMails(1)[0].Hello; got != "xn--wrker-jua.xn--bcher-kva.example" {
		t.Errorf("EHLO %s", got)
	}
}

const bounceKey, oldBounceKey = "0123456789abcdef", "fedcba9876543210"

// A mail with an address for bounces keeps its sender in the header. The address leads back to
// the mail, and does not reveal the recipient.
func TestBounceAddress(t *testing.T) {
	t.Parallel()
	server := &recorder{}
	cfg := startGoSMTP(t, server)
	cfg.BounceDomain, cfg.BounceKeys = "Bounces.bücher.example", []string{bounceKey, oldBounceKey}
	receipt, err := newSender(t, cfg).Send(t.Context(), message())
	if err != nil {
		t.Fatal(err)
	}
	tagger, err := verp.New("bounces.xn--bcher-kva.example", bounceKey)
	if err != nil {
		t.Fatal(err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	id, err := tagger.Check(server.from)
	if err != nil || !strings.HasPrefix(receipt.MessageID, "<"+id+"@evently.example") || id != server.mail.EnvelopeID {
		t.Errorf("sender %s: id %q, %v; Message-ID %s", server.from, id, err, receipt.MessageID)
	}
	local, _, _ := strings.Cut(server.from, "@")
	if len(local) > 64 || strings.Contains(server.from, "jane") || strings.Contains(server.from, "roe") {
		t.Errorf("local part %s", local)
	}
	if from := header(t, server.data, "From"); !strings.Contains(from, "mail@evently.example") {
		t.Errorf("From: %s", from)
	}
}

func TestBounceConfig(t *testing.T) {
	t.Parallel()
	for want, edit := range map[string]func(*mail.Config){
		"BounceKeys: a domain and a key": func(c *mail.Config) { c.BounceKeys = nil },
		"BounceKeys: key 2":              func(c *mail.Config) { c.BounceKeys = []string{bounceKey, "secret"} },
		"BounceDomain: domain of one":    func(c *mail.Config) { c.BounceDomain = "localhost" },
		"BounceDomain: ":                 func(c *mail.Config) { c.BounceDomain = "a@b.example" },
	} {
		cfg := mail.Config{Host: "relay.example", FromAddress: "mail@evently.example", BounceDomain: "bounces.example.com", BounceKeys: []string{bounceKey}}
		edit(&cfg)
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret,") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	server := smtptest.New(t, smtptest.Options{})
	one, two := config(server), config(server)
	one.BounceDomain, one.BounceKeys = "bounces.example.com", []string{bounceKey}
	two.BounceDomain, two.BounceKeys = "bounces.example.com", []string{oldBounceKey}
	if _, err := mail.NewRelays(mail.Relay{Sender: newSender(t, one)}, mail.Relay{Sender: newSender(t, two)}); err == nil {
		t.Error("relays with different keys")
	}
	if _, err := mail.NewRelays(mail.Relay{Sender: newSender(t, one)}, mail.Relay{Sender: newSender(t, one)}); err != nil {
		t.Error(err)
	}
}
