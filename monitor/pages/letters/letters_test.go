package letters_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/pages/letters"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// canary is a value of arguments, which no page shows without an audited click. hostile is a
// name that its sender chose.
const (
	canary  = "cAnArY5"
	hostile = `<img src=x onerror=alert(1)>"'\` + "\x1b[31m\u202e" + `</script>`
)

// trail is an audit trail.
type trail struct {
	mu      sync.Mutex
	actions []desk.Action
	entries []web.AuditEntry
}

func (tr *trail) job(ctx context.Context, who web.Actor, a desk.Action, do func(context.Context) (map[string]any, error)) error {
	tr.mu.Lock()
	tr.actions = append(tr.actions, a)
	tr.mu.Unlock()
	_, err := do(ctx)
	return err
}

func (tr *trail) page(ctx context.Context, e web.AuditEntry, do func(context.Context) (web.Done, error)) (web.Done, error) {
	tr.mu.Lock()
	tr.entries = append(tr.entries, e)
	tr.mu.Unlock()
	return do(ctx)
}

func (tr *trail) names() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var all []string
	for _, e := range tr.entries {
		all = append(all, e.Action)
	}
	for _, a := range tr.actions {
		all = append(all, a.Name)
	}
	return strings.Join(all, " ")
}

// rig is a site with the pages, before a real Redis.
type rig struct {
	*httptest.Server
	redis  *redistest.Server
	broker *redis.Broker
	trail  *trail
	runner *jobs.Runner
	role   web.Role
}

func newRig(t *testing.T, change func(*letters.Config)) *rig {
	t.Helper()
	server := redistest.Start(t)
	b := newBroker(t, server)
	r := &rig{redis: server, broker: b, trail: &trail{}, role: web.RoleAdmin}
	r.runner = jobs.New(jobs.Config{Board: b, Leaser: b})
	c := letters.Config{Letters: b.Letters(), Jobs: r.runner, Audit: r.trail.job}
	if change != nil {
		change(&c)
	}
	group := letters.New(c)
	site, err := web.New(web.Config{Groups: []web.Group{group}, Audit: r.trail.page, Guard: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			next.ServeHTTP(w, req.WithContext(web.WithActor(req.Context(), web.Actor{Name: "ada", Role: r.role})))
		})
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = r.runner.Run(ctx) })
	loops.Go(func() { _ = group.Run(ctx) })
	r.Server = httptest.NewServer(site)
	t.Cleanup(func() { r.Close(); cancel(); loops.Wait() })
	return r
}

func newBroker(t *testing.T, server *redistest.Server) *redis.Broker {
	t.Helper()
	c := redis.Config{Address: redis.Address{Host: server.Addr}, DeadLetterLives: tasks.LetterLives()}
	b, err := redis.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// put puts a letter into Redis, as a worker of an earlier version did.
func (r *rig) put(t testing.TB, n int, task, args, reason string, ago time.Duration) string {
	t.Helper()
	raw, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Task: task, Origin: hostile,
		Args: protocol.Raw(args), Kwargs: protocol.Raw(`{}`), DeliveryTag: fmt.Sprint("tag", n), RoutingKey: "email_notifications",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.putRaw(t, n, raw, reason, ago)
}

func (r *rig) putRaw(t testing.TB, n int, raw []byte, reason string, ago time.Duration) string {
	id, at := fmt.Sprintf("%08x%024x", uint32(n+1)*2654435761, n), time.Now().Add(-ago).Unix()
	conn := r.redis.Conn(0)
	meta, _ := json.Marshal(map[string]string{"queue": "email_notifications", "reason": reason, "at": fmt.Sprintf("%d.5", at)})
	for _, send := range [][]any{{"HSET", "_goworker.1.dead", id, raw}, {"HSET", "_goworker.1.dead.meta", id, meta}, {"ZADD", "_goworker.1.dead.index", at, id}} {
		if _, err := conn.Do(send[0].(string), send[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

const otpArgs = `[{"email": "` + canary + `@gmail.com", "otp": "` + canary + `", "user_data": {"username": "` + canary + `"}}]`

// fill puts letters of several kinds, newest first.
func (r *rig) fill(t testing.TB) (ids []string) {
	return []string{
		r.put(t, 0, tasks.Module+".send_otp_verification_email", otpArgs, "mail server did not take the mail: connection refused at DIAL", time.Minute),
		r.put(t, 1, tasks.Module+".send_welcome_email", `[{"email": "`+canary+`@example.org", "username": "`+canary+`"}]`, "recipient address refused: 550 5.1.1 at RCPT", 2*time.Hour),
		r.put(t, 2, tasks.Module+".send_booking_confirmation", `[12, {"booking_id": "BK-1", "event_name": "`+canary+`"}]`, "recipient address refused: 550 5.1.1 at RCPT", 3*time.Hour),
		r.put(t, 3, "shop."+hostile, `[]`, "unknown task "+hostile, 26*time.Hour),
		r.putRaw(t, 4, []byte(`{"hostile": `+canary), "not-json", 27*time.Hour),
	}
}

func (r *rig) queued(t testing.TB) int {
	t.Helper()
	n, err := r.redis.Conn(0).Do("LLEN", "email_notifications")
	if err != nil {
		t.Fatal(err)
	}
	return int(n.(int64))
}

// client does not follow redirects.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (r *rig) do(t testing.TB, req *http.Request) (status int, body, location string) {
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

func (r *rig) get(t testing.TB, path string) string {
	t.Helper()
	status, body, location := r.page(t, path)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s\n%s", path, status, location, body)
	}
	if strings.Contains(body, "<img src=x") || strings.ContainsAny(body, "\x1b\u202e") {
		t.Errorf("GET %s has a hostile name:\n%s", path, body)
	}
	return body
}

func (r *rig) page(t testing.TB, path string) (int, string, string) {
	t.Helper()
	req, _ := http.NewRequest("GET", r.URL+path, nil)
	return r.do(t, req)
}

func (r *rig) post(t testing.TB, path string, form url.Values) (status int, body, location string) {
	t.Helper()
	req, _ := http.NewRequest("POST", r.URL+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.do(t, req)
}

// posted does an action that works and returns where it leads.
func (r *rig) posted(t testing.TB, path string, form url.Values) string {
	t.Helper()
	status, body, location := r.post(t, path, form)
	if status != http.StatusSeeOther {
		has(t, body, "an answer that leads on, not "+fmt.Sprint(status))
		t.FailNow()
	}
	return location
}

// ids returns the letters of a list, in order.
func ids(body string) (all []string) {
	for _, m := range regexp.MustCompile(`<tr id="l-([0-9a-f]+)"`).FindAllStringSubmatch(body, -1) {
		all = append(all, m[1])
	}
	return all
}

func has(t testing.TB, body string, wants ...string) {
	t.Helper()
	if _, rest, ok := strings.Cut(body, "<main"); ok {
		body, _, _ = strings.Cut(rest, "</main")
	}
	for _, want := range wants {
		if !strings.Contains(body, want) {
			t.Errorf("there is no %q in\n%s", want, body)
		}
	}
}

func TestList(t *testing.T) {
	r := newRig(t, nil)
	has(t, r.get(t, "/dead-letters"), "No open dead letters")
	all := r.fill(t)
	time.Sleep(2100 * time.Millisecond) // the pages look every two seconds
	for query, want := range map[string][]int{
		"":                               {0, 1, 2, 3, 4},
		"?state=all":                     {0, 1, 2, 3, 4},
		"?state=retried":                 nil,
		"?q=550+5.1.1":                   {1, 2},
		"?q=reason:%22550+5.1.1%22":      {1, 2},
		"?q=kind:otp":                    {0},
		"?q=kind:otp+kind:welcome":       {0, 1},
		"?q=domain:GMAIL.com":            {0},
		"?q=task:send_welcome_email":     {1},
		"?q=since:150m":                  {0, 1},
		"?q=until:24h":                   {3, 4},
		"?q=refused+kind:welcome":        {1},
		"?q=refused%3A+550+kind:welcome": {1},
	} {
		body := r.get(t, "/dead-letters"+query)
		var wanted []string
		for _, i := range want {
			wanted = append(wanted, all[i])
		}
		if got := ids(body); strings.Join(got, " ") != strings.Join(wanted, " ") {
			t.Errorf("%s: %v, want %v", query, got, wanted)
		}
		if strings.Contains(body, canary) {
			t.Errorf("%s shows a value:\n%s", query, body)
		}
	}
	body := r.get(t, "/dead-letters")
	has(t, body, `c***@gmail.com`, "user 12, BK-1", "correct the address with edit", "By cause", "unknown task")
	for _, m := range regexp.MustCompile(`class="row" href="(/dead-letters[?][^"]+)">`).FindAllStringSubmatch(body, -1) {
		if got := ids(r.get(t, html.UnescapeString(m[1]))); len(got) != 1 {
			t.Errorf("the cause %s has %d letters", m[1], len(got))
		}
	}
	for _, wrong := range []string{"?state=gone", "?q=since:never", `?q=reason:"a`, "?q=kind:", "?after=x", "?q=since:1h+until:2h"} {
		if status, body, _ := r.page(t, "/dead-letters"+wrong); status != http.StatusBadRequest {
			t.Errorf("%s: %d\n%s", wrong, status, body)
		}
	}
	if status, _, to := r.page(t, "/dead-letters?q="+all[2][:12]); status != http.StatusSeeOther || to != "/dead-letters/"+all[2] {
		t.Errorf("a search by id leads to %d %s", status, to)
	}
	if status, _, to := r.page(t, "/dead-letters/"+all[2][:12]); status != http.StatusSeeOther || to != "/dead-letters/"+all[2] {
		t.Errorf("the beginning of an id leads to %d %s", status, to)
	}
	if status, _, _ := r.page(t, "/dead-letters/ffffffffffff"); status != http.StatusNotFound {
		t.Errorf("no such letter: %d", status)
	}
}

