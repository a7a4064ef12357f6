package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/evently/workers/mail/internal/redact"
)

// open returns a new connection that is ready for MAIL. It fails at once during the pause
// after a refused login. hide holds the secrets to remove from the server's words.
func (s *Sender) open(ctx context.Context, hide redact.Secrets) (*session, *SendError) {
	if !s.cfg.login() {
		return s.connect(ctx, credential{}, hide)
	}
	var refused []Credentials
	var refusal *SendError
	for {
		login, failed := s.credentials.read(ctx, &s.cfg, refused)
		switch {
		case failed != nil && refusal != nil, slices.Contains(refused, login.public()):
			return nil, refusal
		case failed != nil:
			return nil, failed
		}
		c, failed := s.openWith(ctx, login, hide, refusal != nil && !refusal.untried)
		if failed == nil || s.cfg.Credentials == nil || !failed.refusesLogin() {
			if failed == nil && s.cfg.Credentials != nil {
				s.cfg.Credentials.Accepted(login.public())
			}
			return c, failed
		}
		failed.Replaceable = true
		refused, refusal = append(refused, login.public()), failed
		if len(refused) == maxLogins {
			return nil, refusal
		}
	}
}

// openWith is open with one login. early is as in [loginGuard.enter].
func (s *Sender) openWith(ctx context.Context, login credential, hide redact.Secrets, early bool) (*session, *SendError) {
	guard := s.guards.of(login)
	refusal, probe := guard.enter(login.secret, time.Now(), early)
	if refusal != nil {
		return nil, refusal
	}
	hide = redact.Join(hide, login.forms())
	c, failed := s.connect(ctx, login, hide)
	if failed != nil && failed.untriedLogin {
		c, failed = s.connect(ctx, login, hide) // with the other mechanism
	}
	guard.leave(login.secret, probe, failed, s.cfg.LoginPause, time.Now())
	return c, failed
}

// connect dials once and returns a connection that is encrypted as configured and logged in.
func (s *Sender) connect(ctx context.Context, login credential, hide redact.Secrets) (*session, *SendError) {
	dialer := net.Dialer{Timeout: s.cfg.Timeouts.Dial}
	raw, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, withContextCause(ctx, sendError("DIAL", dialFault(err), hide))
	}
	c := &session{cfg: &s.cfg, raw: raw, born: time.Now(), hello: s.cfg.HelloName, ways: &s.ways}
	stop := context.AfterFunc(ctx, c.abort)
	h := handshake{session: c, sender: s, credential: login, hide: hide}
	failed := h.run(ctx)
	if !stop() && failed == nil {
		failed = &SendError{Command: "WAIT", Err: ended(ctx)}
	}
	if failed != nil {
		c.abort()
		return nil, withContextCause(ctx, failed)
	}
	s.log.Debug("connected to SMTP server", "peer", raw.RemoteAddr().String(), "tls", c.tls)
	return c, nil
}

// withContextCause returns failed with the end of ctx as its cause, if ctx ended first.
func withContextCause(ctx context.Context, failed *SendError) *SendError {
	if failed.Code == 0 && ctx.Err() != nil {
		failed.Err = ended(ctx)
	}
	return failed
}

// ended returns the error of a context with its cause. It matches context.Canceled even if the
// context was cancelled with another cause, because that is no fault of the server.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// dialFault returns an unknown host as a fault of the configuration, and other errors as they
// are.
func dialFault(err error) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return setupError{"no such host", "look at the name of the server, and at the name service"}
	}
	return err
}
