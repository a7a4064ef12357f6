// Package system has the pages about the service itself: the health of each process with its
// history, the configuration in force, and bundles of incidents.
package system

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/evently/workers/config"
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

	Now func() time.Time // default: time.Now
}

// Group serves the pages.
type Group struct{ cfg Config }

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg: cfg}
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/health", Menu: "Health", Template: "system.health", Load: g.loadHealth, Badge: g.unwell})
	r.Page(web.Page{Pattern: "/configuration", Menu: "Configuration", Template: "system.configuration", Load: g.loadConfiguration})
}
