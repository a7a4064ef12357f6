package site

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor/guard"
	"github.com/evently/workers/monitor/web"
)

// makeGuard makes the guard of the monitor. Its errors are about the configuration.
func makeGuard(p *Parts) (*Module, error) {
	cfg, err := guardConfig(p.Config)
	if err != nil {
		return nil, err
	}
	cfg.Log = p.Log
	if p.Broker != nil {
		cfg.Store = p.Broker
	}
	notes := make(chan guard.Event, mostNotes)
	if p.Trail != nil {
		cfg.Audit = func(_ context.Context, e guard.Event) {
			select {
			case notes <- e:
			default: // the database hangs; the log has logins, too
				p.Log.Warn("entry about access to the monitor is not in the audit trail", "action", e.Action, "user", e.Actor.Name)
			}
		}
	}
	g, err := guard.New(cfg)
	if err != nil {
		return nil, err
	}
	m := &Module{
		Guard:  func(next http.Handler) http.Handler { return g.Protect(withActor(next)) },
		Refuse: refuse(g), Login: g.Login(),
	}
	if file := p.Config.Guard.CertFile; file != "" {
		if m.TLS, err = intake.Certificate(file, p.Config.Guard.KeyFile); err != nil {
			return nil, config.Add(nil, config.Problem{Variable: "MONITOR_TLS_CERT_FILE", Wrong: err.Error()})
		}
	}
	m.Run = func(ctx context.Context) error {
		var tried sync.WaitGroup
		tried.Go(func() { g.TryProvider(ctx) })
		defer tried.Wait()
		if p.Trail != nil {
			writeNotes(ctx, p, notes)
		}
		return nil
	}
	return m, nil
}

// mostNotes is the number of logins and refusals that wait to be written.
const mostNotes = 200

// writeNotes writes logins and refusals to the audit trail until ctx ends, and then what is
// left. Requests do not wait for it.
func writeNotes(ctx context.Context, p *Parts, notes <-chan guard.Event) {
	write := func(e guard.Event) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), notePatience)
		defer cancel()
		details := map[string]any{}
		for name, value := range e.Details {
			details[name] = value
		}
		entry := web.AuditEntry{Actor: web.Actor{Name: e.Actor.Name, From: e.Actor.From}, From: e.Actor.From, Action: e.Action}
		if err := p.Trail.Note(limited, entry, e.Refused, details); err != nil {
			p.Log.Warn("entry about access to the monitor is not in the audit trail", "action", e.Action, "user", e.Actor.Name, "error", err)
		}
	}
	for {
		select {
		case e := <-notes:
			write(e)
		case <-ctx.Done():
			for range len(notes) {
				write(<-notes)
			}
			return
		}
	}
}

const notePatience = 3 * time.Second

// roles are those of the pages, at the places of those of the guard.
var roles = []web.Role{guard.None: web.RolePublic, guard.Viewer: web.RoleViewer, guard.Operator: web.RoleOperator, guard.Admin: web.RoleAdmin}

// withActor hands the actor of the guard to the pages.
func withActor(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := guard.ActorOf(r.Context())
		actor := web.Actor{Name: a.Name, Role: roles[a.Role], From: a.From, Anonymous: a.By == guard.ByAnonymous, Session: a.Session != ""}
		next.ServeHTTP(w, r.WithContext(web.WithActor(r.Context(), actor)))
	})
}

// refuse returns what hears of a request that lacks a role.
func refuse(g *guard.Guard) func(http.ResponseWriter, *http.Request, web.Role) bool {
	return func(w http.ResponseWriter, r *http.Request, needs web.Role) bool {
		return g.Refuse(w, r, guard.Role(max(0, slices.Index(roles, needs))))
	}
}

// guardConfig translates the configuration.
func guardConfig(c config.Config) (cfg guard.Config, err error) {
	o := c.Guard
	host, _, _ := net.SplitHostPort(c.Service.MonitorAddr)
	cfg = guard.Config{
		Addr: c.Service.MonitorAddr, UsersFile: o.UsersFile, Proxies: o.Proxies, ReadOnly: o.ReadOnly, Hosts: o.Hosts, URL: o.URL,
		Idle: o.SessionIdle, Lifetime: o.SessionLifetime,
		Open: func(path string) bool { return path == "/healthcheck" || strings.HasPrefix(path, "/assets/") },
	}
	if cfg.Users, err = guard.ParseUsers(o.Users.Reveal()); err != nil {
		return cfg, config.Add(nil, config.Problem{Variable: "MONITOR_USERS", Wrong: err.Error(), Right: guard.UserForm})
	}
	if cfg.Anonymous, err = guard.ParseRole(o.AnonymousRole(host)); err != nil {
		return cfg, fmt.Errorf("MONITOR_ANONYMOUS_ROLE: %w", err)
	}
	groups := map[string]guard.Role{}
	for group, word := range o.Roles {
		if groups[group], err = guard.ParseRole(word); err != nil {
			return cfg, fmt.Errorf("MONITOR_ROLES: %w", err)
		}
	}
	usual, err := guard.ParseRole(o.DefaultRole)
	if err != nil {
		return cfg, fmt.Errorf("MONITOR_DEFAULT_ROLE: %w", err)
	}
	cfg.Forward = guard.Forward{Header: o.ForwardHeader, RoleHeader: o.ForwardRoleHeader, Roles: groups, Default: usual}
	if o.OIDC.Issuer != "" {
		cfg.OIDC = &guard.OIDC{
			Issuer: o.OIDC.Issuer, ClientID: o.OIDC.ClientID, ClientSecret: o.OIDC.ClientSecret.Reveal(), URL: o.URL,
			Scopes: o.OIDC.Scopes, RoleClaim: o.OIDC.RoleClaim, Roles: groups, Default: usual,
		}
	}
	return cfg, nil
}
