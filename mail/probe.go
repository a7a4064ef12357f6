package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// silence is the time without a greeting after which the server is probed for TLS and
	// HTTP. Servers that delay their greeting on purpose wait for about five seconds.
	silence = 6 * time.Second

	probeLimit = 5 * time.Second
	probePause = 10 * time.Minute // after a probe without a finding
)

// reachDial bounds the connection of [Sender.Reach]. One that is not there after a second or two
// comes late: another one is better.
const reachDial = 2 * time.Second

// Reach finds out whether the server can be reached. It connects, waits for the greeting, and ends
// the connection by QUIT. It does not log in, and changes no status. It returns nil, or the
// [*SendError] of what failed.
func (s *Sender) Reach(ctx context.Context) error {
	if err := s.takeSlot(ctx, nil); err != nil {
		return &SendError{Command: "WAIT", Err: err}
	}
	defer func() { <-s.slots }()
	failed := s.reach(ctx)
	if failed == nil {
		return nil
	}
	failed.Relay = s.addr
	return withContextCause(ctx, failed)
}

func (s *Sender) reach(ctx context.Context) *SendError {
	dialer := net.Dialer{Timeout: min(reachDial, s.cfg.Timeouts.Dial)}
	conn, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return sendError("DIAL", dialFault(err), s.secrets)
	}
	defer conn.Close()
	c := &session{cfg: &s.cfg, raw: conn}
	defer context.AfterFunc(ctx, c.abort)()
	h := handshake{session: c, sender: s, hide: s.secrets}
	_, greeting, failed := h.begin(ctx)
	if failed == nil {
		_, _, _ = greeting.ask(s.cfg.Timeouts.Quit, "QUIT") // the server has greeted
	}
	return failed
}

// awaitGreeting waits for the first octets of the greeting, within the deadline of the step. A
// server that waits for a TLS handshake or an HTTP request sends nothing. A second connection
// detects that long before the deadline.
func (h *handshake) awaitGreeting(ctx context.Context, w *wire) error {
	quiet := min(silence, h.cfg.Timeouts.Greeting/2)
	if err := w.Conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
		return err
	}
	_, err := w.in.Peek(1)
	if isTimeout(err) {
		if err := h.sender.probe(ctx, w.end); err != nil {
			return err
		}
		if err := w.Conn.SetReadDeadline(w.end); err != nil {
			return err
		}
		_, err = w.in.Peek(1)
	}
	if err != nil {
		return err
	}
	if err := w.Conn.SetReadDeadline(w.end); err != nil {
		return err
	}
	return notSMTP(w.in)
}

// notSMTP returns an error if the received octets are the greeting of another protocol.
func notSMTP(in *bufio.Reader) error {
	begin, err := in.Peek(min(in.Buffered(), 8))
	if err != nil {
		return err
	}
	text := string(begin)
	switch {
	case isWebServer(begin):
		return errWebServer
	case len(begin) >= 3 && (begin[0] == 0x15 || begin[0] == 0x16) && begin[1] == 3: // an alert, or a handshake
		return errTLSAtOnce
	}
	for _, other := range []string{"SSH-", "+OK", "-ERR", "* OK", "* BYE", "* PREAUTH", "RFB "} {
		if strings.HasPrefix(text, other) {
			return errNotSMTP
		}
	}
	return nil
}

// prober limits how often a silent server is probed.
type prober struct {
	mu   sync.Mutex
	last time.Time // of the last probe without a finding
}

// probe starts a TLS handshake over a second connection. It returns the fault that this shows
// before end, or nil. It sends nothing but the handshake.
func (s *Sender) probe(ctx context.Context, end time.Time) error {
	s.prober.mu.Lock()
	recent := time.Since(s.prober.last) < probePause
	s.prober.mu.Unlock()
	if recent {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := s.askTLS(ctx)
	if err == nil {
		s.prober.mu.Lock()
		s.prober.last = time.Now()
		s.prober.mu.Unlock()
	}
	return err
}

// askTLS runs the handshake of a probe.
func (s *Sender) askTLS(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil // only the silence of the server is known
	}
	defer raw.Close()
	protocols := []string{"h2", "http/1.1"} // only a web server chooses one
	conn := tls.Client(raw, &tls.Config{
		ServerName: s.cfg.Host, MinVersion: tls.VersionTLS10, NextProtos: protocols,
		InsecureSkipVerify: true, // no data is sent, and no answer is trusted
	})
	err = conn.HandshakeContext(ctx)
	header, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case err == nil && slices.Contains(protocols, conn.ConnectionState().NegotiatedProtocol):
		return errWebServer
	case err == nil && s.cfg.Security != ImplicitTLS:
		return errTLSAtOnce
	case isPlain && isWebServer(header.RecordHeader[:]):
		return errWebServer
	}
	return nil
}
