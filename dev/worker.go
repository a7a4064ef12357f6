package dev

import (
	"context"
	"database/sql/driver"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker"
)

// siteURL is the web site that the mails of the development mode link to. The domain "test"
// is reserved (RFC 6761).
const siteURL = "https://evently.test"

// Worker has the embedded parts of a worker.
type Worker struct {
	Settings    config.Lookup // variables of the configuration
	Users       *sqlx.DB
	Middleware  []worker.Middleware
	Health      net.Listener
	HealthEvery time.Duration // between two looks at the database
}

// settings returns the variables that differ from their defaults. The retry delay is short,
// because a person in front of the page waits for it. look has the variables of the templates.
func settings(a Addresses, look config.Lookup) config.Lookup {
	host, port, _ := net.SplitHostPort(a.SMTP)
	values := map[string]string{
		"REDIS_URL": a.Redis, "SMTP_HOST": host, "SMTP_PORT": port, "SMTP_TLS_MODE": "none", "LEDGER_DATABASE_URL": a.History,
		"TASK_EVENTS": "true", "RETRY_DELAY": "2", "SHUTDOWN_GRACE": "5", "SITE_URL": siteURL, "SUPPORT_ADDRESS": "help@evently.test",
		"HEALTH_ADDR": strings.TrimSuffix(strings.TrimPrefix(a.Health, "http://"), "/health"), "MONITOR_ADDR": strings.TrimPrefix(a.Monitor, "http://"),
	}
	return func(name string) (string, bool) {
		if value, ok := values[name]; ok {
			return value, true
		}
		if look != nil && (name == "TEMPLATES_DIR" || name == "DEFAULT_LOCALE" || strings.HasPrefix(name, "BRAND_")) {
			return look(name)
		}
		return "", false
	}
}

// observe tells the page which tasks run.
func (l *tasklog) observe(next worker.Handler) worker.Handler {
	return worker.HandlerFunc(func(ctx context.Context, t *worker.Task) (any, error) {
		l.began(t.ID, t.Name, mail.Reference(t.Fingerprint()), t.Retries)
		return next.Run(ctx, t)
	})
}

// chaoticDriver connects to a database that chaos can switch off. A connection stays open
// meanwhile: the data are in it.
type chaoticDriver struct {
	of    driver.Driver
	name  string // of the database
	chaos *chaos
}

// Connect implements [driver.Connector].
func (d chaoticDriver) Connect(context.Context) (driver.Conn, error) {
	c, err := d.of.Open(d.name)
	return chaoticConn{c, d.chaos}, err
}

// Driver implements [driver.Connector].
func (d chaoticDriver) Driver() driver.Driver { return d.of }

// chaoticConn hides all but the methods that each driver has, so that every query is prepared.
type chaoticConn struct {
	driver.Conn
	chaos *chaos
}

// Prepare implements [driver.Conn].
func (c chaoticConn) Prepare(query string) (driver.Stmt, error) {
	if c.chaos.State().DatabaseAway {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return c.Conn.Prepare(query)
}
