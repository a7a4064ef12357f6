// Package pages opens groups of pages of the monitor for tests, as a browser does, and without
// one.
package pages

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/evently/workers/monitor/web"
)

// Hostile is a name that its sender chose: it must be on no page as it is.
const Hostile = `<img src=x onerror=alert(1)>"'\` + "\x1b[31m\u202e" + `</script>`

// Site is a site with some groups. Its reader is ada.
type Site struct {
	*httptest.Server
	Role web.Role // of the reader; an admin at first

	mu      sync.Mutex
	entries []web.AuditEntry
	details []map[string]string
}

// Open opens the groups until the test ends.
func Open(t testing.TB, groups ...web.Group) *Site {
	t.Helper()
	s := &Site{Role: web.RoleAdmin}
	site, err := web.New(web.Config{Groups: groups, Audit: s.audit, Guard: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(web.WithActor(r.Context(), web.Actor{Name: "ada", Role: s.Role})))
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(site)
	s.Config.RegisterOnShutdown(site.EndStreams)
	s.Start()
	t.Cleanup(func() {
		site.EndStreams()
		s.Close()
	})
	return s
}

func (s *Site) audit(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
	done, err := do(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries, s.details = append(s.entries, e), append(s.details, done.Details)
	return done, err
}

// Audited returns the names of the audited actions, in order.
func (s *Site) Audited() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, e := range s.entries {
		all = append(all, e.Action)
	}
	return strings.Join(all, " ")
}

// Entry returns the last audited action with its details.
func (s *Site) Entry() (web.AuditEntry, map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) == 0 {
		return web.AuditEntry{}, nil
	}
	return s.entries[len(s.entries)-1], s.details[len(s.details)-1]
}

// client does not follow redirects.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Do sends a request of a browser.
func (s *Site) Do(t testing.TB, req *http.Request) (status int, body, location string) {
	t.Helper()
	req.Header.Set("Accept", "text/html")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header.Get("Location")
}

// Page answers a GET.
func (s *Site) Page(t testing.TB, path string) (status int, body, location string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Do(t, req)
}

// Get returns a page that is there. A hostile name on it fails the test.
func (s *Site) Get(t testing.TB, path string) string {
	t.Helper()
	status, body, location := s.Page(t, path)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s\n%s", path, status, location, Main(body))
	}
	if strings.Contains(body, "<img src=x") || strings.ContainsAny(body, "\x1b\u202e") {
		t.Errorf("GET %s has a hostile name:\n%s", path, Main(body))
	}
	return body
}

// Post sends a form.
func (s *Site) Post(t testing.TB, path string, form url.Values) (status int, body, location string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, s.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.Do(t, req)
}

// Posted does an action that works and returns where it leads.
func (s *Site) Posted(t testing.TB, path string, form url.Values) string {
	t.Helper()
	status, body, location := s.Post(t, path, form)
	if status != http.StatusSeeOther {
		t.Fatalf("POST %s: %d\n%s", path, status, Main(body))
	}
	return location
}

// Refused sends a form that is refused, and returns the page.
func (s *Site) Refused(t testing.TB, path string, form url.Values, wants ...string) string {
	t.Helper()
	status, body, location := s.Post(t, path, form)
	if status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
		t.Errorf("POST %s: %d %s\n%s", path, status, location, Main(body))
	}
	if strings.Contains(body, "<img src=x") {
		t.Errorf("POST %s has a hostile name:\n%s", path, Main(body))
	}
	Has(t, body, wants...)
	return body
}

// Main returns the content of a page without its frame.
func Main(body string) string {
	if _, rest, ok := strings.Cut(body, "<main"); ok {
		body, _, _ = strings.Cut(rest, "</main")
	}
	return body
}

// Has fails the test for each text that a page lacks.
func Has(t testing.TB, body string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(Main(body), want) {
			t.Errorf("there is no %q in\n%s", want, Main(body))
		}
	}
}
