// Package store reads what the mail tasks need from the platform's PostgreSQL.
//
// Today that is one thing: the address of a user. The users table belongs to
// the auth service and is only read here. Further tables get a file of their
// own beside users.go.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/store/internal/lookups"
)

// Defaults of [Config].
const (
	DefaultHost         = "localhost"
	DefaultPort         = 5432
	DefaultName         = "evently"
	DefaultUser         = "evently"
	DefaultSSLMode      = "prefer" // as libpq
	DefaultQueryTimeout = 5 * time.Second
	DefaultMaxOpen      = 8
	DefaultMaxIdleTime  = 5 * time.Minute
	DefaultMaxLifetime  = 30 * time.Minute
)

// Config says where the database is. Of URL, DB and the single fields, DB wins
// over URL and URL over the rest. As with libpq, the PG… environment variables
// fill in what is not given.
type Config struct {
	// URL is a postgres:// or postgresql:// URL, with libpq's parameters. It may
	// list hosts, as in postgres://a:5432,b:5432/name: each connection is made to
	// the first one that answers and suits target_session_attrs.
	URL string

	Host     string // DefaultHost; an absolute path means a unix socket in that directory; may be a list with commas
	Port     int    // DefaultPort
	Name     string // DefaultName
	User     string // DefaultUser
	Password string
	SSLMode  string // DefaultSSLMode, unless the URL or PGSSLMODE has one

	// Credentials gives the login of each new connection, instead of the one in URL or in User
	// and Password, so that a password can be replaced without a restart. nil: it is fixed.
	Credentials CredentialSource

	// DB is a ready database of another kind, such as the SQLite file of the
	// development mode. Its pool limits are left alone. Close closes it.
	DB *sqlx.DB

	// QueryTimeout bounds every call, connecting included. DefaultQueryTimeout.
	QueryTimeout time.Duration

	// HangAfter is the time without an answer after which a server is asked whether it is there,
	// over a separate connection. While it does not answer, all calls fail with a [HangError]
	// at once, and it is asked again every few seconds. 0: each call waits for itself.
	HangAfter time.Duration

	MaxOpen     int           // connections at most; DefaultMaxOpen
	MaxIdle     int           // connections kept while idle; MaxOpen
	MaxIdleTime time.Duration // DefaultMaxIdleTime
	MaxLifetime time.Duration // DefaultMaxLifetime, so that a failover is followed
}

// driverName is the name of PostgreSQL's driver for sqlx.
const driverName = "postgres"

// Store is a pool of connections. It is safe for concurrent use.
type Store struct {
	db      *sqlx.DB
	timeout time.Duration
	lookups *lookups.Lookups[int64, string] // nil: each user is looked up alone
}

// Open checks cfg and returns a Store. It does not connect: a database that is
// down now is an error of the calls that need it, not of the start.
//
// Errors never hold the password, nor the URL that has it inside.
func Open(cfg Config) (*Store, error) {
	timeout, err := cfg.timeout()
	if err != nil {
		return nil, err
	}
	db, err := OpenDB(cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, timeout: timeout}
	if cfg.DB == nil {
		s.lookups = lookups.New(lookups.Config[int64, string]{
			Most: or(cfg.MaxOpen, DefaultMaxOpen), Timeout: timeout, Cause: &timeoutError{after: timeout}, Query: s.answer,
		})
	}
	return s, nil
}

// OpenDB checks cfg and returns a pool of connections for the own queries of the caller, who
// closes it. It does not connect. A read or write on a connection that gets no answer within
// QueryTimeout and a second fails.
func OpenDB(cfg Config) (*sqlx.DB, error) {
	timeout, err := cfg.timeout()
	if err != nil || cfg.DB != nil {
		return cfg.DB, err
	}
	dsn, err := cfg.dsn()
	if err != nil {
		return nil, err
	}
	pgcfg, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("database settings: %w", err)
	}
	if pgcfg.SSLMode == "" {
		pgcfg.SSLMode = pq.SSLMode(or(cfg.SSLMode, DefaultSSLMode))
	}
	// Parse, bind and execute in one round trip. It also is what lets the
	// query pass a PgBouncer in transaction mode, which may hand the second
	// round trip of a prepared statement to another server connection.
	pgcfg.BinaryParameters = true
	if n := len(pgcfg.Multi); n > 0 {
		// A host that does not answer must leave time for the others.
		tries := n + 1
		if pgcfg.SSLMode == pq.SSLModePrefer || pgcfg.SSLMode == pq.SSLModeAllow {
			tries *= 2 // with TLS and without
		}
		share := timeout / time.Duration(tries+1)
		if pgcfg.ConnectTimeout <= 0 || pgcfg.ConnectTimeout > share {
			pgcfg.ConnectTimeout = share
		}
	}
	if _, err := pq.NewConnectorConfig(pgcfg); err != nil {
		return nil, fmt.Errorf("database settings: %w", err)
	}
	d := &dialer{timeout: timeout + cancelGrace}
	if cfg.HangAfter > 0 {
		d.hangs = newHangs(cfg.HangAfter)
	}
	db := sqlx.NewDb(sql.OpenDB(&connector{cfg: pgcfg, dialer: d, source: cfg.Credentials}), driverName)
	maxOpen := or(cfg.MaxOpen, DefaultMaxOpen)
	db.SetMaxOpenConns(maxOpen)
	db.SetMaxIdleConns(or(cfg.MaxIdle, maxOpen))
	db.SetConnMaxIdleTime(or(cfg.MaxIdleTime, DefaultMaxIdleTime))
	db.SetConnMaxLifetime(or(cfg.MaxLifetime, DefaultMaxLifetime))
	return db, nil
}

