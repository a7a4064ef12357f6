package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// samples is a group that shows every part.
type samples struct {
	loads  atomic.Int64
	text   atomic.Pointer[string]
	err    atomic.Pointer[error]
	done   Done
	doErr  error
	extra  map[string]string // files
	routes func(r *Router)
}

type partsView struct {
	Head     Head
	Facets   Facets
	Search   Search
	Timeline Timeline
	Empty    Empty
	Missing  MissingError
	Pager    Pager
	Confirm  Confirm
	Notices  []Notice
	Tiles    []Tile
	Chart    Chart
	Copy     Copy
	Rows     []Fact
	Now      time.Time
	Problem  string
	May      bool
}

// hostile is a name that people give to tasks, users and queues.
const hostile = `"><script>alert(1)</script>'{{.}}&#10;javascript:alert(1)`

func sampleView(problem string) partsView {
	now := time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC)
	chips := []Chip{{"RETRY", Wait}, {hostile, Bad}, {"SUCCESS", Good}, {"STARTED", Info}, {"REVOKED", Calm}}
	facts := []Fact{{Name: "Task", Value: "send_booking_confirmation"}, {Name: "Id", Value: hostile, Mono: true, Copy: true},
		{Name: "Queue", Value: "email_notifications", Href: "/queues?q=email"}, {Name: "Received", Time: now}, {Name: "State", Chip: chips[0]}}
	times := make([]int64, 60)
	values, other := make([]float64, 60), make([]float64, 60)
	for i := range times {
		times[i], values[i], other[i] = now.Unix()+int64(i), 20+10*math.Sin(float64(i)/6), float64(i%7)
	}
	values[20] = math.NaN()
	return partsView{
		Problem: problem, Now: now,
		Head: Head{Title: "Every part " + hostile, Back: &Link{Text: "Tasks", Href: "/"}, Chips: chips, Lead: "All parts on one page, so that they can be looked at.", Facts: facts,
			Links: []Link{{"Export", "/export", "down"}}, Forms: []Button{{Text: "Pause", Action: "/act", Icon: "pause"}, {Text: "Delete", Action: "/act", Tone: Bad, Icon: "trash", Fields: map[string]string{"id": hostile}}}},
		Facets:   Facets{Groups: []FacetGroup{{Title: "State", Items: []Facet{{Text: "All", Href: "/?", Count: 12345, Chosen: true}, {Text: "Succeeded", Href: "/?state=s", Count: 12000, Tone: Good}, {Text: "Failed", Href: "/?state=f", Count: 10000, Capped: true, Tone: Bad}, {Text: hostile, Href: "/?x=" + url.QueryEscape(hostile), Count: -1}}}}},
		Search:   Search{Action: "/", Value: hostile, Placeholder: "id, address or state:FAILED", Keep: map[string]string{"state": hostile, "none": ""}, Suggest: []string{"state:", "kind:"}, Help: "Words are joined by and."},
		Timeline: Timeline{{Time: now, Title: "Received", Tone: Info}, {Time: now, After: 1200 * time.Millisecond, Title: "Attempt 1", Chip: chips[0], Text: "The relay put it off.", Detail: "451 4.7.1 " + hostile, Tone: Wait, Events: Timeline{{Time: now, Title: "RCPT", Tone: Bad}, {Time: now, Title: "MAIL", Tone: Good, Facts: facts}}}, {Time: now, Title: "Sent", Tone: Good, Href: "/"}},
		Empty:    Empty{Title: "No tasks yet", Text: "Tasks appear when workers send events.", Href: "/", Link: "Turn events on"},
		Missing:  MissingError{What: "No history", Advice: "Set LEDGER_DATABASE_URL.\nThen restart."},
		Pager:    Pager{First: "/", Prev: "/?p", Next: "/?n", Text: "1–50 of 12,345"},
		Confirm:  Confirm{Title: "Purge the queue?", Text: "12 messages will be lost.", Facts: facts[:1], Action: "/act", Fields: map[string]string{"queue": hostile}, Word: "email_notifications", Button: "Purge", Cancel: "/", Note: true},
		Notices:  []Notice{{"Good", Good}, {"Bad " + hostile, Bad}, {"Wait", Wait}, {"Info", Info}, {"Calm", Calm}},
		Tiles:    []Tile{{Label: "Throughput", Value: "1,234", Unit: "tasks/s", Hint: "15 minutes", Spark: values, Href: "/"}, {Label: "Oldest", Value: "12 min 03 s", Tone: Wait}, {Label: "Failed", Value: "3 %", Tone: Bad, Href: "/", Spark: other}, {Label: "Relay", Value: "closed", Tone: Good}},
		Chart:    Chart{ID: "rate", Title: "Throughput " + hostile, Unit: "tasks/s", Times: times, Series: []Series{{"succeeded", Good, values}, {"failed " + hostile, Bad, other}}},
		Copy:     Copy{Text: hostile, Mono: true},
		Rows:     facts,
	}
}

