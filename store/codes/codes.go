// Package codes reads the one-time codes that the auth service keeps in its Redis, to tell
// whether the code of a mail is still of use. It never writes.
package codes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/logins"
)

// prefix is the beginning of the keys; the address of the reader follows.
const prefix = "otp:verification:"

// Config tells where the Redis of the auth service is.
type Config struct {
	Network  string // "tcp" or "unix"; default: "tcp"
	Address  string // host:port, or several of them with commas between them, or the path of a socket; required
	Username string
	Password string
	DB       int
	TLS      func() *tls.Config // of the next connection; nil: no TLS

	// Credentials gives the login of each new connection, instead of Username and Password;
	// nil: it is fixed.
	Credentials CredentialSource

	// Timeout bounds each step of a lookup: the connection, and the answer. Default: one
	// second. A code waits for it.
	Timeout time.Duration
}

// Reader reads codes. It is safe for concurrent use. The caller must call Close.
type Reader struct {
	cfg   Config
	nodes nodes
}

// errForm says that a stored value is no code, or not written in a known form. It does not
// show the value.
var errForm = errors.New("stored value is not a code in a known form")

// New returns a Reader. It does not connect.
func New(cfg Config) (*Reader, error) {
	if cfg.Address == "" {
		return nil, errors.New("codes: Config.Address is missing")
	}
	if cfg.Network == "" {
		cfg.Network = "tcp"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	r := &Reader{cfg: cfg}
	addresses := []string{cfg.Address}
	if cfg.Network == "tcp" {
		addresses = strings.Split(cfg.Address, ",")
	}
	for _, address := range addresses {
		r.nodes.add(cfg, address, false)
	}
	return r, nil
}

// pool returns the connections to a node.
func (cfg Config) pool(address string) *redigo.Pool {
	options := []redigo.DialOption{
		redigo.DialDatabase(cfg.DB), redigo.DialClientName("evently-workers-codes"),
		redigo.DialConnectTimeout(cfg.Timeout), redigo.DialReadTimeout(cfg.Timeout), redigo.DialWriteTimeout(cfg.Timeout),
	}
	return &redigo.Pool{
		MaxIdle: 2, IdleTimeout: time.Minute,
		DialContext: func(ctx context.Context) (redigo.Conn, error) {
			if cfg.Credentials == nil {
				return cfg.dial(ctx, address, Credentials{cfg.Username, cfg.Password}, options)
			}
			return logins.Try(ctx, cfg.Credentials, func(c Credentials) (redigo.Conn, error) { return cfg.dial(ctx, address, c, options) }, refusesLogin)
		},
		TestOnBorrow: func(c redigo.Conn, idle time.Time) error {
			const trusted = 5 * time.Second
			if time.Since(idle) < trusted {
				return nil
			}
			_, err := c.Do("PING")
			return err
		},
	}
}

// Credentials are a user and a password. Both may be empty.
type Credentials struct{ Username, Password string }

// CredentialSource gives the login of each new connection, and is told what the server accepts.
// After a refusal it is asked again, with the refused logins.
type CredentialSource = logins.Source[Credentials]

// dial connects with a login.
func (cfg Config) dial(ctx context.Context, address string, c Credentials, options []redigo.DialOption) (redigo.Conn, error) {
	options = slices.Clip(options)
	if c.Username != "" {
		options = append(options, redigo.DialUsername(c.Username))
	}
	if c.Password != "" {
		options = append(options, redigo.DialPassword(c.Password))
	}
	if cfg.TLS != nil {
		options = append(options, redigo.DialUseTLS(true), redigo.DialTLSConfig(cfg.TLS()))
	}
	conn, err := redigo.DialContext(ctx, cfg.Network, address, options...)
	if reply, ok := errors.AsType[redigo.Error](err); ok {
		err = redigo.Error(logins.Without(c.Password, logins.WithoutArguments(string(reply))))
	}
	return conn, err
}

// refusesLogin reports whether the server refuses the user or the password.
func refusesLogin(err error) bool {
	refusal, ok := errors.AsType[redigo.Error](err)
	return ok && (strings.HasPrefix(string(refusal), "WRONGPASS") || strings.HasPrefix(string(refusal), "NOAUTH") || strings.Contains(string(refusal), "invalid password"))
}

// Close closes the connections.
func (r *Reader) Close() error { return r.nodes.close() }

// Code returns the code that is stored for an address. ok is false if there is none: it was
// used, or has expired. The key may have the address as it is written, without spaces around
// it, or in lower case. The error says nothing about the code, and shows neither the address
// nor a value.
func (r *Reader) Code(ctx context.Context, address string) (code string, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience*r.cfg.Timeout)
	defer cancel()
	for _, n := range r.nodes.inOrder() {
		code, ok, err = r.askNode(ctx, n, address)
		if err == nil || errors.Is(err, errForm) {
			r.nodes.putFirst(n)
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	return code, ok, err
}

// askNode asks one node for the code of an address, and the nodes that it names.
func (r *Reader) askNode(ctx context.Context, n *node, address string) (code string, ok bool, err error) {
	c, err := n.pool.GetContext(ctx)
	if err != nil {
		return "", false, fmt.Errorf("connect to the Redis of the codes: %w", err)
	}
	defer func() { _ = c.Close() }()
	spellings := spellings(address)
	for _, s := range spellings {
		if err := c.Send("GET", prefix+s); err != nil {
			return "", false, fmt.Errorf("read a code: %w", err)
		}
	}
	if err := c.Flush(); err != nil {
		return "", false, fmt.Errorf("read a code: %w", err)
	}
	var fault error
	for _, s := range spellings {
		value, err := redigo.Bytes(redigo.ReceiveContext(c, ctx))
		if err != nil && !ok {
			value, err = r.follow(ctx, n.address, prefix+s, err)
		}
		switch {
		case errors.Is(err, redigo.ErrNil), ok:
		case err != nil:
			fault = fmt.Errorf("read a code: %w", err)
		default:
			if code, err = parse(value); err != nil {
				fault = err
			} else {
				ok = true
			}
		}
	}
	if ok {
		return code, true, nil
	}
	return "", false, fault
}

// spellings returns the spellings of an address that a key may have.
func spellings(address string) []string {
	trimmed := strings.TrimSpace(address)
	all := []string{address}
	for _, s := range []string{trimmed, strings.ToLower(trimmed)} {
		if s != all[len(all)-1] && s != all[0] {
			all = append(all, s)
		}
	}
	return all
}

// parse returns the code of a stored value: the value itself, a JSON string or number, or
// the member "otp" or "code" of a JSON object.
func parse(value []byte) (string, error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return "", errForm
	}
	if value[0] == '{' {
		var fields map[string]json.RawMessage
		if json.Unmarshal(value, &fields) != nil {
			return "", errForm
		}
		inner, ok := fields["otp"]
		if !ok {
			inner, ok = fields["code"]
		}
		if value = bytes.TrimSpace(inner); !ok || len(value) == 0 || value[0] == '{' || value[0] == '[' || value[0] == 'n' {
			return "", errForm
		}
	}
	if value[0] == '"' {
		var text string
		if json.Unmarshal(value, &text) != nil {
			return "", errForm
		}
		return text, nil
	}
	const longest = 64 // of a code, by far
	if len(value) > longest {
		return "", errForm
	}
	return string(value), nil
}
