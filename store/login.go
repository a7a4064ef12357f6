package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/evently/workers/internal/logins"
)

// Credentials are a user and a password.
type Credentials struct{ Username, Password string }

// CredentialSource gives the login of each new connection. Its methods may be called by
// several goroutines.
type CredentialSource interface {
	// Next returns the login to try. If the server refuses it, Next is called again for the
	// same connection, with the refused ones. It may then return a newer login or the
	// previous one, up to three in all. Returning one of them again, or an error, ends the
	// attempt.
	Next(ctx context.Context, refused []Credentials) (Credentials, error)
	// Accepted is called with a login that the server has accepted.
	Accepted(Credentials)
}

// connector opens connections with the login of a source. It implements [driver.Connector].
type connector struct {
	cfg    pq.Config
	dialer *dialer
	source CredentialSource // nil: that of cfg
}

// Connect implements [driver.Connector].
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.source == nil {
		return c.connect(ctx, Credentials{c.cfg.User, c.cfg.Password})
	}
	return logins.Try(ctx, c.source, func(login Credentials) (driver.Conn, error) { return c.connect(ctx, login) }, isLoginRefused)
}

// connect opens a connection.
func (c *connector) connect(ctx context.Context, login Credentials) (driver.Conn, error) {
	cfg := c.cfg.Clone()
	cfg.User, cfg.Password = cmp.Or(login.Username, cfg.User), login.Password
	one, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("database settings: %w", err)
	}
	one.Dialer(c.dialer)
	opened, err := one.Connect(ctx)
	if refused, ok := errors.AsType[*pq.Error](err); ok {
		shown := *refused
		for _, text := range []*string{&shown.Message, &shown.Detail, &shown.Hint} {
			*text = logins.Without(cfg.Password, *text)
		}
		return nil, &shown
	}
	return opened, err
}

// Close implements [io.Closer]: the pool calls it at its end.
func (c *connector) Close() error {
	c.dialer.hangs.close()
	return nil
}

// Driver implements [driver.Connector].
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// isLoginRefused reports whether the server refuses the user or the password: 28P01, or 28000
// of a role that may not log in, as the old one of two that alternate.
func isLoginRefused(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && (e.Code == pqerror.InvalidPassword || e.Code == pqerror.InvalidAuthorizationSpecification)
}