const sampleHTML = `
{{define "sample.parts"}}
{{template "part.head" .Head}}
{{with .Problem}}<p class="note bad" id="problem">{{.}}</p>{{end}}
{{template "part.tiles" .Tiles}}
{{template "part.chart" .Chart}}
<div class="beside">{{template "part.facets" .Facets}}
<div>{{template "part.search" .Search}}
<div class="table"><table class="stack" data-rows><thead><tr><th scope="col">Name</th><th scope="col" class="num">Value</th><th scope="col">Seen</th></tr></thead>
<tbody>{{range .Rows}}<tr><td data-label="Name"><a class="row" href="/row{{query "name" .Name}}">{{.Name}}</a></td><td data-label="Value" class="num">{{.Value}}</td><td data-label="Seen">{{ago $.Now}}</td></tr>{{end}}</tbody></table></div>
{{template "part.pager" .Pager}}</div></div>
<div class="grid"><section class="card"><h2>Timeline</h2>{{template "part.timeline" .Timeline}}</section>
<section class="card"><h2>Rest</h2>{{range .Notices}}{{template "part.notice" .}}{{end}}{{template "part.copy" .Copy}} {{template "part.chip" (chip "ok" "good")}}</section></div>
{{template "part.confirm" .Confirm}}{{template "part.empty" .Empty}}{{template "part.missing" .Missing}}
{{end}}
{{define "sample.live"}}{{template "part.head" .Head}}<div {{live}}>{{template "sample.live.live" .}}</div>{{end}}
{{define "sample.live.live"}}<p id="text">{{.Text}}</p>{{template "part.chart" .Chart}}<details id="more"><summary>More</summary>{{.Text}}</details>{{end}}
`

type liveSample struct {
	Head  Head
	Text  string
	Chart Chart
}

func (g *samples) Templates() fs.FS {
	files := fstest.MapFS{"sample.html": {Data: []byte(sampleHTML)}}
	for name, text := range g.extra {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func (g *samples) Register(r *Router) {
	r.Page(Page{Pattern: "/", Menu: "Overview", Template: "sample.parts", Load: func(_ context.Context, r *Request) (View, error) {
		if e := g.err.Load(); e != nil {
			return View{}, *e
		}
		return View{Title: "Parts", Data: sampleView(r.Problem)}, nil
	}})
	r.Page(Page{Pattern: "/tasks/{id}", Template: "sample.live", Load: g.load})
	r.Page(Page{Pattern: "/tasks", Menu: "Tasks", Template: "sample.live", Load: g.load, Badge: func() int { return 12 }})
	r.Page(Page{Pattern: "/secret", Menu: "Secret", Template: "sample.live", Role: RoleAdmin, Load: g.load})
	r.Page(Page{Pattern: "/panic", Template: "sample.live", Load: func(context.Context, *Request) (View, error) { panic("boom") }})
	r.Action(Action{Pattern: "/act", Audit: "sample act", Page: "/", Do: func(context.Context, *Request) (Done, error) { return g.done, g.doErr }})
	r.Action(Action{Pattern: "/tasks/{id}/retry", Audit: "task retry", Do: func(context.Context, *Request) (Done, error) { return g.done, g.doErr }})
	r.Handle("GET /api/x", RoleOperator, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }))
	if g.routes != nil {
		g.routes(r)
	}
}

func (g *samples) load(_ context.Context, r *Request) (View, error) {
	g.loads.Add(1)
	if e := g.err.Load(); e != nil {
		return View{}, *e
	}
	text := r.PathValue("id") + " " + r.URL.Query().Get("q")
	if t := g.text.Load(); t != nil {
		text = *t
	}
	// The chart is empty at first.
	chart := Chart{ID: "chart", Title: "Chart", Series: []Series{{Label: "x"}}}
	if text != "first" {
		chart.Times, chart.Series[0].Values = []int64{1, 2, 3}, []float64{1, 2, float64(len(text))}
	}
	return View{Title: "Live", Data: liveSample{Head: Head{Title: "Live"}, Text: text, Chart: chart}}, nil
}

