// Package suppressions has the pages of suppressed addresses: the list, the evidence of one, and
// what people do about them.
package suppressions

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/evently/workers/monitor/pages/internal/ticket"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	store "github.com/evently/workers/store/ledger/suppressions"
)

//go:embed *.html
var files embed.FS

// Store has the suppressions. That of store/ledger/suppressions is one.
type Store interface {
	List(ctx context.Context, f store.Filter) (store.Page, error)
	Count(ctx context.Context, f store.Filter) (total int64, byClass map[store.Class]int64, err error)
	Show(ctx context.Context, of string) ([]store.Detail, error)
	Add(ctx context.Context, a store.Addition) (added store.Suppression, replaced bool, err error)
	Release(ctx context.Context, f store.Filter, by, reason string) (released int64, err error)
	Import(ctx context.Context, i store.Import) (store.Imported, error)
	Export(ctx context.Context, to io.Writer, f store.Filter) (int, error)
}

// Config is what the pages need.
type Config struct {
	Store Store // nil: each page says that there are none

	// CheckKey returns an error if the workers have another LEDGER_KEY: their addresses are not
	// found. Nil: it is not checked.
	CheckKey func(ctx context.Context) error

	Off bool // SUPPRESSIONS is off
	Now func() time.Time
}

// Group serves the pages.
type Group struct {
	cfg     Config
	checked *ticket.Box[file]         // files that were checked
	exports *ticket.Box[store.Filter] // exports that were asked for
}

// file is a file of suppressions, before its import.
type file struct {
	raw []byte
	n   store.Imported
}

// Bounds of files.
const (
	maxFile     = 8 << 20
	mostFiles   = 4
	fileLife    = 15 * time.Minute
	mostExports = 100
	exportLife  = 5 * time.Minute
)

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{
		cfg: cfg, checked: ticket.New[file](fileLife, mostFiles, cfg.Now), exports: ticket.New[store.Filter](exportLife, mostExports, cfg.Now),
	}
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/suppressions", Menu: "Suppressions", Template: "suppressions.list", Load: g.loadList})
	r.Page(web.Page{Pattern: "/suppressions/{id}", Template: "suppressions.one", Load: g.loadOne})
	r.Page(web.Page{Pattern: "/suppressions/add", Template: "suppressions.add", Role: web.RoleOperator, Load: g.loadAdd})
	r.Page(web.Page{Pattern: "/suppressions/release", Template: "suppressions.release", Role: web.RoleOperator, Load: g.loadRelease})
	r.Page(web.Page{Pattern: "/suppressions/import", Template: "suppressions.import", Role: web.RoleOperator, Load: g.loadImport})

	r.Action(web.Action{Pattern: "/suppressions/add", Audit: "suppressions.add", Subjects: masked, Page: "/suppressions/add", Do: g.doAdd})
	r.Action(web.Action{Pattern: "/suppressions/{id}/release", Audit: "suppressions.release", Page: "/suppressions/{id}", Do: g.doReleaseOne})
	r.Action(web.Action{Pattern: "/suppressions/release", Audit: "suppressions.release", Page: "/suppressions/release", Do: g.doRelease})
	r.Action(web.Action{Pattern: "/suppressions/check", MaxBody: maxFile + 1<<16, Page: "/suppressions/import", Do: g.doCheck})
	r.Action(web.Action{Pattern: "/suppressions/import", Audit: "suppressions.import", Page: "/suppressions/import", Do: g.doImport})
	r.Action(web.Action{Pattern: "/suppressions/export", Audit: "suppressions.export", Do: g.doExport})
	r.Handle("GET /suppressions/export/{ticket}", web.RoleOperator, http.HandlerFunc(g.export))
}

// here returns an error if there are no suppressions to look at.
func (g *Group) here() error {
	switch {
	case g.cfg.Off:
		return web.Missing("No suppressions", "SUPPRESSIONS is off: nothing is recorded, and mails are sent to every address. Set it to on or observe.")
	case g.cfg.Store == nil:
		return web.Missing("No suppressions", "They are in the database of the history, and LEDGER_DATABASE_URL is off. Set it to the database of the workers.")
	}
	return nil
}

// plain makes the errors of the store those of a page.
func plain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, store.ErrID), errors.Is(err, store.ErrPassed):
		return web.Invalid(sentence(cause(err)))
	case errors.Is(err, store.ErrAfter):
		return web.Invalid("This is not a page of the list: go back to its beginning.")
	case errors.Is(err, ledger.ErrNoKey):
		return web.Invalid("No key for addresses is known: start a worker once, or set LEDGER_KEY to the key of the workers.")
	case errors.Is(err, ledger.ErrNoHistory):
		return web.Missing("No suppressions yet", "The tables are not there. A worker makes them at its start.")
	}
	if access, ok := errors.AsType[*ledger.AccessError](err); ok {
		return web.Missing("The suppressions cannot be read", sentence(access.Error()))
	}
	if faults, ok := errors.AsType[*store.FileError](err); ok {
		return web.Invalid(faults.Error())
	}
	return err
}

// cause returns the innermost text of an error that a person can mend.
func cause(err error) string {
	for _, e := range []error{store.ErrID, store.ErrPassed} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return err.Error()
}
