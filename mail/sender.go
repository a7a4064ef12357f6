package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/evently/workers/mail/internal/redact"
	"github.com/evently/workers/mail/internal/verdict"
	"github.com/evently/workers/mail/internal/ways"
)

// Sender sends mails over a small pool of connections to one server. Its methods may be called
// by several goroutines.
type Sender struct {
	cfg  Config
	from identity
	tls  *tls.Config
	addr string
	log  *slog.Logger

	slots   chan struct{} // one for each connection in use
	guards  loginGuards
	status  statusKeeper
	streaks verdict.Streaks
	prober  prober
	past    redact.History
	secrets redact.Secrets // of the process and of the logins

	mechanisms  mechanismKeeper
	credentials credentialKeeper
	ways        ways.Memory

	mu      sync.Mutex
	running bool       // Run is running and closes idle connections
	idle    []*session // the last one was used last
	renewed time.Time  // of the last Renew
}

// Receipt describes a mail that the server accepted.
type Receipt struct {
	MessageID string        // with its angle brackets
	Reply     string        // final reply of the server, often with its queue id; cleaned like [SendError.Text]
	QueueID   string        // of the mail at the server, for a search in its logs; "" if the reply names none
	TLS       string        // version and cipher suite, "" without TLS
	Relay     string        // host and port of the configuration
	Peer      string        // address of the server
	Size      int           // octets of the mail
	Reused    bool          // the connection carried an earlier mail
	Times     Times         // of the phases
	Duration  time.Duration // of the call of Send
	Others    []*SendError  // failures at other relays before, as in [SendError]
}

// Times are the durations of the phases of one delivery. Phases that were not reached are 0. A
// phase that failed counts until its failure.
type Times struct {
	Wait    time.Duration // for one of MaxConns connections
	Connect time.Duration // until a connection is ready: name, TCP, TLS, greeting, EHLO and AUTH; about 0 for a reused one
	Mail    time.Duration // from MAIL to its reply
	Rcpt    time.Duration // from RCPT, or from the reply to MAIL that came with it, to its reply
	Data    time.Duration // DATA and the body, until only the end of data is left
	Guard   time.Duration // of [Message.BeforeFinal]
	Final   time.Duration // from the end of data to its reply
}

// New returns a Sender without opening a connection. The error names every fault of cfg, see
// [Config.Check].
func New(cfg Config) (*Sender, error) {
	from, faults := cfg.check()
	if len(faults) > 0 {
		return nil, fmt.Errorf("mail configuration:\n%w", errors.Join(faults...))
	}
	s := &Sender{
		cfg:   cfg,
		from:  from,
		addr:  net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)),
		log:   cfg.Logger,
		slots: make(chan struct{}, cfg.MaxConns),
		tls:   &tls.Config{ServerName: cfg.Host, RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
	}
	s.secrets = redact.Join(credential{user: cfg.Username, secret: cfg.Password}.forms(), redact.Secrets{Past: &s.past, Live: &s.credentials.hidden})
	s.Hide(cfg.Secrets)
	if cfg.hostName != "" && cfg.HelloName == from.from.Domain {
		s.log.Info("host name is not fully qualified, EHLO uses the domain of the sender", "host", cfg.hostName, "ehlo", cfg.HelloName)
	}
	if len(cfg.signers) > 0 && !aligned(cfg.DKIM.Domain, from.from.Domain) {
		s.log.Warn("DKIM domain is not that of the sender, receivers do not count the signature", "domain", cfg.DKIM.Domain, "from", from.from.Domain)
	}
	switch {
	case cfg.TokenFile != "":
		if _, failed := s.credentials.read(context.Background(), &s.cfg, nil); failed != nil {
			s.log.Warn("SMTP login needs a token file", "error", failed)
		}
	case (cfg.Username == "") != (cfg.Password == ""):
		s.log.Warn("SMTP login disabled: username and password are not both set")
	}
	return s, nil
}

