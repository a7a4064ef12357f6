package web

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tab is a reader that has a page open.
type tab struct {
	resp   *http.Response
	events chan string
}

// openTab opens the stream of a page.
func openTab(t *testing.T, c *http.Client, base, page, last string) *tab {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/live?page="+url.QueryEscape(page), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html, text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	o := &tab{resp: resp, events: make(chan string, 100)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(o.events)
		lines := bufio.NewScanner(resp.Body)
		var event strings.Builder
		for lines.Scan() {
			if lines.Text() == "" {
				o.events <- event.String()
				event.Reset()
				continue
			}
			event.WriteString(lines.Text() + "\n")
		}
	})
	t.Cleanup(func() { cancel(); resp.Body.Close(); wg.Wait() })
	return o
}

// stillHere is what a stream without changes has after a while.
const stillHere = ": still here\n"

// next returns the next event; false is a stream that has ended, or none in time.
func (o *tab) next(t *testing.T, within time.Duration) (event string, ok bool) {
	t.Helper()
	select {
	case event, ok = <-o.events:
		return event, ok
	case <-time.After(within):
		return "", false
	}
}

// ends reports whether the stream ends within a time.
func (o *tab) ends(within time.Duration) bool {
	late := time.After(within)
	for {
		select {
		case _, ok := <-o.events:
			if !ok {
				return true
			}
		case <-late:
			return false
		}
	}
}