// as is a guard that lets everybody in with a role.
func as(role Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(WithActor(r.Context(), Actor{Name: "ada", Role: role})))
		})
	}
}

func serve(t *testing.T, cfg Config) (site *Site, base string) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	site, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return site, server.URL
}

type answer struct {
	status int
	header http.Header
	body   string
	path   string
}

func client(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, Timeout: 20 * time.Second}
}

func do(t *testing.T, c *http.Client, method, target string, form url.Values, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), resp.Request.URL.Path}
}

// Hostile text in every part stays text.
func TestPartsEscape(t *testing.T) {
	_, base := serve(t, Config{Groups: []Group{new(samples)}})
	got := do(t, client(t), "GET", base+"/", nil)
	if got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	for _, bad := range []string{"<script>alert", `href="javascript:`, "ZgotmplZ", "<no value>", "%!"} {
		if strings.Contains(got.body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if n := strings.Count(got.body, "alert(1)"); n < 15 {
		t.Errorf("the page shows the name %d times", n)
	}
	for name, want := range map[string]string{"Content-Security-Policy": Policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if have := got.header.Get(name); have != want {
			t.Errorf("%s: %q", name, have)
		}
	}
}

// An action answers with a redirect, and the next page shows its notice once.
func TestActionNotice(t *testing.T) {
	g := &samples{done: Done{Location: "/tasks/7", Notice: "Task 7 is retried. " + hostile, Subjects: []string{"7"}}}
	var audited []AuditEntry
	_, base := serve(t, Config{Groups: []Group{g}, Guard: as(RoleOperator), Audit: func(ctx context.Context, e AuditEntry, do func(context.Context) (Done, error)) (Done, error) {
		audited = append(audited, e)
		return do(ctx)
	}})
	c := client(t)
	got := do(t, c, "POST", base+"/tasks/7/retry", url.Values{})
	if got.path != "/tasks/7" || !strings.Contains(got.body, "Task 7 is retried.") || strings.Contains(got.body, "<script>alert") {
		t.Errorf("at %s: %s", got.path, got.body)
	}
	if again := do(t, c, "GET", base+"/tasks/7", nil); strings.Contains(again.body, "Task 7 is retried.") {
		t.Error("the notice is shown twice")
	}
	want := AuditEntry{Actor: Actor{Name: "ada", Role: RoleOperator}, From: "127.0.0.1", Action: "task retry"}
	if len(audited) != 1 || audited[0].Subjects[0] != "7" || audited[0].Actor != want.Actor || audited[0].From != want.From || audited[0].Action != want.Action {
		t.Errorf("audited %+v", audited)
	}
	// A location of another host leads to the overview.
	for _, location := range []string{"https://example.org/", "//example.org", `/\example.org`, "", "tasks"} {
		g.done = Done{Location: location}
		if got := do(t, c, "POST", base+"/act", url.Values{}); got.path != "/" {
			t.Errorf("location %q leads to %s", location, got.path)
		}
	}
}

// A form that cannot be used is shown again with the reason.
func TestInvalidForm(t *testing.T) {
	g := &samples{doErr: Invalid("The word is wrong.")}
	_, base := serve(t, Config{Groups: []Group{g}})
	got := do(t, client(t), "POST", base+"/act", url.Values{"word": {"x"}})
	if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `id="problem">The word is wrong.`) {
		t.Errorf("status %d: %s", got.status, got.body)
	}
	if got := do(t, client(t), "POST", base+"/tasks/1/retry", url.Values{}); got.status != http.StatusBadRequest || !strings.Contains(got.body, "The word is wrong.") {
		t.Errorf("without a page: status %d", got.status)
	}
	if got := do(t, client(t), "POST", base+"/act", url.Values{"x": {strings.Repeat("x", maxForm)}}); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: status %d", got.status)
	}
}