// Send composes m and sends it. A nil error means that the server accepted the responsibility
// for the mail (RFC 5321 section 6.1), even if the connection fails afterwards. All errors are
// of type [*SendError].
//
// When ctx ends, the connection is closed at once, at any stage. After the end of data the
// error is then [SendError.Unknown].
func (s *Sender) Send(ctx context.Context, m Message) (Receipt, error) {
	start := time.Now()
	c, err := s.Compose(m)
	if err != nil {
		return Receipt{}, err
	}
	c.beforeFinal = m.BeforeFinal
	composed := time.Now()
	err = s.takeSlot(ctx, m.Wait)
	waited := time.Since(composed)
	if err != nil {
		return Receipt{}, &SendError{Command: "WAIT", Err: err, Times: Times{Wait: waited}, Duration: time.Since(start)}
	}
	defer func() { <-s.slots }()
	_, encoded, _ := bytes.Cut(c.Bytes, []byte("\r\n\r\n"))
	s.past.Add(m.Secrets, m.To, m.Subject, m.Text)
	hide := redact.Join(s.secrets, redact.Secrets{
		Mail:   m.Secrets,
		Quoted: []string{m.Subject, m.Text, m.HTML, string(encoded)},
	})
	receipt, failed := s.deliver(ctx, c, hide)
	receipt.Relay = s.addr
	if failed != nil {
		failed.Relay = s.addr
		failed.Times.Wait, failed.Duration = waited, time.Since(start)
	}
	s.count(m.To, failed)
	s.status.note(failed, time.Now())
	log := s.log.With("kind", m.Kind, "message_id", c.MessageID, "to", MaskAddress(m.To))
	if failed != nil {
		log.Debug("mail not sent", "error", failed)
		return Receipt{}, failed
	}
	receipt.Times.Wait, receipt.Duration = waited, time.Since(start)
	log.Debug("mail sent", "reply", receipt.Reply, "tls", receipt.TLS, "reused", receipt.Reused, "duration", receipt.Duration.Seconds())
	return receipt, nil
}

// Ping opens a connection up to the login, sends NOOP and keeps the connection for the next
// mail. It returns nil, or the [*SendError] that a mail would meet before its first command.
func (s *Sender) Ping(ctx context.Context) error {
	if err := s.takeSlot(ctx, nil); err != nil {
		return &SendError{Command: "WAIT", Err: err}
	}
	defer func() { <-s.slots }()
	c, failed := s.open(ctx, s.secrets)
	if failed == nil {
		failed = c.noop(ctx, s.secrets)
		s.release(c, nil)
	}
	s.status.pinged(failed, time.Now())
	if failed != nil {
		failed.Relay = s.addr
		return failed
	}
	return nil
}

// Renew keeps the connections that are open now from being used for another mail, so that the
// next ones log in by Config.Credentials. Mails in progress end on their connections.
func (s *Sender) Renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = time.Now()
}

// Hide replaces the texts of Config.Secrets: secrets may be replaced while the process runs. The
// former ones should be among them, because a server may repeat one later. It also concerns mails
// that are on their way.
func (s *Sender) Hide(secrets []string) {
	s.credentials.hidden.SetProcess(slices.Concat(secrets, s.cfg.BounceKeys))
}

// takeSlot waits until a connection may be used. around is [Message.Wait] or nil.
func (s *Sender) takeSlot(ctx context.Context, around func(context.Context, func(context.Context) error) error) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	wait := func(ctx context.Context) error {
		select {
		case s.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ended(ctx)
		}
	}
	if around == nil {
		return wait(ctx)
	}
	return around(ctx, wait)
}

// count records the outcome of a mail in the count of refusals.
func (s *Sender) count(recipient string, failed *SendError) {
	switch {
	case failed == nil:
		s.streaks.Accepted()
	case failed.refused() && !failed.beforeMail() && failed.Err == nil && !failed.Greylisted:
		failed.Recipients = s.streaks.Refused(recipient, failed.Code, failed.EnhancedCode, failed.Text)
	}
}
