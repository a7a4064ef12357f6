package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/evently/workers/mail/internal/redact"
)

// open makes a connection that is ready for MAIL, unless the login is refused at
// the moment. hide holds what must not be seen in the server's words.
func (s *Sender) open(ctx context.Context, hide redact.Secrets) (*session, *SendError) {
	if !s.cfg.login() {
		return s.connect(ctx, hide)
	}
	refusal, probe := s.guard.enter(time.Now())
	if refusal != nil {
		return nil, refusal
	}
	c, failed := s.connect(ctx, hide)
	if failed != nil && failed.untriedLogin {
		c, failed = s.connect(ctx, hide) // with the other mechanism
	}
	s.guard.leave(probe, failed, s.cfg.LoginPause, time.Now())
	return c, failed
}

// connect makes a connection that is greeted, encrypted as configured and logged
// in. It dials once.
func (s *Sender) connect(ctx context.Context, hide redact.Secrets) (*session, *SendError) {
	dialer := net.Dialer{Timeout: s.cfg.Timeouts.Dial}
	raw, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, because(ctx, sendError("DIAL", dialFault(err), hide))
	}
	c := &session{cfg: &s.cfg, raw: raw, born: time.Now(), hello: s.cfg.HelloName}
	stop := context.AfterFunc(ctx, c.abort)
	h := handshake{session: c, sender: s, hide: hide}
	failed := h.run(ctx)
	if !stop() && failed == nil {
		failed = &SendError{Command: "WAIT", Err: ended(ctx)}
	}
	if failed != nil {
		c.abort()
		return nil, because(ctx, failed)
	}
	s.log.Debug("connected to SMTP server", "peer", raw.RemoteAddr().String(), "tls", c.tls)
	return c, nil
}

// because names the end of ctx as the cause of a failure that it brought about.
func because(ctx context.Context, failed *SendError) *SendError {
	if failed.Code == 0 && ctx.Err() != nil {
		failed.Err = ended(ctx)
	}
	return failed
}

// ended is the error of a context with its cause: who cancels with a cause of
// his own still cancels, and that is no fault of the server.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// dialFault says that a host is unknown, which is no fault of the network.
func dialFault(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return setupError{"no such host", "look at the name of the server, and at the name service"}
	}
	return err
}
