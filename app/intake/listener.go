package intake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"
)

// Limits of the listener.
const (
	mostConns        = 100 // at once
	mostConnsOfHost  = 20  // of one address, at once
	mostRefusals     = 10  // recipients in one connection, then it is closed
	mostRecipients   = 10  // of one message
	idleTimeout      = time.Minute
	longestProbation = time.Minute // until the first signed address
	longestSession   = 10 * time.Minute
	longestStore     = 12 * time.Second // for the database
	drainConnections = 5 * time.Second  // when the listener stops
)

// ListenerConfig is the configuration of a [Listener]. Intake, Hostname and Listener are
// required.
type ListenerConfig struct {
	Intake   *Intake // with a Tagger
	Hostname string  // that the server greets with
	LMTP     bool    // instead of SMTP
	Listener net.Listener
	TLS      *tls.Config // for STARTTLS; nil: it is not offered
	Logger   *slog.Logger
}

// Listener is a mail server that takes mails to signed addresses for bounces and no others.
// It relays nothing. It acknowledges a message when the message is stored.
type Listener struct {
	cfg    ListenerConfig
	server *smtp.Server
	conns  *limitedListener
}

// NewListener returns a Listener, which serves when Run is called.
func NewListener(cfg ListenerConfig) (*Listener, error) {
	if cfg.Intake == nil || cfg.Listener == nil || cfg.Intake.cfg.Tagger == nil {
		return nil, errors.New("a listener for bounces needs an intake with keys, and a port")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	l := &Listener{cfg: cfg, conns: newLimitedListener(cfg.Listener, cfg.Logger)}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{listener: l, conn: c}, nil
	}))
	s.Domain = cfg.Hostname
	s.LMTP = cfg.LMTP
	s.TLSConfig = cfg.TLS
	s.MaxMessageBytes = MaxSize
	s.MaxRecipients = mostRecipients
	s.ReadTimeout = idleTimeout
	s.WriteTimeout = idleTimeout
	s.EnableSMTPUTF8 = true
	s.ErrorLog = log.New(io.Discard, "", 0) // its lines may have text of the client in them
	l.server = s
	return l, nil
}

// Addr returns the address of the listener.
func (l *Listener) Addr() net.Addr { return l.cfg.Listener.Addr() }

// Run serves until ctx ends. Then it takes no more connections, and closes connections that do not
// end within five seconds. The port is closed when Run returns.
func (l *Listener) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := l.server.Serve(l.conns); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("take bounces: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		l.conns.drain()
		wait, cancel := context.WithTimeout(context.WithoutCancel(gctx), drainConnections)
		defer cancel()
		stop := context.AfterFunc(wait, l.conns.closeAll)
		defer stop()
		// Shutdown waits for the sessions, which end when their connections are closed.
		// The wait for the database is bounded; a bounce that is lost there is sent again.
		last, end := context.WithTimeout(context.WithoutCancel(gctx), drainConnections+longestStore)
		defer end()
		_ = l.server.Shutdown(last)
		return nil
	})
	return g.Wait()
}

func (l *Listener) source() string {
	if l.cfg.LMTP {
		return SourceLMTP
	}
	return SourceSMTP
}

// session is one connection.
type session struct {
	listener *Listener
	conn     *smtp.Conn
	from     string
	to       []string
	refused  int
}

// Mail implements [smtp.Session]. Bounces have an empty sender, complaints have not.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

// withReturnPath returns a message with the envelope sender before its header (RFC 5321 section
// 4.4). An empty one tells a bounce from a mail that looks like one.
func (s *session) withReturnPath(raw []byte) []byte {
	return append([]byte("Return-Path: <"+s.from+">\r\n"), raw...)
}

// Rcpt implements [smtp.Session].
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	reference, claimed := s.listener.cfg.Intake.tags.of(to)
	if reference != "" {
		s.listener.conns.trust(s.conn.Conn())
		s.to = append(s.to, to)
		return nil
	}
	if s.refused++; s.refused >= mostRefusals {
		// The reply of this command is lost with the connection.
		s.listener.cfg.Logger.Debug("connection for bounces closed, too many wrong recipients", "remote", host(s.conn.Conn()))
		s.conn.Conn().Close()
	}
	if claimed {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such address for bounces"}
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "This server takes bounces only"}
}

// Data implements [smtp.Session].
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err // go-smtp has the right reply code
	}
	raw = s.withReturnPath(raw)
	for _, to := range s.to {
		if err := s.take(raw, to); err != nil {
			return err
		}
	}
	return nil
}

// LMTPData implements [smtp.LMTPSession]: each recipient has a reply.
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	raw = s.withReturnPath(raw)
	for _, to := range s.to {
		status.SetStatus(to, s.take(raw, to))
	}
	return nil
}

// take stores a message for one recipient, and returns the reply.
func (s *session) take(raw []byte, to string) error {
	// The connection may be lost meanwhile; then the client sends a copy.
	ctx, cancel := context.WithTimeout(context.Background(), longestStore)
	defer cancel()
	err := s.listener.cfg.Intake.Ingest(ctx, raw, to, s.listener.source())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooLarge):
		return &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Message too large"}
	}
	s.listener.conns.logOften("bounce not stored, its sender must try again", "error", err)
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "The bounce cannot be stored now, try again later"}
}

// Reset implements [smtp.Session].
func (s *session) Reset() { s.to = nil }

// Logout implements [smtp.Session].
func (s *session) Logout() error { return nil }

// host returns the address of the other side without its port.
func host(c net.Conn) string {
	h, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return "socket" // of this host
	}
	return h
}