// timeout returns the time limit of one call.
func (c Config) timeout() (time.Duration, error) {
	if c.QueryTimeout < 0 {
		return 0, fmt.Errorf("database query timeout is %g s: it must be positive", c.QueryTimeout.Seconds())
	}
	return or(c.QueryTimeout, DefaultQueryTimeout), nil
}

// Acquire waits while every connection is in use, so that the lookup after it does not
// wait for one. around, when not nil, is called with the wait, if there is one, and returns
// its error. The caller must call release after its lookup.
func (s *Store) Acquire(ctx context.Context, around func(context.Context, func(context.Context) error) error) (release func(), err error) {
	release = func() {} // users share the queries
	if s.lookups == nil || !s.lookups.IsBusy() {
		return release, nil
	}
	if around == nil {
		err = s.lookups.Wait(ctx)
	} else {
		err = around(ctx, s.lookups.Wait)
	}
	if err != nil {
		return nil, err
	}
	return release, nil
}

// Ping looks up a user that does not exist, connecting if need be. It fails as
// the lookups of users do: without an answer, or with an [AccessError].
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	const missing = -1
	_, err := s.email(ctx, missing)
	if errors.Is(err, sql.ErrNoRows) {
		err = s.rowsHidden(ctx)
	}
	if err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	return nil
}

// Renew is [Renew] for the connections of the Store.
func (s *Store) Renew() { Renew(s.db) }

// Renew closes the idle connections of a pool that OpenDB has made, so that the next ones log in
// by the present credentials. Connections in use end their work.
func Renew(db *sqlx.DB) {
	if _, ours := db.Driver().(*pq.Driver); !ours {
		return // of another kind of database
	}
	idle := db.Stats().MaxOpenConnections
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(idle)
}

// Close closes the connections; calls under way are waited for.
func (s *Store) Close() error {
	if s.lookups != nil {
		s.lookups.Close()
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

func (s *Store) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.timeout, &timeoutError{after: s.timeout})
}

// cause returns why ctx ended, if it did: the driver only tells that the query
// was cancelled.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

// timeoutError is a context.DeadlineExceeded that tells how long the wait was.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %g s", e.after.Seconds()) }
func (e *timeoutError) Unwrap() error { return context.DeadlineExceeded }
func (e *timeoutError) Timeout() bool { return true }

// dsn returns the connection string for the driver.
func (c Config) dsn() (string, error) {
	if c.URL != "" {
		return keywords(c.URL)
	}
	port := or(c.Port, DefaultPort)
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("database port is %d: it must be between 1 and 65535", port)
	}
	pairs := []string{
		"host=" + quote(or(c.Host, DefaultHost)),
		"port=" + quote(strconv.Itoa(port)),
		"dbname=" + quote(or(c.Name, DefaultName)),
		"user=" + quote(or(c.User, DefaultUser)),
	}
	if c.Password != "" {
		pairs = append(pairs, "password="+quote(c.Password))
	}
	if c.SSLMode != "" {
		pairs = append(pairs, "sslmode="+quote(c.SSLMode))
	}
	return strings.Join(pairs, " "), nil
}

// keywords turns a URL into the form in which the driver reads lists of hosts.
func keywords(text string) (string, error) {
	if !strings.Contains(text, "://") {
		return "", errors.New("database URL must begin with postgres:// or postgresql://")
	}
	p, err := connurl.ParsePostgres(text)
	if err != nil {
		return "", fmt.Errorf("database URL cannot be used: %w", err)
	}
	port := ""
	if len(p.Hosts) > 1 {
		port = strconv.Itoa(DefaultPort)
	}
	return p.Keywords("", port), nil
}

// quote writes a value of a key=value connection string; see "Connection
// Strings" in the PostgreSQL manual of libpq.
func quote(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
