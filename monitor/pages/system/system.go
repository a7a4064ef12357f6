// Package system has the pages about the service itself: the health of each process with its
// history, the configuration in force, and bundles of incidents.
package system

import (
	"context"
	"embed"
	"io/fs"
	"net/http"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/incident"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
)

//go:embed *.html
var files embed.FS

// Config is what the pages need.
type Config struct {
	// Vitals returns the health of the fleet. It must cost no I/O.
	Vitals func() vitals.State

	Settings []config.Setting
	Warnings []config.Warning
	// Fingerprints returns the digests of the settings, with the key of the fleet. It may do
	// I/O.
	Fingerprints func(ctx context.Context) ([]config.Fingerprint, error)

	// Secrets returns the secrets of this process, without I/O; nil: a worker tells them.
	Secrets func() []monitor.SecretState

	Incident incident.Sources

	Now func() time.Time // default: time.Now
}

// Group serves the pages.
type Group struct {
	cfg     Config
	opened  *shelf
	working chan struct{} // one bundle is made at a time
}

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg: cfg, opened: new(shelf), working: make(chan struct{}, 1)}
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/health", Menu: "Health", Template: "system.health", Load: g.loadHealth, Badge: g.unwell})
	r.Page(web.Page{Pattern: "/configuration", Menu: "Configuration", Template: "system.configuration", Load: g.loadConfiguration})
	r.Page(web.Page{Pattern: "/incident", Menu: "Incident", Template: "system.incident", Load: g.loadIncident})
	r.Page(web.Page{Pattern: "/incident/{id}", Template: "system.bundle", Load: g.loadBundle})
	r.Action(web.Action{Pattern: "/incident", Role: web.RoleViewer, ReadOnly: true, Page: "/incident", MaxBody: incident.MostSize + 1<<20, Do: g.open})
	r.Handle("GET /incident/bundle.zip", web.RoleOperator, http.HandlerFunc(g.download))
}
