package segment_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/evently/workers/monitor/internal/segment"
)

// Each name comes through links, a server and its router as it was.
func FuzzSegment(f *testing.F) {
	for _, name := range []string{"mails", ".", "..", "...", "~", "~.", "~~a", "a/b", "/", "//", "../..", "a/../b", "?", "a?b=c", "#", "50%", "%2e%2e", "%2F", "a b", "ä", `a\b`, ";", "a;b", "+", ":", "\x00", "\n", "\xff"} {
		f.Add(name)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /queues/{name}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("page " + segment.Name(r.PathValue("name"))))
	})
	mux.HandleFunc("GET /queues/{name}/purge", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("purge " + segment.Name(r.PathValue("name"))))
	})
	base := &url.URL{Scheme: "http", Host: "monitor.example", Path: "/queues"}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return // the router has no empty segments
		}
		for page, more := range map[string]string{"page ": "", "purge ": "/purge"} {
			link, err := base.Parse("/queues/" + segment.Of(name) + more) // as a browser follows a link
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, link.RequestURI(), nil))
			if got := w.Body.String(); w.Code != http.StatusOK || got != page+name {
				t.Errorf("%s: %d, %q, want %q", link, w.Code, got, page+name)
			}
		}
	})
}
