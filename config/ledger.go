package config

import (
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/connurl"
)

// LedgerForm tells how LEDGER_DATABASE_URL is written.
const LedgerForm = "write postgres://user:password@host:5432/name, sqlite:/path/history.db, or off"

// ledgerURL is the URL of a PostgreSQL, the path of a file of SQLite, or off.
type ledgerURL struct {
	setting
	value  Secret // of a PostgreSQL
	sqlite string // path
	off    bool
}

func (l *ledgerURL) Decode(value string) error {
	l.value, l.sqlite, l.off = Secret{}, "", false
	if !l.takeAs(value, urlLike) {
		return nil
	}
	path, isFile := strings.CutPrefix(l.text, "sqlite:")
	switch {
	case strings.EqualFold(l.text, "off"):
		l.text, l.off = "off", true
	case isFile:
		// SQLAlchemy writes sqlite:///relative and sqlite:////absolute, others sqlite:/absolute.
		if rest, ok := strings.CutPrefix(path, "///"); ok {
			path = rest
		}
		if path == "" || strings.ContainsAny(path, "?#") || strings.HasPrefix(path, "//") || path == ":memory:" {
			l.mistake("it is not the path of a file", LedgerForm)
			return nil
		}
		l.sqlite = filepath.Clean(path)
	default:
		l.value = NewSecret(l.text)
		l.text = connurl.Redact(l.text)
	}
	return nil
}

func (l *ledgerURL) kind() string { return "URL or off" }

// days is a number of days, which may be written as a time with a unit.
type days struct {
	setting
	value time.Duration
}

func (d *days) Decode(value string) error {
	const day = 24 * time.Hour
	d.value = 0
	if !d.take(value) {
		return nil
	}
	lowest, _ := strconv.ParseFloat(d.min, 64)
	highest, _ := strconv.ParseFloat(d.max, 64)
	right := "write days from " + d.min + " to " + d.max + " such as 90 or 90d"
	n, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSuffix(d.text, "d"), " "), 64)
	if err != nil {
		var t time.Duration
		t, err = time.ParseDuration(d.text)
		n = t.Hours() / day.Hours()
	}
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		d.refuse(likeNumber, "a number of days", right)
	case n < lowest || n > highest:
		d.mistake(d.text+" is out of range", right)
	default:
		d.value = time.Duration(math.Round(n * float64(day)))
	}
	return nil
}

func (d *days) kind() string { return "days" }

// ledger reads where the history of mails is.
func (c *Config) ledger(v *variables) {
	c.Ledger = Ledger{
		Off: v.LedgerURL.off, SQLite: v.LedgerURL.sqlite, Database: c.Database, Retention: v.LedgerRetention.value,
	}
	if v.LedgerURL.value.IsSet() {
		c.ledgerDatabase(v)
	}
	c.ledgerKeys(v)
}

// ledgerDatabase reads the URL of a separate PostgreSQL.
func (c *Config) ledgerDatabase(v *variables) {
	p, err := connurl.ParsePostgres(v.LedgerURL.value.Reveal())
	if err != nil {
		v.LedgerURL.fault(err)
		if v.LedgerURL.right == connurl.PostgresForm {
			v.LedgerURL.right = LedgerForm
		}
		return
	}
	for _, note := range p.Notes {
		c.warn(v.LedgerURL.name, note)
	}
	if p.SSLMode() == "" {
		p.Params["sslmode"] = c.Database.SSLMode
	}
	c.warnOfFiles(v.LedgerURL.name, p.Params)
	c.Ledger.Database = Database{URL: NewSecret(p.URL()), SSLMode: c.Database.SSLMode}
}

// ledgerKeys reads the keys of the addresses in the history.
func (c *Config) ledgerKeys(v *variables) {
	if !v.LedgerKey.given() || !v.LedgerKey.value.IsSet() {
		if len(c.Brokers) > 1 && !c.Ledger.Off {
			// Without it each Redis would have a key of its own for the hashes of addresses.
			v.LedgerKey.mistake("it is not set, and REDIS_URLS has several brokers, whose mails are in one history", rightKey+" and commands, or LEDGER_DATABASE_URL=off")
		}
		return
	}
	c.Ledger.Keys = v.LedgerKey.keys(rightKey + " and commands")
	if c.Ledger.Off {
		c.warn(v.LedgerKey.name, "is not used, because LEDGER_DATABASE_URL is off")
	}
}