func TestPagesOfList(t *testing.T) {
	r := newRig(t, nil)
	for i := range 120 {
		r.put(t, i, "shop.x", `[]`, "unknown task", time.Duration(i/7)*time.Minute)
	}
	seen, path := map[string]bool{}, "/dead-letters"
	for range 3 {
		body := r.get(t, path)
		for _, id := range ids(body) {
			if seen[id] {
				t.Errorf("%s is on two pages", id)
			}
			seen[id] = true
		}
		next := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(body)
		if next == nil {
			break
		}
		path = strings.ReplaceAll(next[1], "&amp;", "&")
	}
	if len(seen) != 120 {
		t.Errorf("%d letters on all pages", len(seen))
	}
}

func TestOneLetter(t *testing.T) {
	r := newRig(t, nil)
	all := r.fill(t)
	for i, wants := range [][]string{
		{"c***@gmail.com", "Mend the relay", `{&#34;email&#34;: string`, "The values are shown only where DEAD_LETTER_KEY is set"}, {"c***@example.org"},
		{"user 12, BK-1"}, {"Start a worker that has the task"}, {"Not a Celery message"},
	} {
		body := r.get(t, "/dead-letters/"+all[i])
		has(t, body, wants...)
		if strings.Contains(body, canary) {
			t.Errorf("letter %d shows a value:\n%s", i, body)
		}
	}
	one := "/dead-letters/" + all[1]
	if to := r.posted(t, one+"/resolve", url.Values{"note": {"called " + hostile + " ada@example.com"}}); to != one {
		t.Errorf("resolve leads to %s", to)
	}
	has(t, r.get(t, one), "Dealt with", "called ", "Reopen")
	r.posted(t, one+"/reopen", url.Values{"note": {"called back"}})
	r.posted(t, one+"/retry", nil)
	has(t, r.get(t, one), "Retried")
	if status, body, _ := r.post(t, one+"/retry", nil); status != http.StatusUnprocessableEntity || !strings.Contains(body, "was retried by ada") {
		t.Errorf("a second retry: %d\n%s", status, body)
	}
	has(t, r.get(t, "/dead-letters/"+all[4]+"/delete"), "cannot be had back")
	if to := r.posted(t, "/dead-letters/"+all[4]+"/delete", url.Values{"note": {"noise"}}); to != "/dead-letters" {
		t.Errorf("delete leads to %s", to)
	}
	if status, _, _ := r.page(t, "/dead-letters/"+all[4]); status != http.StatusNotFound {
		t.Errorf("a deleted letter: %d", status)
	}
	if got, want := r.trail.names(), "dead-letters.resolve dead-letters.reopen dead-letters.retry dead-letters.retry dead-letters.delete"; got != want {
		t.Errorf("the audit trail has %q, want %q", got, want)
	}
	if n := r.queued(t); n != 1 {
		t.Errorf("%d messages are queued", n)
	}
	r.role = web.RoleViewer
	for _, path := range []string{"/retry", "/resolve", "/reopen", "/delete", "/reveal", "/edit"} {
		if status, _, _ := r.post(t, "/dead-letters/"+all[0]+path, nil); status != http.StatusForbidden {
			t.Errorf("a viewer may %s: %d", path, status)
		}
	}
	if body := r.get(t, "/dead-letters/"+all[0]); strings.Contains(body, `method="post"`) {
		t.Error("a viewer sees forms")
	}
}

