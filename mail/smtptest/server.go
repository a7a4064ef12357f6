// Package smtptest provides an SMTP server for tests. It records mails, and misbehaves on
// demand at any step of the dialogue.
//
//	server := smtptest.New(t, smtptest.Options{})
//	... send to server.Host(), server.Port() ...
//	mails := server.WaitMails(1)
//
// It uses package net directly, because a server library cannot be made to break the
// protocol.
package smtptest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// TB is what a server needs of a test. Every testing.TB is one.
type TB interface {
	Helper()
	Cleanup(func())
	TempDir() string
	Fatalf(format string, args ...any)
}

// Options configures a server. The zero value is a well-behaved server without TLS and login.
type Options struct {
	STARTTLS    bool // offer STARTTLS
	ImplicitTLS bool // begin with the handshake

	// TLS replaces the server's certificate, which its own authority signed for
	// 127.0.0.1, ::1 and localhost.
	TLS *tls.Config

	// Username and Password make the server offer AUTH, after TLS if it has TLS, and
	// require it before MAIL.
	Username, Password string
	Mechanisms         []string // offered; nil: PLAIN and LOGIN

	// Token accepts or refuses the access token of XOAUTH2 and OAUTHBEARER. It needs a
	// Username and Mechanisms.
	Token func(token string) bool

	// Extensions are more lines of the EHLO reply: "SIZE 1000", "SMTPUTF8". The server can
	// do PIPELINING always, and BDAT if "CHUNKING" is one of them.
	Extensions []string

	// Gather makes the server send the replies to commands that came together in one
	// write, as servers with PIPELINING do.
	Gather bool

	// LenientEnd makes the server accept LF.LF and LF.CRLF as the end of data, like
	// servers that are open to SMTP smuggling.
	LenientEnd bool

	// Script is called at every step and returns the action; the zero Action is the
	// normal reply. Each connection calls it from one goroutine.
	Script func(Step) Action
}

// Step is one step of the dialogue.
type Step struct {
	Conn    int    // number of the connection, from 1
	Command string // "CONNECT", "TLS", a command's verb, "BODY" (after 354 or BDAT LAST) or "." (after the end of the mail)
	Line    string // the whole command; of AUTH the mechanism alone
	Mails   int    // mails accepted on this connection
	Grouped bool   // more octets came together with the command
}

// Action is the behaviour of the server at a step.
type Action struct {
	Reply string // instead of the normal one; CRLF separates lines, and the last line has none
	Then  Then   // after the reply; for "BODY" instead of reading
}

// Then is the behaviour after a reply.
type Then int

const (
	Go      Then = iota // continue the dialogue
	Close               // FIN after the reply of the Action, or instead of the normal reply
	Reset               // RST after the reply of the Action, or instead of the normal reply
	Freeze              // no reply, no more reading, the connection stays open
	Trickle             // the reply is sent in single octets, 20 ms apart, without end
	Split               // the reply is sent in single octets, then the dialogue goes on
	Unread              // the octets of a refused chunk are read as commands, as by a server without BDAT
	Discard             // what came together with the command is thrown away before the reply
)

// Mail is a mail that the server accepted.
type Mail struct {
	From, To   string   // envelope, without angle brackets
	Params     []string // of MAIL
	RcptParams []string
	Data       []byte // message, dots unstuffed
	Raw        []byte // as received, with the end of data
	Hello      string // name in EHLO
	Login      string // user name, "" without AUTH
	TLS        bool
	Chunked    bool // by BDAT
	Conn       int
	At         time.Time // of the acceptance
}

// Server is a running server. It stops at the end of the test.
type Server struct {
	Authority *Authority

	tb       TB
	opts     Options
	listener net.Listener
	tls      *tls.Config
	done     chan struct{}
	wg       sync.WaitGroup

	mu       sync.Mutex
	login    [2]string             // user and password
	open     map[net.Conn]net.Conn // raw connections, with the TLS connection over each or itself
	conns    int
	mails    []Mail
	commands []string
	changed  chan struct{} // closed and replaced at every mail, command and connection
}

