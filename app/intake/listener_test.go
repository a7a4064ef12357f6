package intake_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/ledger"
)

// listen starts a listener and returns its address. It stops with the test.
func (f *fixture) listen(i *intake.Intake, change func(*intake.ListenerConfig)) (addr string, stop func()) {
	f.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	cfg := intake.ListenerConfig{Intake: i, Hostname: "worker.example.com", Listener: l, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	listener, err := intake.NewListener(cfg)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- listener.Run(ctx) }()
	var once atomic.Bool
	stop = func() {
		if !once.CompareAndSwap(false, true) {
			return
		}
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				f.Errorf("Run: %v", err)
			}
		case <-time.After(time.Minute):
			f.Error("the listener did not stop")
		}
	}
	f.Cleanup(stop)
	return l.Addr().String(), stop
}

func code(err error) string {
	if err == nil {
		return "250"
	}
	if e, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return fmt.Sprintf("%d %d.%d.%d", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	}
	return err.Error()
}

func dial(t *testing.T, addr string) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Only signed addresses get mail, and the reply to the end of a message tells the truth.
func TestListener(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(f *fixture) {
		f.write(accepted(task))
		addr, _ := f.listen(f.intake, nil)
		c := dial(f.T, addr)
		reference := mail.Reference(task)
		if err := c.Mail("", nil); err != nil {
			f.Fatal(err)
		}
		for to, want := range map[string]string{
			addressOf(f, wrongKey, reference): "550 5.1.1",
			"postmaster@" + domain:            "550 5.7.1",
			"ada@example.com":                 "550 5.7.1",
			strings.Replace(addressOf(f, key, reference), domain, "relay.example", 1):           "550 5.7.1",
			strings.Replace(addressOf(f, key, reference), "@"+domain, "%"+domain+"@"+domain, 1): "550 5.7.1",
		} {
			if got := code(c.Rcpt(to, nil)); got != want {
				f.Errorf("RCPT %s: %s, want %s", to, got, want)
			}
		}
		if _, err := c.Data(); err == nil {
			f.Error("a message without a recipient is taken")
		}
		c = dial(f.T, addr)
		for i := range 2 {
			if err := c.SendMail("", []string{addressOf(f, key, reference)}, strings.NewReader(unknownUser().String())); err != nil {
				f.Errorf("message %d: %v", i, err)
			}
			if n := len(f.stored()); n != 1 { // it is there when the reply comes
				f.Errorf("%d rows", n)
			}
		}
		if f.state(task) != ledger.Bounced || f.suppressed() != 1 || f.stored()[0].Source != intake.SourceSMTP {
			f.Errorf("mail is %s, suppressed %d times, %+v", f.state(task), f.suppressed(), f.stored())
		}
		big := unknownUser().String() + strings.Repeat("0123456789\n", intake.MaxSize/10)
		if got := code(c.SendMail("", []string{addressOf(f, key, reference)}, strings.NewReader(big))); !strings.HasPrefix(got, "552") {
			f.Errorf("a message that is too large: %s", got)
		}
	})
}

// A notice in words that only people understand is a bounce if its envelope sender is empty.
func TestEnvelopeSenderTellsBounces(t *testing.T) {
	t.Parallel()
	const notice = "From: Postmaster <postmaster@example.org>\r\nTo: x@example.com\r\nSubject: Message\r\n\r\n" +
		"Ihre Nachricht konnte nicht zugestellt werden:\r\n\r\nada@example.org\r\n\r\nEmpfänger unbekannt\r\n"
	for from, want := range map[string]ledger.BounceKind{"": ledger.BounceFailed, "postmaster@example.org": ledger.BounceUnrelated} {
		f := newFixture(t, sqlite(t))
		f.write(accepted(task))
		addr, _ := f.listen(f.intake, nil)
		if err := dial(t, addr).SendMail(from, []string{addressOf(t, key, mail.Reference(task))}, strings.NewReader(notice)); err != nil {
			t.Fatal(err)
		}
		if stored := f.stored(); len(stored) != 1 || stored[0].Kind != want {
			t.Errorf("from %q: %+v, want %s", from, stored, want)
		}
	}
}

// brokenStore fails until it is repaired.
type brokenStore struct {
	store  intake.Store
	broken atomic.Bool
}

func (s *brokenStore) Store(ctx context.Context, b ledger.Bounce) (ledger.Bounce, bool, error) {
	if s.broken.Load() {
		return b, false, errors.New("the database is unavailable")
	}
	return s.store.Store(ctx, b)
}

// Without a database the client keeps the bounce, and it is stored later. LMTP has a reply for
// each recipient.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	store := &brokenStore{store: f.bounces}
	store.broken.Store(true)
	addr, _ := f.listen(f.newIntake(store), func(c *intake.ListenerConfig) { c.LMTP = true })
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c := smtp.NewClientLMTP(conn)
	defer c.Close()
	send := func() map[string]string {
		if err := c.Mail("", nil); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, to := range []string{addressOf(t, key, mail.Reference(task)), addressOf(t, oldKey, unknownReference)} {
			if err := c.Rcpt(to, nil); err != nil {
				t.Fatal(err)
			}
			got[to] = "250"
		}
		w, err := c.Data()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(unknownUser().String()))
		_, err = w.CloseWithLMTPResponse()
		if failed, ok := errors.AsType[smtp.LMTPDataError](err); ok {
			for to, err := range failed {
				got[to] = code(err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for to, got := range send() {
		if got != "451 4.3.0" {
			t.Errorf("%s: %s without a database", to, got)
		}
	}
	store.broken.Store(false)
	for to, got := range send() {
		if got != "250" {
			t.Errorf("%s: %s", to, got)
		}
	}
	if len(f.stored()) != 2 || f.state(task) != ledger.Bounced || f.stored()[0].Source != intake.SourceLMTP {
		t.Errorf("stored %+v", f.stored())
	}
}

// A host has a number of connections, and one that guesses addresses is cut off.
func TestListenerLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	addr, stop := f.listen(f.intake, nil)
	var conns []net.Conn
	refused := ""
	for range 30 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "421 4.7.0") {
			refused = line
			break
		}
		conns = append(conns, c)
	}
	if len(conns) != 20 || refused == "" {
		t.Errorf("%d connections, then %q", len(conns), refused)
	}
	for _, c := range conns {
		c.Close()
	}
	var guesser *smtp.Client
	f.await("a free place", func() bool {
		c, err := smtp.Dial(addr)
		guesser = c
		return err == nil && c.Mail("", nil) == nil
	})
	defer guesser.Close()
	guesses := 0
	for ; guesses < 50; guesses++ {
		if err := guesser.Rcpt(addressOf(t, wrongKey, mail.Reference(fmt.Sprint(guesses))), nil); !strings.HasPrefix(code(err), "550") {
			break
		}
	}
	if guesses == 0 || guesses > 10 {
		t.Errorf("%d guesses", guesses)
	}
	// The listener stops while a client holds a connection.
	held := dial(t, addr)
	if err := held.Noop(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	stop()
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the port is still open")
	}
}

// A certificate is used for STARTTLS.
func TestStartTLS(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	authority := smtptest.NewAuthority(t)
	cert := authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1")
	addr, _ := f.listen(f.intake, func(c *intake.ListenerConfig) { c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} })
	c, err := smtp.DialStartTLS(addr, &tls.Config{RootCAs: authority.Roots(), ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SendMail("", []string{addressOf(t, key, mail.Reference(task))}, strings.NewReader(unknownUser().String())); err != nil || len(f.stored()) != 1 {
		t.Errorf("%v, %d rows", err, len(f.stored()))
	}
}