func streaming(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Ten tabs load a page once a second, and get only what changes.
func TestTenTabs(t *testing.T) {
	g := new(samples)
	site, base := serve(t, Config{Groups: []Group{g}})
	text := "first"
	g.text.Store(&text)
	c := streaming(t)
	var tabs []*tab
	for range 10 {
		tabs = append(tabs, openTab(t, c, base, "/tasks/7?b=2&a=1", ""))
	}
	for i, o := range tabs {
		if event, _ := o.next(t, 30*time.Second); !strings.Contains(event, "first") || !strings.HasPrefix(event, "id: ") {
			t.Errorf("tab %d begins with %q", i, event)
		}
	}
	begin := g.loads.Load()
	started := time.Now()
	changed := "second"
	g.text.Store(&changed)
	for i, o := range tabs {
		if event, _ := o.next(t, 30*time.Second); !strings.Contains(event, "second") {
			t.Errorf("tab %d: %q", i, event)
		}
	}
	for time.Since(started) < 3*time.Second || g.loads.Load()-begin < 2 {
		if time.Since(started) > 30*time.Second {
			t.Fatal("the page is not loaded again")
		}
		time.Sleep(100 * time.Millisecond)
	}
	loads := g.loads.Load() - begin // before the time: nothing can be added to one alone
	if seconds := time.Since(started).Seconds(); float64(loads) > seconds+2 {
		t.Errorf("%d loads in %.1f s", loads, seconds)
	}
	for i, o := range tabs {
		if event, _ := o.next(t, 10*time.Millisecond); event != "" && event != stillHere {
			t.Errorf("tab %d got %q although nothing changed", i, event)
		}
	}
	// The order of the query does not matter, but the role does.
	if n := len(site.hub.open.views); n != 1 {
		t.Errorf("%d views of one page", n)
	}
	other := openTab(t, c, base, "/tasks/7?a=1&b=2", "")
	other.next(t, 30*time.Second)
	if n := len(site.hub.open.views); n != 1 {
		t.Errorf("%d views of one page", n)
	}
	site.EndStreams()
	for i, o := range tabs {
		if !o.ends(30 * time.Second) {
			t.Errorf("the stream of tab %d goes on after the end", i)
		}
	}
}

// A reader that comes back is sent nothing that it has.
func TestLiveResumes(t *testing.T) {
	g := new(samples)
	site, base := serve(t, Config{Groups: []Group{g}})
	defer site.EndStreams()
	text := "same"
	g.text.Store(&text)
	c := streaming(t)
	event, _ := openTab(t, c, base, "/tasks", "").next(t, 30*time.Second)
	id, _, _ := strings.Cut(strings.TrimPrefix(event, "id: "), "\n")
	if event, ok := openTab(t, c, base, "/tasks", id).next(t, 1500*time.Millisecond); ok && event != stillHere {
		t.Errorf("sent again: %q", event)
	}
}

// Strangers, wrong paths and too many streams.
func TestLiveRefuses(t *testing.T) {
	for _, test := range []struct {
		role   Role
		page   string
		status int
	}{
		{RoleViewer, "/tasks", 200}, {RoleViewer, "/secret", 403}, {RoleAdmin, "/secret", 200}, {RolePublic, "/tasks", 403},
		{RoleViewer, "/", 404}, {RoleViewer, "/none", 404}, {RoleViewer, "", 400}, {RoleViewer, "//example.org/tasks", 400},
		{RoleViewer, "https://example.org/tasks", 400}, {RoleViewer, "/live?page=/tasks", 404}, {RoleViewer, "/tasks?" + strings.Repeat("x", liveURL), 400},
	} {
		site, base := serve(t, Config{Groups: []Group{new(samples)}, Guard: as(test.role)})
		if got := openTab(t, streaming(t), base, test.page, "").resp.StatusCode; got != test.status {
			t.Errorf("%v at %.60s: status %d, want %d", test.role, test.page, got, test.status)
		}
		site.EndStreams()
	}

	site, base := serve(t, Config{Groups: []Group{new(samples)}})
	defer site.EndStreams()
	site.hub.open.count = liveStreams
	if event, _ := openTab(t, streaming(t), base, "/tasks", "").next(t, 30*time.Second); !strings.Contains(event, "event: full") || !strings.Contains(event, "retry: ") {
		t.Errorf("one too many: %q", event)
	}
	site.hub.open.count = 0
}

// A pushed page knows the role of its readers and not their names, and does not see their
// cookies.
func TestLiveSharesNoPerson(t *testing.T) {
	var seen atomic.Pointer[Request]
	g := new(samples)
	g.routes = func(r *Router) {
		r.Page(Page{Pattern: "/who/{name}", Template: "sample.live", Load: func(ctx context.Context, r *Request) (View, error) {
			seen.Store(r)
			return g.load(ctx, r)
		}})
	}
	site, base := serve(t, Config{Groups: []Group{g}, Guard: as(RoleOperator)})
	defer site.EndStreams()
	openTab(t, streaming(t), base, "/who/me?q=1", "").next(t, 30*time.Second)
	r := seen.Load()
	if r == nil || r.Actor != (Actor{Role: RoleOperator}) || len(r.Header) != 0 || r.PathValue("name") != "me" || r.URL.Query().Get("q") != "1" || !r.Live || !r.May(RoleOperator) {
		t.Errorf("the page saw %+v", r)
	}
}

// An error of a page is shown in its live part, without an id that changes.
func TestLiveErrors(t *testing.T) {
	g := new(samples)
	err := errors.New("password=hunter2")
	g.err.Store(&err)
	site, base := serve(t, Config{Groups: []Group{g}})
	defer site.EndStreams()
	o := openTab(t, streaming(t), base, "/tasks", "")
	if event, _ := o.next(t, 30*time.Second); !strings.Contains(event, "cannot be shown") || strings.Contains(event, "hunter2") {
		t.Errorf("got %q", event)
	}
	if event, ok := o.next(t, 1500*time.Millisecond); ok && event != stillHere {
		t.Errorf("the same error is pushed again: %q", event)
	}
}

// A slow page is loaded less often, and its readers share what it costs.
func TestSlowPage(t *testing.T) {
	v := &liveView{}
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	clock.Store(int64(100 * time.Second))
	renders := 0
	render := func() frame {
		renders++
		clock.Add(int64(3 * time.Second))
		return frame{id: "x"}
	}
	for range 20 {
		v.get(t.Context(), now, render)
		clock.Add(int64(time.Second))
	}
	if renders != 2 { // at 100 s and at 115 s
		t.Errorf("%d renders in 23 s", renders)
	}
}

// A reader that takes nothing is dropped.
func TestSlowReader(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	defer server.Close()
	s := &stream{w: server, rc: http.NewResponseController(pipeWriter{server})}
	done := make(chan bool)
	go func() { done <- s.push(frame{id: "a", text: "x"}) }()
	client.Close()
	if <-done {
		t.Error("the stream goes on")
	}
}

// pipeWriter is a response whose connection can be slow.
type pipeWriter struct{ net.Conn }

func (pipeWriter) Header() http.Header { return http.Header{} }
func (pipeWriter) WriteHeader(int)     {}
func (pipeWriter) FlushError() error   { return nil }

// A proxy must neither buffer nor compress a stream: it would keep events until there are enough.
func TestLiveThroughProxies(t *testing.T) {
	_, base := serve(t, Config{Groups: []Group{new(samples)}})
	o := openTab(t, streaming(t), base, "/tasks", "")
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Content-Encoding": "identity"} {
		if got := o.resp.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
