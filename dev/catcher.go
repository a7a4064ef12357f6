package dev

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"
)

// catcher is an SMTP server that accepts mail to any address and keeps it. No mail leaves
// the machine.
type catcher struct {
	inbox  *Inbox
	chaos  *chaos // nil: it always works
	logger *slog.Logger
	now    func() time.Time
	ended  chan struct{} // closed at the end; nil: none
}

// serve answers on l until ctx ends. It closes l.
func (c *catcher) serve(ctx context.Context, l net.Listener) error {
	s := smtp.NewServer(smtp.BackendFunc(func(conn *smtp.Conn) (smtp.Session, error) {
		return &session{catcher: c, conn: conn}, nil
	}))
	s.Domain = "localhost"
	s.MaxMessageBytes = maxMailBytes
	s.MaxRecipients = 100
	s.ReadTimeout = time.Minute
	s.WriteTimeout = time.Minute
	s.EnableSMTPUTF8 = true
	s.EnableDSN = true
	s.ErrorLog = log.New(io.Discard, "", 0) // its lines may have text of the client in them

	conns := &connections{Listener: l}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.Serve(conns); ignoreClosed(err) != nil {
			return fmt.Errorf("catch mail: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		if c.ended != nil {
			close(c.ended)
		}
		conns.closeAll()
		// Only Shutdown waits for the sessions. Without their connections they end
		// immediately; the limit is for unknown faults.
		wait, cancel := context.WithTimeout(context.WithoutCancel(gctx), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(wait); ignoreClosed(err) != nil {
			return fmt.Errorf("stop catching mail: %w", err)
		}
		return nil
	})
	return g.Wait()
}

// connections is a listener that can close the connections that it accepted: smtp.Server
// can either close its connections or wait for them, not both.
type connections struct {
	net.Listener

	mu     sync.Mutex
	closed bool
	open   []net.Conn
}

// Accept implements [net.Listener].
func (l *connections) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	tracked := &connection{Conn: c, of: l}
	l.open = append(l.open, tracked)
	return tracked, nil
}

func (l *connections) closeAll() {
	l.Listener.Close()
	l.mu.Lock()
	open := l.open
	l.open, l.closed = nil, true
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// connection removes itself from its listener when it is closed.
type connection struct {
	net.Conn
	of *connections
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.of.mu.Lock()
	c.of.open = slices.DeleteFunc(c.of.open, func(o net.Conn) bool { return o == c })
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// session is one SMTP connection.
type session struct {
	catcher *catcher
	conn    *smtp.Conn
	from    string
	to      []string
}

// Mail implements [smtp.Session].
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return s.catcher.chaos.onMail()
}

// Rcpt implements [smtp.Session]. Every address is welcome, unless a fault is switched on.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.catcher.chaos.onRecipient(to); err != nil {
		return err
	}
	s.to = append(s.to, to)
	return nil
}

// Data implements [smtp.Session].
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err // go-smtp gives it the right reply code
	}
	// A worker withholds a mail by going away within its last chunk, and go-smtp takes the rest
	// of a chunk for the whole.
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		return io.ErrUnexpectedEOF
	}
	if _, ok := s.catcher.chaos.meet(FaultHang); ok {
		return s.catcher.chaos.hang(s.catcher.ended)
	}
	m := readMail(raw)
	m.Received = s.catcher.now()
	m.EnvelopeFrom, m.EnvelopeTo = s.from, s.to
	s.catcher.inbox.add(m)
	s.catcher.logger.Info("mail caught", "mail", m.ID, "message_id", m.MessageID, "bytes", len(raw))
	if _, ok := s.catcher.chaos.meet(FaultDrop); ok {
		s.conn.Conn().Close()
	}
	return nil
}

// Reset implements [smtp.Session].
func (s *session) Reset() { s.from, s.to = "", nil }

// Logout implements [smtp.Session].
func (s *session) Logout() error { return nil }
