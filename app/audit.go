package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/audit"
)

// Action describes what a command is about to do, for the audit trail.
type Action struct {
	// Name is the group of the command and its verb, such as dead-letters.delete.
	Name string
	// Subjects are the ids that it is done to, such as ids of dead letters or user:42.
	// An address is masked, or hashed by the Sealer of the ledger.
	Subjects []string
	// Details are small: filters, counts, a reason. They hold no secret and no address.
	Details map[string]any
}

// Who tells who does an action, and from where.
type Who struct {
	Actor string // such as ada@host, or a login
	Via   string // command or page
	From  string // terminal or address of a client
}

// Audit runs do between two entries of the audit trail. The first one is written before, so
// that nothing is done without a trace; the other one tells the outcome and what do returns
// as details. Audit returns the error of do. If the first entry cannot be written, do does
// not run, unless AUDIT_REQUIRED is false.
func Audit(ctx context.Context, cfg config.Config, a Action, do func(context.Context) (details map[string]any, err error)) error {
	t, err := OpenTrail(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer t.Close()
	return t.Do(ctx, operator(), a, do)
}

// Trail is the audit trail of the configuration.
type Trail struct {
	*audit.Trail
	required bool
	secrets  func() []string // the longest first
	broker   string          // that actions are about; "": the only one, or several
	closers  []func() error
}

// OpenTrail returns the audit trail. It dials when it is used. The caller must call Close.
func OpenTrail(cfg config.Config, log *slog.Logger) (*Trail, error) {
	if !hasLedger(cfg) {
		return openTrail(cfg, nil, log)
	}
	db, err := openLedger(cfg)
	if err != nil {
		return nil, &UsageError{Err: err}
	}
	t, err := openTrail(cfg, db, log)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	t.closers = append(t.closers, db.Close)
	return t, nil
}

// openTrail returns the audit trail in a database, which the caller closes; nil: there is none.
func openTrail(cfg config.Config, db *sqlx.DB, log *slog.Logger) (*Trail, error) {
	b, err := OpenBroker(cfg, log)
	if err != nil {
		return nil, &UsageError{Err: err}
	}
	passwords := cfg.Passwords()
	t := &Trail{required: cfg.Audit.Required, secrets: func() []string { return passwords }, closers: []func() error{b.Close}}
	if names := cfg.BrokerNames(); len(names) == 1 {
		t.broker = names[0]
	}
	c := audit.TrailConfig{Journal: b.Journal(auditJournal), Keys: auditKeys(cfg), Logger: log}
	if db != nil {
		c.Store = ledger.NewAudit(db, auditPatience)
	}
	if t.Trail, err = audit.New(c); err != nil {
		t.Close()
		return nil, &UsageError{Err: err}
	}
	return t, nil
}

// auditJournal is the name of the journal in Redis.
const auditJournal = "audit"

// auditPatience bounds one transaction of the audit trail.
const auditPatience = 5 * time.Second

func auditKeys(cfg config.Config) (keys audit.Keys) {
	for _, key := range cfg.Audit.Keys {
		keys = append(keys, key.Reveal())
	}
	return keys
}

// hasLedger reports whether there is a database for the history. A file of SQLite is made by
// a worker only.
func hasLedger(cfg config.Config) bool {
	if cfg.Ledger.Off {
		return false
	}
	if cfg.Ledger.SQLite == "" {
		return true
	}
	_, err := os.Stat(cfg.Ledger.SQLite)
	return !errors.Is(err, fs.ErrNotExist)
}

// Close closes the connections.
func (t *Trail) Close() {
	for _, c := range t.closers {
		_ = c()
	}
}

// Do is [Audit] for an action of another person, such as the user of a page.
func (t *Trail) Do(ctx context.Context, who Who, a Action, do func(context.Context) (details map[string]any, err error)) error {
	e := audit.Entry{
		ID: audit.NewID(), Actor: who.Actor, Via: who.Via, From: who.From, Action: a.Name,
		IDs: a.Subjects, Details: t.details(a.Details), Outcome: audit.Started,
	}
	err := t.Append(ctx, e)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && t.required {
		return fmt.Errorf("nothing was done, because the audit trail cannot be written: %w\nAUDIT_REQUIRED=false does it all the same", err)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: warning: %s is not in the audit trail: %v\n", Name, a.Name, err)
	}
	details, doErr := do(ctx)
	// The outcome counts also when the person does not wait for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*auditPatience)
	defer cancel()
	if err := t.Append(ctx, e.Ended(t.outcome(doErr), t.details(details))); err != nil {
		fmt.Fprintf(os.Stderr, "%s: warning: the outcome of %s is not in the audit trail: %v\n", Name, a.Name, err)
	}
	return doErr
}

// outcome returns the outcome of an action that returned err.
func (t *Trail) outcome(err error) string {
	switch {
	case err == nil:
		return audit.Done
	case errors.Is(err, context.Canceled):
		return audit.Failed + ": interrupted"
	}
	return audit.Failed + ": " + t.hide(mail.MaskAddresses(err.Error()))
}

// details returns details as JSON, without the secrets of the configuration.
func (t *Trail) details(d map[string]any) string {
	if t.broker != "" {
		d = maps.Clone(d)
		if d == nil {
			d = map[string]any{}
		}
		d["broker"] = t.broker
	}
	if len(d) == 0 {
		return ""
	}
	return t.hide(jsonOf(d))
}

func jsonOf(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return `{"omitted":"details that are not JSON"}`
	}
	return string(raw)
}

// hide removes the secrets of the configuration from a text.
func (t *Trail) hide(text string) string {
	for _, secret := range t.secrets() {
		if len(secret) >= audit.ShortestKey/4 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// operator returns the user of the operating system, and the terminal.
func operator() Who {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	from := []string{"no terminal"}
	if tty, err := os.Readlink("/proc/self/fd/0"); err == nil && (strings.HasPrefix(tty, "/dev/pts/") || strings.HasPrefix(tty, "/dev/tty")) {
		from[0] = tty
	}
	// These are claims of the environment, and help where several people share a user.
	if by := os.Getenv("SUDO_USER"); by != "" {
		from = append(from, "sudo "+by)
	}
	client, _, _ := strings.Cut(os.Getenv("SSH_CONNECTION"), " ")
	if addr, err := netip.ParseAddr(client); err == nil {
		from = append(from, "ssh "+addr.String())
	}
	return Who{Actor: name + "@" + host, Via: "command", From: strings.Join(from, ", ")}
}
