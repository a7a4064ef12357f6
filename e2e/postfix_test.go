package e2e_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/postfix"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/bounce"
	"github.com/evently/workers/mail/smtptest"
)

const (
	postfixUser     = "evently"
	postfixPassword = "pa55 of the relay"
)

// mailboxes is the server behind Postfix. It refuses the addresses that begin with "gone" until
// it is told that they exist.
type mailboxes struct {
	*smtptest.Server

	mu    sync.Mutex
	exist bool
}

func startMailboxes(t *testing.T) *mailboxes {
	m := &mailboxes{}
	m.Server = smtptest.New(t, smtptest.Options{Extensions: []string{"SMTPUTF8", "8BITMIME"}, Script: func(s smtptest.Step) smtptest.Action {
		m.mu.Lock()
		defer m.mu.Unlock()
		if s.Command == "RCPT" && strings.Contains(s.Line, "<gone") && !m.exist {
			return smtptest.Action{Reply: "550 5.1.1 no such mailbox"}
		}
		return smtptest.Action{}
	}})
	return m
}

func (m *mailboxes) create() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exist = true
}

// to returns the mails to an address.
func (m *mailboxes) to(address string) (mails []smtptest.Mail) {
	for _, mail := range m.Mails() {
		if mail.To == address {
			mails = append(mails, mail)
		}
	}
	return mails
}

// documented returns the lines of a file of Postfix that docs/bounces.md shows, those of its
// n-th block for that file.
func documented(t *testing.T, file string, n int) string {
	t.Helper()
	text, err := os.ReadFile("../docs/bounces.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?s)\n# /etc/postfix/`+regexp.QuoteMeta(file)+`\n(.*?)\n(?:\n|`+"```"+`)`).FindAllSubmatch(text, -1)
	if len(blocks) <= n {
		t.Fatalf("docs/bounces.md has %d blocks for %s", len(blocks), file)
	}
	return string(blocks[n][1]) + "\n"
}

// postfixWorld is a service whose relay is Postfix.
type postfixWorld struct {
	*historyWorld
	postfix   *postfix.Server
	mailboxes *mailboxes

	plain, submission, smtps, internet string // ports
	ca                                 string // file
}

func startPostfixWorld(t *testing.T) *postfixWorld {
	t.Helper()
	w := &postfixWorld{mailboxes: startMailboxes(t), plain: freePort(t), submission: freePort(t), smtps: freePort(t), internet: freePort(t)}
	lmtp := freePort(t)
	w.historyWorld = startHistoryWorld(t, "BOUNCE_KEY="+e2eBounceKey, "BOUNCE_DOMAIN=bounces.example.com", "BOUNCE_LISTEN=lmtp://127.0.0.1:"+lmtp,
		"SMTP_HOST=127.0.0.1")
	w.env = append(w.env, "SMTP_PORT="+w.plain)

	authority := smtptest.NewAuthority(t)
	ca, err := os.ReadFile(authority.File(t))
	if err != nil {
		t.Fatal(err)
	}
	here := func(lines string) string {
		return strings.NewReplacer("/etc/postfix", "@DIR@", "127.0.0.1:2424", "127.0.0.1:"+lmtp, "user=evently", "user=nobody",
			"/usr/local/bin/evently-bounces", "@DIR@/evently-bounces", "/usr/local/bin/evently-workers", bin.service, "/etc/evently", "@DIR@").Replace(lines)
	}
	pipe := strings.ReplaceAll(documented(t, "transport", 1), "bounces.example.com", "pipe.example.com")
	domains := strings.NewReplacer("relay_domains = ", "relay_domains = pipe.example.com ")
	o := postfix.Options{
		Main: here(domains.Replace(documented(t, "main.cf", 0))+documented(t, "main.cf", 1)) + `message_size_limit = 200000
smtpd_tls_chain_files = @DIR@/server.pem
cyrus_sasl_config_path = @DIR@/sasl
smtpd_sasl_local_domain = postfix.example
`,
		Master: here(documented(t, "master.cf", 0)) + fmt.Sprintf(`127.0.0.1:%s inet n - n - - smtpd
  -o smtpd_tls_security_level=none
127.0.0.1:%s inet n - n - - smtpd
  -o mynetworks=192.0.2.1/32 -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_auth_only=yes -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
127.0.0.1:%s inet n - n - - smtpd
  -o mynetworks=192.0.2.1/32 -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
127.0.0.1:%s inet n - n - - smtpd
  -o mynetworks=192.0.2.1/32
`, w.plain, w.submission, w.smtps, w.internet),
		Files: map[string]string{
			"transport": here(documented(t, "transport", 0)+pipe) + fmt.Sprintf("mail.example smtp:[127.0.0.1]:%d\nsender.example smtp:[127.0.0.1]:%d\n",
				w.mailboxes.Port(), w.mailboxes.Port()),
			"server.pem":      pemOf(t, authority),
			"ca.pem":          string(ca), // here the user of the pipe can read it
			"sasl/smtpd.conf": "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: @DIR@/sasl/users\n",
			"evently-bounces": here(documentedScript(t)),
			"worker.env":      "PATH=/usr/bin:/bin\n" + quoted(w.env),
		},
		Maps: []string{"transport"},
	}
	w.postfix = postfix.Start(t, o)
	w.ca = filepath.Join(w.postfix.Dir, "ca.pem")
	postfix.AddUser(t, filepath.Join(w.postfix.Dir, "sasl/users"), postfixUser, postfixPassword)
	return w
}

// documentedScript returns the script for the pipe.
func documentedScript(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/bounces.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, ok := strings.Cut(string(text), "```sh\n#!/bin/sh\n")
	script, _, end := strings.Cut(script, "```")
	if !ok || !end {
		t.Fatal("docs/bounces.md has no script")
	}
	return "#!/bin/sh\n" + script
}