// Twenty clicks at once send one mail.
func TestRetryAtOnce(t *testing.T) {
	r := newRig(t, nil)
	id := r.fill(t)[1]
	var clicks sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for range 20 {
		clicks.Go(func() {
			status, _, _ := r.post(t, "/dead-letters/"+id+"/retry", nil)
			mu.Lock()
			count[status]++
			mu.Unlock()
		})
	}
	clicks.Wait()
	if r.queued(t) != 1 || count[http.StatusSeeOther] != 1 || count[http.StatusUnprocessableEntity] != 19 {
		t.Errorf("%d messages, answers %v", r.queued(t), count)
	}
}

func TestEdit(t *testing.T) {
	r := newRig(t, nil)
	all := r.fill(t)
	one := "/dead-letters/" + all[2]
	body := r.get(t, one+"/edit")
	has(t, body, `name="f.user_id"`, `name="f.event_name"`, "(unchanged)", "Edit as JSON")
	if strings.Contains(body, canary) {
		t.Errorf("the form shows a value:\n%s", body)
	}
	status, body, _ := r.post(t, one+"/edit", url.Values{"f.user_id": {"-5"}, "f.total_price": {"much " + hostile}, "by": {"fields"}, "note": {"n"}})
	if status != http.StatusUnprocessableEntity {
		t.Errorf("wrong values: %d", status)
	}
	has(t, body, `id="e-user_id"`, "Must be a number such as 12", `value="-5"`, "Nothing was sent")
	if strings.Contains(body, "<img src=x") {
		t.Error("a hostile value is in the form")
	}
	if status, body, _ := r.post(t, one+"/edit", url.Values{"by": {"fields"}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Nothing was changed") {
		t.Errorf("no change: %d\n%s", status, body)
	}
	if status, body, _ := r.post(t, one+"/edit", url.Values{"by": {"json"}, "json": {`{"nope": 1}`}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "is not a parameter of") {
		t.Errorf("a wrong form: %d\n%s", status, body)
	}
	r.posted(t, one+"/edit", url.Values{"f.user_id": {"13"}, "by": {"fields"}, "note": {"wrong user"}})
	has(t, r.get(t, one), "Replaced", "Edited copy", "wrong user")
	raw, err := r.redis.Conn(0).Do("LINDEX", "email_notifications", 0)
	if err != nil || raw == nil {
		t.Fatal(err, "no copy")
	}
	m, err := desk.Decode(raw.([]byte))
	if err != nil || !strings.Contains(string(m.Args), `[13, {`) || !strings.Contains(string(m.Args), canary) {
		t.Errorf("the copy: %v, %s", err, m.Args)
	}
	has(t, r.get(t, one+"/edit"), "cannot be edited", "was replaced by an edited copy")
	two := "/dead-letters/" + all[1]
	r.posted(t, two+"/edit", url.Values{"by": {"json"}, "json": {`{"task_data": {"email": "bob@example.com"}}`}})
	if r.queued(t) != 2 {
		t.Errorf("%d copies", r.queued(t))
	}
	has(t, r.get(t, "/dead-letters/"+all[4]+"/edit"), "cannot be edited")
}

func TestReveal(t *testing.T) {
	r := newRig(t, func(c *letters.Config) { c.MayReveal = true })
	all := r.fill(t)
	one := "/dead-letters/" + all[0]
	if body := r.get(t, one); !strings.Contains(body, "Show the values") || strings.Contains(body, canary) {
		t.Errorf("before the click:\n%s", body)
	}
	to := r.posted(t, one+"/reveal", nil)
	has(t, r.get(t, to), canary, "shown to you")
	has(t, r.get(t, r.posted(t, one+"/reveal", url.Values{"for": {"edit"}})), canary, `name="values"`)
	if r.trail.names() != "dead-letters.reveal dead-letters.reveal" {
		t.Errorf("the audit trail has %q", r.trail.names())
	}
	other := strings.Replace(to, all[0], all[1], 1)
	if body := r.get(t, other); strings.Contains(body, canary) {
		t.Error("the click on one letter shows another one")
	}
	// A form that was filled with values changes only what was changed.
	ticket := to[strings.Index(to, "=")+1:]
	r.posted(t, one+"/edit", url.Values{"values": {ticket}, "by": {"fields"}, "f.email": {"bob@example.com"}, "f.otp": {canary}})
	r.role = web.RoleViewer
	if body := r.get(t, to); strings.Contains(body, canary) {
		t.Error("a viewer sees the values")
	}
}

// state returns the state of a job, once it is not running.
func (r *rig) ended(t testing.TB, path string) jobs.Job {
	t.Helper()
	id := path[strings.LastIndex(path, "/")+1:]
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if j, err := r.runner.Job(t.Context(), id); err == nil && j.State != jobs.Running {
			return j
		}
	}
	t.Fatal("the job does not end")
	return jobs.Job{}
}

func TestBulk(t *testing.T) {
	r := newRig(t, nil)
	all := r.fill(t)
	for i := range 130 {
		r.put(t, 100+i, tasks.Module+".send_booking_confirmation", fmt.Sprintf(`[%d, {"booking_id": "BK-%d", "event_name": "x"}]`, i+1, i), "mail refused: 554 5.7.1 at DATA", 4*time.Hour)
	}
	body := r.get(t, "/dead-letters/bulk?verb=retry&q=554")
	has(t, body, "Retry: 130 dead letters", "The newest 10 of 130", `value="50/s"`)
	form := url.Values{"verb": {"retry"}, "q": {"554"}, "state": {"open"}, "rate": {"40/s"}, "note": {"relay was wrong"}}
	to := r.posted(t, "/dead-letters/bulk", form)
	has(t, r.get(t, to), "of 130 done", "Stop", "40/s", "relay was wrong", "running")
	if again := r.posted(t, "/dead-letters/bulk", form); again != to {
		t.Errorf("the same job a second time leads to %s, not to %s", again, to)
	}
	for j := (jobs.Job{}); j.Done == 0; time.Sleep(10 * time.Millisecond) {
		j, _ = r.runner.Job(t.Context(), to[len("/jobs/"):])
	}
	r.posted(t, to+"/stop", nil)
	j := r.ended(t, to)
	if j.State != jobs.Stopped || j.Done == 0 || j.Done > 120 || r.queued(t) != j.Done {
		t.Errorf("%+v, %d are queued", j, r.queued(t))
	}
	has(t, r.get(t, to), "It was stopped", "stopped")
	form.Set("rate", "0")
	if j := r.ended(t, r.posted(t, "/dead-letters/bulk", form)); j.State != jobs.Done || r.queued(t) != 130 {
		t.Errorf("%+v, %d are queued", j, r.queued(t))
	}
	has(t, r.get(t, "/jobs"), "Retry: 130 dead letters", "done", "stopped")
	if names := r.trail.names(); strings.Count(names, "dead-letters.bulk") != 3 || strings.Count(names, "dead-letters.retry") < 2 || !strings.Contains(names, "dead-letters.stop") {
		t.Errorf("the audit trail has %q", names)
	}

	// Chosen ones, one of which is gone.
	if j := r.ended(t, r.posted(t, "/dead-letters/bulk", url.Values{"verb": {"resolve"}, "id": {all[0], all[1], "ffff"}})); j.Done != 2 || j.Total != 2 {
		t.Errorf("%+v", j)
	}
	if j := r.ended(t, r.posted(t, "/dead-letters/bulk", url.Values{"verb": {"reopen"}, "state": {"dealt_with"}})); j.Done != 2 {
		t.Errorf("%+v", j)
	}
	if j := r.ended(t, r.posted(t, "/dead-letters/bulk", url.Values{"verb": {"retry"}, "id": {all[4]}})); j.Refused != 1 || len(j.Faults) != 1 {
		t.Errorf("bytes that are no message: %+v", j)
	}
	has(t, r.get(t, "/dead-letters/bulk?verb=delete&state=all&q=kind:welcome"), "delete 1", "cannot be had back")
	del := url.Values{"verb": {"delete"}, "state": {"open"}, "q": {"kind:welcome"}, "word": {"yes"}}
	if status, body, _ := r.post(t, "/dead-letters/bulk", del); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Type delete 1") {
		t.Errorf("another word: %d\n%s", status, body)
	}
	del.Set("word", "delete 1")
	if j := r.ended(t, r.posted(t, "/dead-letters/bulk", del)); j.Done != 1 {
		t.Errorf("%+v", j)
	}
	for _, wrong := range []url.Values{{}, {"verb": {"send"}}, {"verb": {"retry"}, "rate": {"x"}}, {"verb": {"retry"}, "q": {"kind:nothing"}}, {"verb": {"retry"}, "before": {"x"}}} {
		if status, _, _ := r.post(t, "/dead-letters/bulk", wrong); status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, status)
		}
	}
}

// Without Redis, and without a history, the pages say what is missing.
func TestMissing(t *testing.T) {
	r := newRig(t, func(c *letters.Config) { c.Letters = nil })
	for _, path := range []string{"/dead-letters", "/dead-letters/abc", "/dead-letters/bulk?verb=retry", "/jobs", "/dead-letters/abc/edit"} {
		has(t, r.get(t, path), "Set REDIS_URL")
	}
	r = newRig(t, nil)
	id := r.fill(t)[0]
	has(t, r.get(t, "/dead-letters/"+id), "There is no history of mails")
	r.redis.Kill()
	time.Sleep(2100 * time.Millisecond)
	has(t, r.get(t, "/dead-letters"), "Redis does not answer")
	has(t, r.get(t, "/dead-letters/"+id), "Redis does not answer")
}