// New starts a server on a free port of 127.0.0.1.
func New(tb TB, opts Options) *Server {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("%v", err)
	}
	s := &Server{
		tb:       tb,
		opts:     opts,
		login:    [2]string{opts.Username, opts.Password},
		listener: listener,
		tls:      opts.TLS,
		done:     make(chan struct{}),
		open:     make(map[net.Conn]net.Conn),
		changed:  make(chan struct{}),
	}
	if opts.STARTTLS || opts.ImplicitTLS {
		s.Authority = NewAuthority(tb)
		if s.tls == nil {
			cert := s.Authority.Issue(tb, time.Now().Add(time.Hour), "127.0.0.1", "::1", "localhost")
			s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
		}
	}
	s.wg.Go(s.accept)
	tb.Cleanup(s.Stop)
	return s
}

// Host returns 127.0.0.1.
func (s *Server) Host() string { return "127.0.0.1" }

// Port returns the port.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Addr returns host and port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Roots returns a pool with the authority of the server's certificate, or nil without TLS.
func (s *Server) Roots() *x509.CertPool {
	if s.Authority == nil {
		return nil
	}
	return s.Authority.Roots()
}

// SetLogin replaces the user and the password. Connections that are logged in stay so.
func (s *Server) SetLogin(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = [2]string{user, password}
}

// knows reports whether a login is correct.
func (s *Server) knows(user, password string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login == [2]string{user, password}
}

// Stop closes all connections and waits for the goroutines of the server. Later calls do
// nothing.
func (s *Server) Stop() {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	for conn := range s.open {
		_ = conn.Close()
	}
	s.mu.Unlock()
	_ = s.listener.Close()
	s.wg.Wait()
}

// CloseConnections closes all connections, like a server that restarts, and continues to accept
// new ones.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.Close()
	}
}

// Say writes text to all connections, without a command, and then closes them if end is Close
// or Reset. The text must include its CRLF.
func (s *Server) Say(text string, end Then) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for raw, conn := range s.open {
		_, _ = conn.Write([]byte(text))
		if tcp, ok := raw.(*net.TCPConn); ok && end == Reset {
			_ = tcp.SetLinger(0)
		}
		if end == Close || end == Reset {
			_ = raw.Close()
		}
	}
}

// Mails returns the mails that were accepted so far.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Commands returns the commands of all connections in the order of arrival. Of AUTH it returns
// only the mechanism.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Connections returns the numbers of accepted and of open connections.
func (s *Server) Connections() (accepted, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, len(s.open)
}

// WaitMails waits until n mails were accepted and returns all mails. It fails the test after
// ten seconds.
func (s *Server) WaitMails(n int) []Mail {
	s.tb.Helper()
	s.Wait("mails", func() bool { return len(s.Mails()) >= n })
	return s.Mails()
}

// Wait waits for a condition on the server. It fails the test after ten seconds with "still
// waiting for" and what.
func (s *Server) Wait(what string, met func() bool) {
	s.tb.Helper()
	limit := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if met() {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.tb.Fatalf("still waiting for %s; commands so far: %q", what, s.Commands())
		}
	}
}

// note changes the record under the lock and wakes the waiting goroutines.
func (s *Server) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		var n int
		stopped := false
		s.note(func() {
			select {
			case <-s.done:
				stopped = true
				return
			default:
			}
			s.conns++
			n = s.conns
			s.open[conn] = conn
		})
		if stopped {
			_ = conn.Close()
			return
		}
		s.wg.Go(func() {
			d := &dialogue{server: s, raw: conn, number: n}
			d.run()
			_ = conn.Close()
			s.note(func() { delete(s.open, conn) })
		})
	}
}

// Text returns the data with LF instead of CRLF, for tests.
func (m Mail) Text() string {
	return string(bytes.ReplaceAll(m.Data, []byte("\r\n"), []byte("\n")))
}