// The label says on every page, and on its tab, what the pages are about.
func TestLabel(t *testing.T) {
	_, base := serve(t, Config{Groups: []Group{new(samples)}, Label: "eu", LabelHint: "REDIS_URLS: eu, us"})
	body := do(t, client(t), "GET", base+"/", nil).body
	for _, want := range []string{" · eu · Evently Workers</title>", `<span class="tag" title="REDIS_URLS: eu, us">eu</span>`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

// The text of an error reaches people only if it was made for them.
func TestErrorsOfPages(t *testing.T) {
	g := new(samples)
	var log strings.Builder
	_, base := serve(t, Config{Groups: []Group{g}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, test := range []struct {
		err    error
		status int
		text   string
	}{
		{NotFound("There is no task 7."), 404, "There is no task 7."},
		{Invalid("The time is wrong."), 400, "The time is wrong."},
		{Forbidden("Not for you."), 403, "Not for you."},
		{Missing("No history", "Set LEDGER_DATABASE_URL."), 200, "Set LEDGER_DATABASE_URL."},
		{fmt.Errorf("connect to redis hunter2: %w", syscall.ECONNREFUSED), 200, "A server does not answer"},
		{errors.New("password=hunter2"), 500, "Number in the log"},
		{context.DeadlineExceeded, 504, "did not answer in time"},
		{Redirect("/tasks"), 200, "Overview"}, // the next page fails with the same error
	} {
		if test.status == 200 && test.text == "Overview" {
			continue
		}
		g.err.Store(&test.err)
		got := do(t, client(t), "GET", base+"/", nil)
		if got.status != test.status || !strings.Contains(got.body, test.text) || strings.Contains(got.body, "hunter2") {
			t.Errorf("%v: status %d, %s", test.err, got.status, got.body)
		}
	}
	if !strings.Contains(log.String(), "hunter2") {
		t.Error("the log does not have the error")
	}
	// An action that was not done, and a request of a program, have no status of success.
	missing := Missing("No history", "Set LEDGER_DATABASE_URL.\nThen restart.")
	g.err.Store(&missing)
	g.doErr = missing
	if got := do(t, client(t), "GET", base+"/", nil, "Accept", "*/*"); got.status != 503 || !strings.Contains(got.body, "LEDGER_DATABASE_URL. Then restart.") {
		t.Errorf("for a program: status %d, %s", got.status, got.body)
	}
	if got := do(t, client(t), "POST", base+"/act", url.Values{}); got.status != 503 || !strings.Contains(got.body, "LEDGER_DATABASE_URL") {
		t.Errorf("action: status %d, %s", got.status, got.body)
	}
	g.doErr = fmt.Errorf("read tcp: %w", os.ErrDeadlineExceeded)
	if got := do(t, client(t), "POST", base+"/act", url.Values{}); got.status != 504 || !strings.Contains(got.body, "not known whether this was done") {
		t.Errorf("action without an answer: status %d, %s", got.status, got.body)
	}
	if got := do(t, client(t), "GET", base+"/panic", nil); got.status != 500 || strings.Contains(got.body, "boom") {
		t.Errorf("panic: status %d", got.status)
	}
	if got := do(t, client(t), "GET", base+"/none", nil); got.status != 404 || !strings.Contains(got.body, "no such page") {
		t.Errorf("unknown path: status %d", got.status)
	}
	if got := do(t, client(t), "GET", base+"/act", nil); got.status != 405 || !strings.Contains(got.body, "address of an action") {
		t.Errorf("action as a page: status %d", got.status)
	}
	if got := do(t, client(t), "POST", base+"/panic", url.Values{}); got.status != 405 || !strings.Contains(got.body, "takes no form") {
		t.Errorf("page as an action: status %d", got.status)
	}
}

// Roles: pages, actions, handlers and the menu.
func TestRoles(t *testing.T) {
	for _, test := range []struct {
		role     Role
		readOnly bool
		page     int
		secret   int
		act      int
		api      int
	}{
		{RolePublic, false, 403, 403, 403, 403},
		{RoleViewer, false, 200, 403, 403, 403},
		{RoleOperator, false, 200, 403, 200, 200},
		{RoleAdmin, false, 200, 200, 200, 200},
		{RoleAdmin, true, 200, 200, 403, 200},
	} {
		_, base := serve(t, Config{Groups: []Group{new(samples)}, Guard: as(test.role), ReadOnly: test.readOnly})
		c := client(t)
		page := do(t, c, "GET", base+"/tasks", nil)
		have := []int{page.status, do(t, c, "GET", base+"/secret", nil).status, do(t, c, "POST", base+"/act", url.Values{}).status, do(t, c, "GET", base+"/api/x", nil).status}
		want := []int{test.page, test.secret, test.act, test.api}
		for i := range want {
			if have[i] != want[i] {
				t.Errorf("%v, read-only %t: statuses %v, want %v", test.role, test.readOnly, have, want)
				break
			}
		}
		if shown := strings.Contains(page.body, ">Secret<"); shown != (test.role == RoleAdmin) {
			t.Errorf("%v: the menu shows the page of admins: %t", test.role, shown)
		}
		why := map[bool]string{true: "Actions need the role operator", false: "read-only (MONITOR_READ_ONLY)"}[!test.readOnly]
		if shown := strings.Contains(page.body, `<p class="looks">`) && strings.Contains(page.body, why); shown != (test.role == RoleViewer || test.readOnly) {
			t.Errorf("%v, read-only %t: the page says why there are no actions: %t", test.role, test.readOnly, shown)
		}
	}
}

// Other web sites can neither send forms nor read pages under a name of theirs.
func TestForeignSites(t *testing.T) {
	_, base := serve(t, Config{Groups: []Group{new(samples)}})
	if got := do(t, client(t), "POST", base+"/act", url.Values{}, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); got.status != http.StatusForbidden {
		t.Errorf("a form of another site: status %d", got.status)
	}
	// A proxy may change the name of the host where the site knows its own.
	_, behind := serve(t, Config{Groups: []Group{new(samples)}, Origin: "http://monitor.example.com"})
	for origin, want := range map[string]int{"http://monitor.example.com": http.StatusOK, "https://evil.example": http.StatusForbidden} {
		if got := do(t, client(t), "POST", behind+"/act", url.Values{}, "Origin", origin); got.status != want {
			t.Errorf("a form of %s: status %d, want %d", origin, got.status, want)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", base, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another host: status %d", resp.StatusCode)
	}
}

// Mistakes of groups end the start.
func TestMistakesOfGroups(t *testing.T) {
	for name, test := range map[string]struct {
		files  map[string]string
		routes func(*Router)
		want   string
	}{
		"syntax":        {map[string]string{"x.html": `{{define "sample.x"}}{{end`}, nil, "x.html"},
		"no group":      {map[string]string{"x.html": `{{define "x"}}{{end}}`}, nil, "begin with that of its group"},
		"twice":         {map[string]string{"x.html": `{{define "sample.live"}}{{end}}`}, nil, "too"},
		"of the frame":  {map[string]string{"x.html": `{{define "part.head"}}{{end}}`}, nil, "too"},
		"text outside":  {map[string]string{"x.html": `hello {{define "sample.x"}}{{end}}`}, nil, "outside"},
		"inline style":  {map[string]string{"x.html": `{{define "sample.x"}}<p style="color:red">{{end}}`}, nil, "inline"},
		"inline script": {map[string]string{"x.html": `{{define "sample.x"}}<script>1</script>{{end}}`}, nil, "inline"},
		"event handler": {map[string]string{"x.html": `{{define "sample.x"}}<p onclick="x()">{{end}}`}, nil, "inline"},
		"unknown part":  {map[string]string{"x.html": `{{define "sample.x"}}{{template "part.none"}}{{end}}`}, nil, "part.none"},
		"few values":    {map[string]string{"x.html": `{{define "sample.x"}}{{with .None}}{{else}}{{if not (plural .N "row")}}{{end}}{{end}}{{end}}`}, nil, "plural has 2 values, want 3"},
		"many values":   {map[string]string{"x.html": `{{define "sample.x"}}{{range .None}}{{template "part.copy" (.N | copytext .N "row")}}{{end}}{{end}}`}, nil, "copytext has 3 values, want 2"},
		"bad place":     {map[string]string{"x.html": `{{define "sample.x"}}<a href="{{if .}}">{{end}}{{end}}`}, nil, "x.html"},
		"no template":   {nil, func(r *Router) { r.Page(Page{Pattern: "/x", Template: "sample.none", Load: new(samples).load}) }, "no template"},
		"no Load":       {nil, func(r *Router) { r.Page(Page{Pattern: "/x", Template: "sample.live"}) }, "no Load"},
		"no Do":         {nil, func(r *Router) { r.Action(Action{Pattern: "/x"}) }, "no Do"},
		"pattern twice": {nil, func(r *Router) { r.Page(Page{Pattern: "/tasks", Template: "sample.live", Load: new(samples).load}) }, "conflicts"},
		"no page of form": {nil, func(r *Router) {
			r.Action(Action{Pattern: "/x", Page: "/y", Do: func(context.Context, *Request) (Done, error) { return Done{}, nil }})
		}, "no page /y"},
	} {
		_, err := New(Config{Groups: []Group{&samples{extra: test.files, routes: test.routes}}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
