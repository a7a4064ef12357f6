package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/evently/workers/monitor/internal/segment"
)

// Router collects the pages, actions and handlers of the groups.
type Router struct {
	site   *Site
	mux    *http.ServeMux
	live   *http.ServeMux // the pages that are pushed, by their paths
	faults []error
}

// Page adds a page.
func (r *Router) Page(p Page) {
	if p.Role == RoleDefault {
		p.Role = RoleViewer
	}
	switch {
	case p.Load == nil:
		r.fault("page %s has no Load", p.Pattern)
		return
	case !r.site.views.has(p.Template):
		r.fault("page %s: there is no template %q", p.Pattern, p.Template)
		return
	}
	page := &p
	r.site.pages = append(r.site.pages, page)
	pattern := exact(p.Pattern)
	r.handle("GET "+pattern, r.site.withRole(p.Role, false, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if page.Instead != nil {
			if h := page.Instead(req); h != nil {
				h.ServeHTTP(w, req)
				return
			}
		}
		r.site.servePage(w, req, page)
	})))
	if r.site.views.has(p.Template + liveSuffix) {
		register(r, r.live, "GET "+pattern, named(pattern, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			if found, ok := req.Context().Value(foundKey{}).(*found); ok {
				found.page, found.request = page, req
			}
		})))
	}
}

// Action adds an action.
func (r *Router) Action(a Action) {
	if a.Role == RoleDefault {
		a.Role = RoleOperator
	}
	if a.MaxBody == 0 {
		a.MaxBody = maxForm
	}
	if a.Do == nil {
		r.fault("action %s has no Do", a.Pattern)
		return
	}
	action := &a
	r.site.actions = append(r.site.actions, action)
	r.handle("POST "+exact(a.Pattern), r.site.withRole(a.Role, !a.ReadOnly, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.site.serveAction(w, req, action)
	})))
}

// Handle adds a handler that answers by itself, such as previews, downloads and interfaces for
// programs. The pattern has a method, as in "GET /api/tasks". The handler may replace the
// header fields that the site sets.
func (r *Router) Handle(pattern string, role Role, h http.Handler) {
	if role == RoleDefault {
		role = RoleViewer
	}
	method, _, _ := strings.Cut(pattern, " ")
	r.handle(pattern, r.site.withRole(role, method != http.MethodGet && role > RolePublic, h))
}

func (r *Router) handle(pattern string, h http.Handler) {
	register(r, r.mux, pattern, named(pattern, h))
}

// named returns a handler that gets the names of the path as [segment.Of] was given them. Paths of
// /api/ are made by programs, which do not know the mark.
func named(pattern string, h http.Handler) http.Handler {
	wildcards := wildcardsOf(pattern)
	if len(wildcards) == 0 || strings.Contains(pattern, " /api/") {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range wildcards {
			r.SetPathValue(name, segment.Name(r.PathValue(name)))
		}
		h.ServeHTTP(w, r)
	})
}

// wildcardsOf returns the names of the wildcards of a pattern.
func wildcardsOf(pattern string) (names []string) {
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok && name != "$}" {
			names = append(names, strings.TrimRight(name, ".}"))
		}
	}
	return names
}

// register adds a handler to a mux, which panics about patterns that it cannot use.
func register(r *Router, mux *http.ServeMux, pattern string, h http.Handler) {
	defer func() {
		if p := recover(); p != nil {
			r.fault("%v", p)
		}
	}()
	mux.Handle(pattern, h)
}

func (r *Router) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf(format, args...))
}

// check returns what is wrong with the routes as a whole.
func (r *Router) check() error {
	for _, a := range r.site.actions {
		if a.Page != "" && r.site.page(a.Page) == nil {
			r.fault("action %s: there is no page %s", a.Pattern, a.Page)
		}
	}
	return errors.Join(r.faults...)
}

// exact makes the pattern "/" match the first page alone.
func exact(pattern string) string {
	if strings.HasSuffix(pattern, "/") {
		return pattern + "{$}"
	}
	return pattern
}
