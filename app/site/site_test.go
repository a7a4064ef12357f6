package site_test

import (
	"cmp"
	"html"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
)

// Every page of the monitor, with real data, in Chromium: at both widths, in both schemes.
// The pages of single things are found by the links of the others.
func TestPagesInChromium(t *testing.T) {
	w := startWorld(t, nil)
	w.fill(t)
	w.settle(t)
	paths := w.crawl(t)
	tab := browser.Open(t, 15*time.Minute)
	browser.Inspect(t, tab, browser.Inspection{
		Base: w.base, Paths: paths, Shots: os.Getenv("MONITOR_SCREENSHOTS"),
		Ready: `document.readyState === 'complete' && ![...document.querySelectorAll('figure[data-chart]')].some(f => f.querySelector('.drawing'))`,
	})
}

// settle waits until the tasks have come to what they are made for.
func (w *world) settle(t *testing.T) {
	t.Helper()
	conn := w.redis.Conn(0)
	defer conn.Close()
	var last string
	if !testkit.Poll(90*time.Second, func() bool {
		for task, word := range map[string]string{"sent": "accepted", "retry": "451 4.7.1", "refused": "550 5.1.1"} {
			var status int
			if status, last = get(t, w.base+"/was-it-sent?q="+w.ids[task]); status != http.StatusOK || !strings.Contains(last, "Evidence") || !strings.Contains(last, word) {
				return false
			}
		}
		letters, err := conn.Do("HLEN", "_goworker.1.dead")
		return err == nil && letters.(int64) >= 2 // the refused one and the unknown one
	}) {
		t.Fatalf("no history of the mails:\n%s", last[strings.Index(last, "<main"):])
	}
}

var link = regexp.MustCompile(`href="(/[^"]*)"`)

// crawl returns one path for each page. Every link leads to a page.
func (w *world) crawl(t *testing.T) (paths []string) {
	t.Helper()
	seen := map[string]bool{}
	found := map[string]string{} // by pattern
	var queue []string
	var patterns []string
	for _, p := range w.pages {
		if strings.Contains(p.Pattern, "{") {
			patterns = append(patterns, p.Pattern)
			continue
		}
		found[p.Pattern] = p.Pattern
		queue = append(queue, p.Pattern)
	}
	var links []string
	const looks = 4 // at pages of one pattern, because not all of them have the same links
	looked := map[string]int{}
	assign := func(to string) {
		bare, _, _ := strings.Cut(to, "?")
		for _, p := range patterns {
			if looked[p] < looks && to != p && !slices.Contains(queue, to) && !seen[to] && matches(p, bare) {
				looked[p]++
				found[p] = cmp.Or(found[p], to)
				queue = append(queue, to)
			}
		}
	}
	const most = 400
	for len(queue) > 0 && len(seen) < most {
		at := queue[0]
		queue = queue[1:]
		if seen[at] {
			continue
		}
		seen[at] = true
		status, body := get(t, w.base+at)
		if status == http.StatusOK && !strings.HasPrefix(body, "<!doctype html>") {
			for p, to := range found {
				if to == at {
					delete(found, p) // a download
				}
			}
			continue
		}
		if status == http.StatusBadRequest && found[at] == at {
			delete(found, at) // a page that needs a query
			patterns = append(patterns, at)
			for _, to := range links {
				assign(to)
			}
			continue
		}
		if status != http.StatusOK {
			t.Errorf("%s: status %d", at, status)
			continue
		}
		if bad := suspicious(body); bad != "" {
			t.Errorf("%s has %q", at, bad)
		}
		for _, m := range link.FindAllStringSubmatch(body, -1) {
			to, _, _ := strings.Cut(html.UnescapeString(m[1]), "#")
			links = append(links, to)
			assign(to)
		}
	}
	for _, p := range w.pages {
		if found[p.Pattern] == "" {
			t.Logf("no page links to %s", p.Pattern)
			continue
		}
		paths = append(paths, found[p.Pattern])
	}
	slices.Sort(paths)
	return paths
}

// suspicious returns a text that no page may have.
func suspicious(body string) string {
	for _, bad := range []string{"<img src=x", "ZgotmplZ", "<no value>", "%!", "493817", "k3y-of-the", "This page cannot be shown"} {
		if strings.Contains(body, bad) {
			return bad
		}
	}
	return ""
}

// matches reports whether a path has a pattern.
func matches(pattern, p string) bool {
	p = path.Clean(p)
	a, b := strings.Split(pattern, "/"), strings.Split(p, "/")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !strings.HasPrefix(a[i], "{") && a[i] != b[i] {
			return false
		}
	}
	return true
}

// The monitor starts without Redis and PostgreSQL, and each page says what is missing.
func TestNothingAnswers(t *testing.T) {
	env := map[string]string{"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1", "DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_SSLMODE": "disable"}
	base, pages := startMonitor(t, env)
	for _, p := range pages {
		if strings.Contains(p.Pattern, "{") {
			continue
		}
		begin := time.Now()
		status, body := get(t, base+p.Pattern)
		if status == http.StatusBadRequest {
			continue // a page that needs a query
		}
		if status != http.StatusOK || suspicious(body) != "" {
			t.Errorf("%s: status %d, %q", p.Pattern, status, suspicious(body))
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s took %v", p.Pattern, took)
		}
	}
}

// The guide names the pages of the menu.
func TestGuideNamesPages(t *testing.T) {
	text, err := os.ReadFile("../../docs/monitor.md")
	if err != nil {
		t.Fatal(err)
	}
	_, pages := startMonitor(t, map[string]string{"REDIS_PORT": "1", "DB_PORT": "1"})
	for _, p := range pages {
		if p.Menu != "" && !strings.Contains(string(text), "| `"+p.Pattern+"` |") {
			t.Errorf("docs/monitor.md does not name the page %s", p.Pattern)
		}
	}
}