// quoted returns an environment as a file for the shell.
func quoted(env []string) string {
	var b strings.Builder
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		b.WriteString(name + "='" + value + "'\n")
	}
	return b.String()
}

// pemOf returns the key and the certificate of a server, as Postfix wants them.
func pemOf(t *testing.T, a *smtptest.Authority) string {
	t.Helper()
	cert := a.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
}

// code has the service send a code.
func (w *postfixWorld) code(t *testing.T, to string) (task string) {
	t.Helper()
	return flood(t, celeryNew, w.redis, queue, 1, prefix+"send_otp_verification_email", otpTo(to), nil)[0]
}

// TestPostfix has Debian's Postfix as the relay of the service and as the server that returns
// mails, with the lines of docs/bounces.md.
func TestPostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("Postfix runs only as root")
	}
	t.Parallel()
	if err := os.Chmod(filepath.Dir(bin.service), 0o755); err != nil { // the pipe runs it as another user
		t.Fatal(err)
	}
	w := startPostfixWorld(t)
	proc := w.start(t)
	t.Run("bounce, suppression, release", w.returned)
	t.Run("unsigned addresses", w.unsigned)
	t.Run("transport", w.transport)
	proc.signal(syscall.SIGTERM)
	if code := proc.wait(30 * time.Second); code != 0 {
		t.Fatalf("the service ended with %d", code)
	}
	t.Run("failover and pipe", w.failover)
	for _, secret := range []string{historyCode, postfixPassword} {
		if strings.Contains(proc.out.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

const saysGone = "said 550 5.1.1"

// returned has a mail come back: the next one is suppressed, until the address is released.
func (w *postfixWorld) returned(t *testing.T) {
	const address = "gone@mail.example"
	task := w.code(t, address)
	w.ask(t, w.env, task, 1, saysGone)
	out, code := w.command(t, w.env, "deliveries", "show", task, "--json")
	if code != 0 || !strings.Contains(out, `"bounced"`) || !strings.Contains(out, `"accepted"`) {
		t.Errorf("deliveries show: exit code %d\n%s", code, out)
	}
	if out, code := w.command(t, w.env, "bounces", "list", "--json"); code != 0 || !strings.Contains(out, `"matched_by": "tag"`) {
		t.Errorf("bounces list: exit code %d\n%s", code, out)
	}
	if out, code := w.command(t, w.env, "suppressions", "list", "--json"); code != 0 || !strings.Contains(out, `"bad_address"`) {
		t.Errorf("suppressions list: exit code %d\n%s", code, out)
	}

	accepted := strings.Count(w.postfix.Log(), "to=<"+address+">")
	next := w.code(t, address)
	w.ask(t, w.env, next, 1, "because the address is suppressed: bad_address")
	eventually(t, 30*time.Second, "an honest result", func() bool { return strings.Contains(w.result(next), "suppressed") })
	if n := strings.Count(w.postfix.Log(), "to=<"+address+">"); n != accepted {
		t.Errorf("a mail to a suppressed address reached the relay:\n%s", w.postfix.Log())
	}

	w.mailboxes.create()
	if out, code := w.command(t, w.env, "suppressions", "release", address, "--reason", "the mailbox is new", "--yes"); code != 0 {
		t.Fatalf("release: exit code %d\n%s", code, out)
	}
	w.ask(t, w.env, w.code(t, address), 0, "Yes.")
	eventually(t, 30*time.Second, "a mail after the release", func() bool { return len(w.mailboxes.to(address)) == 1 })
}

// unsigned offers mails to the domain of bounces from elsewhere: Postfix asks the worker, and
// refuses them itself.
func (w *postfixWorld) unsigned(t *testing.T) {
	refused := func(to string) string {
		err := smtp.SendMail("127.0.0.1:"+w.internet, nil, "spam@sender.example", []string{to}, []byte("Subject: spam\r\n\r\nspam\r\n"))
		return fmt.Sprint(err)
	}
	for to, want := range map[string]string{
		"info@bounces.example.com": "said: 550 5.7.1",
		"b+632122fdd04721f582291d856bf81690-oxbk2oxbk2@bounces.example.com": "550 5.1.1",
		"ada@mail.example": "Relay access denied",
	} {
		if got := refused(to); !strings.Contains(got, want) {
			t.Errorf("a mail to %s: %s, want %s", to, got, want)
		}
	}
}

// sender returns a sender that uses Postfix, and what closes its connections.
func (w *postfixWorld) sender(t *testing.T, change func(*mail.Config)) (s *mail.Sender, stop func()) {
	t.Helper()
	port, err := strconv.Atoi(w.plain)
	if err != nil {
		t.Fatal(err)
	}
	cfg := mail.Config{Host: "127.0.0.1", Port: port, Security: mail.Plain, FromAddress: "robot@sender.example", HelloName: "worker.example"}
	change(&cfg)
	s, err = mail.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return s, stop
}

func portNumber(s string) int { n, _ := strconv.Atoi(s); return n }

// transport sends a mail with each option of the transport.
func (w *postfixWorld) transport(t *testing.T) {
	encrypted := func(port string, security mail.Security) func(*mail.Config) {
		return func(c *mail.Config) {
			c.Port, c.Security, c.TLSCAFile, c.Username, c.Password = portNumber(port), security, w.ca, postfixUser+"@postfix.example", postfixPassword
		}
	}
	for i, tt := range []struct {
		name   string
		to     string
		change func(*mail.Config)
		tls    bool
		logged string // of the commands that Postfix counted
	}{
		{"chunking", "ada1@mail.example", func(*mail.Config) {}, false, " mail=2 rcpt=2 bdat="},
		{"no chunking", "ada2@mail.example", func(c *mail.Config) { c.NoChunking = true }, false, " mail=2 rcpt=2 data=2 "},
		{"no pipelining", "ada3@mail.example", func(c *mail.Config) { c.NoChunking, c.NoPipelining = true, true }, false, " mail=2 rcpt=2 data=2 "},
		{"STARTTLS and AUTH", "ada4@mail.example", encrypted(w.submission, mail.StartTLS), true, "ehlo=2 starttls=1 auth=1 mail=2 rcpt=2 bdat="},
		{"smtps and AUTH", "ada5@mail.example", encrypted(w.smtps, mail.ImplicitTLS), true, "ehlo=1 auth=1 mail=2 rcpt=2 bdat="},
		{"SMTPUTF8", "jürgen@mail.example", func(*mail.Config) {}, false, " mail=2 rcpt=2 bdat="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, stop := w.sender(t, tt.change)
			m := mail.Message{To: tt.to, Subject: "Grüße", Text: "Grüße\n.\n.. dots\n" + strings.Repeat("a line that is repeated\n", 500), TaskID: fmt.Sprint("transport-", i)}
			receipt, err := s.Send(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			if receipt.QueueID == "" || tt.tls != (receipt.TLS != "") {
				t.Errorf("receipt %+v", receipt)
			}
			m.TaskID += "-second"
			if r, err := s.Send(t.Context(), m); err != nil || !r.Reused {
				t.Errorf("the second mail: %v, reused %v", err, r.Reused)
			}
			stop()
			w.postfix.Logged(t, "disconnect from", tt.logged)
			eventually(t, 30*time.Second, "both mails", func() bool { return len(w.mailboxes.to(tt.to)) == 2 })
			both := w.mailboxes.to(tt.to) // in any order
			if data := slices.Concat(both[0].Data, both[1].Data); !bytes.Contains(data, []byte(receipt.MessageID)) {
				t.Errorf("other mails:\n%s", clip(string(data), 1000))
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		s, _ := w.sender(t, func(c *mail.Config) {
			encrypted(w.submission, mail.StartTLS)(c)
			c.Password = "another"
		})
		if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "535 5.7.8") {
			t.Errorf("%v", err)
		}
	})
	t.Run("unknown authority", func(t *testing.T) {
		s, _ := w.sender(t, func(c *mail.Config) { encrypted(w.submission, mail.StartTLS)(c); c.TLSCAFile = "" })
		if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("%v", err)
		}
	})
	t.Run("SIZE", func(t *testing.T) {
		s, _ := w.sender(t, func(*mail.Config) {})
		_, err := s.Send(t.Context(), mail.Message{To: "ada@mail.example", Subject: "long", Text: strings.Repeat("a line that is repeated\n", 20000), TaskID: "size"})
		if err == nil || !strings.Contains(err.Error(), "552") {
			t.Errorf("%v", err)
		}
	})
	t.Run("DSN", w.dsn)
}

// dsn has Postfix return a mail whose envelope has ENVID and ORCPT.
func (w *postfixWorld) dsn(t *testing.T) {
	s, _ := w.sender(t, func(*mail.Config) {})
	const to = "absent@nowhere.example"
	if _, err := s.Send(t.Context(), mail.Message{To: to, Subject: "returned", Text: "text", TaskID: "dsn"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the bounce", func() bool { return len(w.mailboxes.to("robot@sender.example")) > 0 })
	raw := w.mailboxes.to("robot@sender.example")[0].Data
	m, err := bounce.Parse(bytes.NewReader(raw))
	if err != nil || m.EnvelopeID != mail.Reference("dsn") || len(m.Recipients) != 1 || m.Recipients[0].Original != to {
		t.Errorf("%v: %+v\n%s", err, m, raw)
	}
}

// failover starts the service with two relays. The preferred one ends, and the other one takes
// over. Bounces go through a pipe, to the domain of this service.
func (w *postfixWorld) failover(t *testing.T) {
	first := freePort(t)
	preferred := postfix.Start(t, postfix.Options{
		Main:   fmt.Sprintf("relay_domains = mail.example\nrelayhost = [127.0.0.1]:%d\n", w.mailboxes.Port()),
		Master: "127.0.0.1:" + first + " inet n - n - - smtpd\n",
	})
	login := postfixUser + "%40postfix.example:" + strings.ReplaceAll(postfixPassword, " ", "%20") + "@"
	w.env = append(w.env, "BOUNCE_DOMAIN=pipe.example.com", "BOUNCE_LISTEN=off", "SMTP_TLS_CA_FILE="+w.ca,
		"SMTP_URLS=smtp+plain://127.0.0.1:"+first+" smtps://"+login+"127.0.0.1:"+w.smtps)
	if err := os.WriteFile(filepath.Join(w.postfix.Dir, "worker.env"), []byte("PATH=/usr/bin:/bin\n"+quoted(w.env)), 0o644); err != nil {
		t.Fatal(err)
	}
	proc := w.start(t)
	out := w.ask(t, w.env, w.code(t, "before@mail.example"), 0, "Yes.")
	if !strings.Contains(out, "127.0.0.1:"+first) {
		t.Errorf("by another relay:\n%s", out)
	}
	eventually(t, 30*time.Second, "the first mail", func() bool { return len(w.mailboxes.to("before@mail.example")) == 1 })
	preferred.Stop()
	if c, err := net.Dial("tcp", "127.0.0.1:"+first); err == nil {
		c.Close()
		t.Error("the preferred relay listens")
	}
	out = w.ask(t, w.env, w.code(t, "after@mail.example"), 0, "Yes.")
	if !strings.Contains(out, "127.0.0.1:"+w.smtps) {
		t.Errorf("by another relay:\n%s", out)
	}
	eventually(t, 30*time.Second, "the second mail", func() bool { return len(w.mailboxes.to("after@mail.example")) == 1 })
	if s := w.status("/readyz"); s != http.StatusOK {
		t.Errorf("/readyz is %d", s)
	}

	w.mailboxes.mu.Lock()
	w.mailboxes.exist = false
	w.mailboxes.mu.Unlock()
	w.ask(t, w.env, w.code(t, "gone-too@mail.example"), 1, saysGone)
	w.postfix.Logged(t, "@pipe.example.com>", "relay=bounces", "status=sent")
	proc.signal(syscall.SIGTERM)
	if code := proc.wait(30 * time.Second); code != 0 {
		t.Errorf("the service ended with %d", code)
	}
	if strings.Contains(proc.out.String(), postfixPassword) {
		t.Error("the log has the password")
	}
}
