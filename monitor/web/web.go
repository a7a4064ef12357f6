package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sort"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// Config is what a [Site] needs.
type Config struct {
	Groups []Group

	// Guard decides who sends a request, and refuses strangers. It puts the sender into the
	// context with [WithActor]. Nil: [Local], for a site on a loopback address.
	Guard func(http.Handler) http.Handler

	// Origin is where browsers find the site, as https://monitor.example.com. Its forms count
	// although a proxy changes the name of the host. "": not known.
	Origin string

	// Audit runs do and records it. Nil: actions are not recorded.
	Audit func(ctx context.Context, e AuditEntry, do func(context.Context) (Done, error)) (Done, error)

	// Refuse hears of requests that lack a role, and reports whether it answered, such as by
	// asking for a login. Nil: a page says which role is missing.
	Refuse func(w http.ResponseWriter, r *http.Request, needs Role) bool

	// Login is the path of the page for logging in, for senders without a name; "": none.
	Login string

	// ReadOnly refuses all actions.
	ReadOnly bool

	// Label stands beside the name of the product, such as "dev" or the name of an
	// environment; "": none. LabelHint says what it means; "": it is clear.
	Label, LabelHint string

	// Version of the program, for the foot of the menu.
	Version string

	// Timeout bounds one load of a page; default: 10 s. That of an action is ActionTimeout;
	// default: 60 s.
	Timeout, ActionTimeout time.Duration

	Logger *slog.Logger // default: slog.Default()
}

// AuditEntry describes an action that is about to be done.
type AuditEntry struct {
	Actor    Actor
	From     string // address of the client
	Action   string
	Subjects []string
}

// Defaults of [Config].
const (
	DefaultTimeout       = 10 * time.Second
	DefaultActionTimeout = 60 * time.Second
)

// maxForm is the default of [Action.MaxBody].
const maxForm = 1 << 20

// Site is the whole of the pages. It is a handler for one port.
type Site struct {
	cfg     Config
	views   *views
	assets  *assets
	hub     *hub
	pages   []*Page
	actions []*Action
	menu    []menuSection
	handler http.Handler
}

// New parses the templates and registers the pages of all groups. Its error tells every
// fault.
func New(cfg Config) (*Site, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.ActionTimeout = cmp.Or(cfg.ActionTimeout, DefaultActionTimeout)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Guard == nil {
		cfg.Guard = Local
	}
	if cfg.Audit == nil {
		cfg.Audit = func(ctx context.Context, _ AuditEntry, do func(context.Context) (Done, error)) (Done, error) {
			return do(ctx)
		}
	}
	s := &Site{cfg: cfg}
	var err error
	if s.assets, err = newAssets(); err != nil {
		return nil, fmt.Errorf("make the assets of the pages: %w", err)
	}
	if s.views, err = parseViews(s.assets, cfg.Groups); err != nil {
		return nil, fmt.Errorf("parse the pages: %w", err)
	}
	r := &Router{site: s, mux: http.NewServeMux(), live: http.NewServeMux()}
	for _, g := range cfg.Groups {
		g.Register(r)
	}
	s.hub = newHub(s, r.live)
	r.Handle("GET /live", RoleViewer, s.hub)
	r.Handle("GET /assets/{name}", RolePublic, s.assets)
	r.mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) { s.notFound(r.mux, w, req) })
	s.menu = s.makeMenu()
	if err := errors.Join(r.check(), s.views.check()); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	origin := http.NewCrossOriginProtection()
	if cfg.Origin != "" {
		if err := origin.AddTrustedOrigin(cfg.Origin); err != nil {
			return nil, fmt.Errorf("origin of the pages: %w", err)
		}
	}
	s.handler = secure(cfg.Guard(origin.Handler(wellFormed(r.mux))))
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// PageInfo describes a page of a site.
type PageInfo struct {
	Pattern string
	Menu    string
	Live    bool
}

// Pages returns all pages in the order of their patterns.
func (s *Site) Pages() []PageInfo {
	var all []PageInfo
	for _, p := range s.pages {
		all = append(all, PageInfo{Pattern: p.Pattern, Menu: p.Menu, Live: s.views.has(p.Template + liveSuffix)})
	}
	sorting.By(all, func(a, b PageInfo) int { return cmp.Compare(a.Pattern, b.Pattern) })
	return all
}

// Actions returns the patterns of all actions, sorted.
func (s *Site) Actions() []string {
	var all []string
	for _, a := range s.actions {
		all = append(all, a.Pattern)
	}
	sort.Strings(all)
	return all
}

// page returns the page of a pattern; nil: there is none.
func (s *Site) page(pattern string) *Page {
	for _, p := range s.pages {
		if p.Pattern == pattern {
			return p
		}
	}
	return nil
}
