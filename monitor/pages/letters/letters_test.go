package letters_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/pages"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/pages/letters"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// canary is a value of arguments, which no page shows without an audited click.
const canary = "cAnArY5"

// trail is the audit trail of the jobs.
type trail struct {
	mu      sync.Mutex
	actions []desk.Action
}

func (tr *trail) job(ctx context.Context, _ web.Actor, a desk.Action, do func(context.Context) (map[string]any, error)) error {
	tr.mu.Lock()
	tr.actions = append(tr.actions, a)
	tr.mu.Unlock()
	_, err := do(ctx)
	return err
}

func (tr *trail) count(name string) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, a := range tr.actions {
		if a.Name == name {
			n++
		}
	}
	return n
}

// rig is a site with the pages, before a real Redis.
type rig struct {
	*pages.Site
	redis *redistest.Server
	conn  interface {
		Do(command string, args ...any) (any, error)
	} // for put
	trail  *trail
	runner *jobs.Runner
	group  *letters.Group
}

func newRig(t testing.TB, change func(*letters.Config)) *rig {
	t.Helper()
	server := redistest.Start(t)
	b := newBroker(t, server)
	r := &rig{redis: server, trail: &trail{}, runner: jobs.New(jobs.Config{Board: b, Leaser: b})}
	c := letters.Config{Letters: b.Letters(), Jobs: r.runner, Audit: r.trail.job}
	if change != nil {
		change(&c)
	}
	group := letters.New(c)
	r.group = group
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = r.runner.Run(ctx) })
	loops.Go(func() { _ = group.Run(ctx) })
	t.Cleanup(func() { cancel(); loops.Wait() })
	r.Site = pages.Open(t, group)
	return r
}

func newBroker(t testing.TB, server *redistest.Server) *redis.Broker {
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
		Protocol: 2, ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Task: task, Origin: pages.Hostile,
		Args: protocol.Raw(args), Kwargs: protocol.Raw(`{}`), DeliveryTag: fmt.Sprint("tag", n), RoutingKey: "email_notifications",
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.putRaw(t, n, raw, reason, ago)
}

func (r *rig) putRaw(t testing.TB, n int, raw []byte, reason string, ago time.Duration) string {
	id, at := fmt.Sprintf("%08x%024x", uint32(n+1)*2654435761, n), time.Now().Add(-ago).Unix()
	if r.conn == nil {
		r.conn = r.redis.Conn(0)
	}
	meta, _ := json.Marshal(map[string]string{"queue": "email_notifications", "reason": reason, "at": fmt.Sprintf("%d.5", at)})
	for _, send := range [][]any{{"HSET", "_goworker.1.dead", id, raw}, {"HSET", "_goworker.1.dead.meta", id, meta}, {"ZADD", "_goworker.1.dead.index", at, id}} {
		if _, err := r.conn.Do(send[0].(string), send[1:]...); err != nil {
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
		r.put(t, 3, "shop."+pages.Hostile, `[]`, "unknown task "+pages.Hostile, 26*time.Hour),
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

// ids returns the letters of a list, in order.
func ids(body string) (all []string) {
	for _, m := range regexp.MustCompile(`<tr id="l-([0-9a-f]+)"`).FindAllStringSubmatch(body, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestList(t *testing.T) {
	r := newRig(t, nil)
	pages.Has(t, r.Get(t, "/dead-letters"), "No open dead letters")
	all := r.fill(t)
	// The pages look every two seconds, and show the former look while a new one takes long.
	testkit.Eventually(t, 30*time.Second, "the list has all letters", func() bool { return len(ids(r.Get(t, "/dead-letters"))) == len(all) })
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
		body := r.Get(t, "/dead-letters"+query)
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
	body := r.Get(t, "/dead-letters")
	pages.Has(t, body, `c***@gmail.com`, "user 12, BK-1", "correct the address with edit", "By cause", "unknown task")
	// One cause is one row, whichever mails it has hit, and its link leads to all of them.
	pages.Has(t, body, "booking_confirmation 1, welcome 1")
	causes := regexp.MustCompile(`<b>(\d+)</b></td>\s*<td data-label=""><a class="row" href="(/dead-letters[?][^"]+)">`).FindAllStringSubmatch(body, -1)
	if len(causes) != 4 || causes[0][1] != "2" {
		t.Errorf("causes: %q", causes)
	}
	for _, m := range causes {
		if got := ids(r.Get(t, html.UnescapeString(m[2]))); fmt.Sprint(len(got)) != m[1] {
			t.Errorf("the cause %s has %d letters, want %s", m[2], len(got), m[1])
		}
	}
	for _, wrong := range []string{"?state=gone", "?q=since:never", `?q=reason:"a`, "?q=kind:", "?after=x", "?q=since:1h+until:2h"} {
		if status, body, _ := r.Page(t, "/dead-letters"+wrong); status != http.StatusBadRequest {
			t.Errorf("%s: %d\n%s", wrong, status, body)
		}
	}
	if status, _, to := r.Page(t, "/dead-letters?q="+all[2][:12]); status != http.StatusSeeOther || to != "/dead-letters/"+all[2] {
		t.Errorf("a search by id leads to %d %s", status, to)
	}
	if status, _, to := r.Page(t, "/dead-letters/"+all[2][:12]); status != http.StatusSeeOther || to != "/dead-letters/"+all[2] {
		t.Errorf("the beginning of an id leads to %d %s", status, to)
	}
	if status, _, _ := r.Page(t, "/dead-letters/ffffffffffff"); status != http.StatusNotFound {
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
		body := r.Get(t, path)
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

// In an incident there are more causes than fit.
func TestManyCauses(t *testing.T) {
	r := newRig(t, nil)
	for i := range 10 {
		r.put(t, i, "shop.task", `[]`, "cause "+string(rune('a'+i)), time.Minute)
	}
	body := r.Get(t, "/dead-letters")
	pages.Has(t, body, "2 more causes: narrow the search to see them.")
	if n := strings.Count(body, `data-label="Letters"`); n != 8 {
		t.Errorf("%d causes are shown, want 8", n)
	}
}

func TestOneLetter(t *testing.T) {
	r := newRig(t, nil)
	all := r.fill(t)
	for i, wants := range [][]string{
		{"c***@gmail.com", "Mend the relay", `{&#34;email&#34;: string`, "The values are shown only where DEAD_LETTER_KEY is set"}, {"c***@example.org"},
		{"user 12, BK-1"}, {"Start a worker that has the task"}, {"Not a Celery message"},
	} {
		body := r.Get(t, "/dead-letters/"+all[i])
		pages.Has(t, body, wants...)
		if strings.Contains(body, canary) {
			t.Errorf("letter %d shows a value:\n%s", i, body)
		}
	}
	one := "/dead-letters/" + all[1]
	if to := r.Posted(t, one+"/resolve", url.Values{"note": {"called " + pages.Hostile + " ada@example.com"}}); to != one {
		t.Errorf("resolve leads to %s", to)
	}
	pages.Has(t, r.Get(t, one), "Dealt with", "called ", "Reopen")
	r.Posted(t, one+"/reopen", url.Values{"note": {"called back"}})
	r.Posted(t, one+"/retry", nil)
	pages.Has(t, r.Get(t, one), "Retried")
	if status, body, _ := r.Post(t, one+"/retry", nil); status != http.StatusUnprocessableEntity || !strings.Contains(body, "was retried by ada") {
		t.Errorf("a second retry: %d\n%s", status, body)
	}
	pages.Has(t, r.Get(t, "/dead-letters/"+all[4]+"/delete"), "cannot be had back")
	if to := r.Posted(t, "/dead-letters/"+all[4]+"/delete", url.Values{"note": {"noise"}}); to != "/dead-letters" {
		t.Errorf("delete leads to %s", to)
	}
	if status, _, _ := r.Page(t, "/dead-letters/"+all[4]); status != http.StatusNotFound {
		t.Errorf("a deleted letter: %d", status)
	}
	if got, want := r.Audited(), "dead-letters.resolve dead-letters.reopen dead-letters.retry dead-letters.retry dead-letters.delete"; got != want {
		t.Errorf("the audit trail has %q, want %q", got, want)
	}
	if n := r.queued(t); n != 1 {
		t.Errorf("%d messages are queued", n)
	}
	r.Role = web.RoleViewer
	for _, path := range []string{"/retry", "/resolve", "/reopen", "/delete", "/reveal", "/edit"} {
		if status, _, _ := r.Post(t, "/dead-letters/"+all[0]+path, nil); status != http.StatusForbidden {
			t.Errorf("a viewer may %s: %d", path, status)
		}
	}
	if body := r.Get(t, "/dead-letters/"+all[0]); strings.Contains(body, `method="post"`) {
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
			status, _, _ := r.Post(t, "/dead-letters/"+id+"/retry", nil)
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
	body := r.Get(t, one+"/edit")
	pages.Has(t, body, `name="f.user_id"`, `name="f.event_name"`, "(unchanged)", "Edit as JSON")
	if strings.Contains(body, canary) {
		t.Errorf("the form shows a value:\n%s", body)
	}
	status, body, _ := r.Post(t, one+"/edit", url.Values{"f.user_id": {"-5"}, "f.total_price": {"much " + pages.Hostile}, "by": {"fields"}, "note": {"n"}})
	if status != http.StatusUnprocessableEntity {
		t.Errorf("wrong values: %d", status)
	}
	pages.Has(t, body, `id="e-user_id"`, "Must be a number such as 12", `value="-5"`, "Nothing was sent")
	if strings.Contains(body, "<img src=x") {
		t.Error("a pages.Hostile value is in the form")
	}
	if status, body, _ := r.Post(t, one+"/edit", url.Values{"by": {"fields"}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Nothing was changed") {
		t.Errorf("no change: %d\n%s", status, body)
	}
	if status, body, _ := r.Post(t, one+"/edit", url.Values{"by": {"json"}, "json": {`{"nope": 1}`}}); status != http.StatusUnprocessableEntity || !strings.Contains(body, "is not a parameter of") {
		t.Errorf("a wrong form: %d\n%s", status, body)
	}
	r.Posted(t, one+"/edit", url.Values{"f.user_id": {"13"}, "by": {"fields"}, "note": {"wrong user"}})
	pages.Has(t, r.Get(t, one), "Replaced", "Edited copy", "wrong user")
	raw, err := r.redis.Conn(0).Do("LINDEX", "email_notifications", 0)
	if err != nil || raw == nil {
		t.Fatal(err, "no copy")
	}
	m, err := desk.Decode(raw.([]byte))
	if err != nil || !strings.Contains(string(m.Args), `[13, {`) || !strings.Contains(string(m.Args), canary) {
		t.Errorf("the copy: %v, %s", err, m.Args)
	}
	pages.Has(t, r.Get(t, one+"/edit"), "cannot be edited", "was replaced by an edited copy")
	two := "/dead-letters/" + all[1]
	r.Posted(t, two+"/edit", url.Values{"by": {"json"}, "json": {`{"task_data": {"email": "bob@example.com"}}`}})
	if r.queued(t) != 2 {
		t.Errorf("%d copies", r.queued(t))
	}
	pages.Has(t, r.Get(t, "/dead-letters/"+all[4]+"/edit"), "cannot be edited")
}

func TestReveal(t *testing.T) {
	r := newRig(t, func(c *letters.Config) { c.MayReveal = true })
	all := r.fill(t)
	one := "/dead-letters/" + all[0]
	if body := r.Get(t, one); !strings.Contains(body, "Show the values") || strings.Contains(body, canary) {
		t.Errorf("before the click:\n%s", body)
	}
	to := r.Posted(t, one+"/reveal", nil)
	pages.Has(t, r.Get(t, to), canary, "shown to you")
	pages.Has(t, r.Get(t, r.Posted(t, one+"/reveal", url.Values{"for": {"edit"}})), canary, `name="values"`)
	if r.Audited() != "dead-letters.reveal dead-letters.reveal" {
		t.Errorf("the audit trail has %q", r.Audited())
	}
	other := strings.Replace(to, all[0], all[1], 1)
	if body := r.Get(t, other); strings.Contains(body, canary) {
		t.Error("the click on one letter shows another one")
	}
	// A form that was filled with values changes only what was changed.
	ticket := to[strings.Index(to, "=")+1:]
	r.Posted(t, one+"/edit", url.Values{"values": {ticket}, "by": {"fields"}, "f.email": {"bob@example.com"}, "f.otp": {canary}})
	list := "/dead-letters"
	pages.Has(t, r.Get(t, list), "/dead-letters/bulk")
	r.Role = web.RoleViewer
	if body := r.Get(t, to); strings.Contains(body, canary) {
		t.Error("a viewer sees the values")
	}
	if body := r.Get(t, list); strings.Contains(body, "Retry") || strings.Contains(body, "verb=") {
		t.Error("the list offers actions to a viewer")
	}
}

// state returns the state of a job, once it is not running.
func (r *rig) ended(t testing.TB, path string) jobs.Job {
	t.Helper()
	id := path[strings.LastIndex(path, "/")+1:]
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
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
	body := r.Get(t, "/dead-letters/bulk?verb=retry&q=554")
	pages.Has(t, body, "Retry: 130 dead letters", "The newest 10 of 130", `value="50/s"`)
	form := url.Values{"verb": {"retry"}, "q": {"554"}, "state": {"open"}, "rate": {"1/s"}, "note": {"relay was wrong"}}
	to := r.Posted(t, "/dead-letters/bulk", form)
	pages.Has(t, r.Get(t, to), "of 130 done", "Stop", "1/s", "relay was wrong", "running")
	if again := r.Posted(t, "/dead-letters/bulk", form); again != to {
		t.Errorf("the same job a second time leads to %s, not to %s", again, to)
	}
	testkit.Eventually(t, 30*time.Second, "the first letter", func() bool {
		j, err := r.runner.Job(t.Context(), to[len("/jobs/"):])
		return err == nil && j.Done > 0
	})
	r.Posted(t, to+"/stop", nil)
	j := r.ended(t, to)
	if j.State != jobs.Stopped || j.Done == 0 || j.Done > 120 || r.queued(t) != j.Done {
		t.Errorf("%+v, %d are queued", j, r.queued(t))
	}
	pages.Has(t, r.Get(t, to), "It was stopped", "stopped")
	form.Set("rate", "0")
	if j := r.ended(t, r.Posted(t, "/dead-letters/bulk", form)); j.State != jobs.Done || r.queued(t) != 130 {
		t.Errorf("%+v, %d are queued", j, r.queued(t))
	}
	pages.Has(t, r.Get(t, "/jobs"), "Retry: 130 dead letters", "done", "stopped")
	if names := r.Audited(); names != "dead-letters.bulk dead-letters.bulk dead-letters.stop dead-letters.bulk" || r.trail.count("dead-letters.retry") != 2 {
		t.Errorf("the audit trail has %q", names)
	}

	// Chosen ones, one of which is gone.
	if j := r.ended(t, r.Posted(t, "/dead-letters/bulk", url.Values{"verb": {"resolve"}, "id": {all[0], all[1], "ffff"}})); j.Done != 2 || j.Total != 2 {
		t.Errorf("%+v", j)
	}
	if j := r.ended(t, r.Posted(t, "/dead-letters/bulk", url.Values{"verb": {"reopen"}, "state": {"dealt_with"}})); j.Done != 2 {
		t.Errorf("%+v", j)
	}
	if j := r.ended(t, r.Posted(t, "/dead-letters/bulk", url.Values{"verb": {"retry"}, "id": {all[4]}})); j.Refused != 1 || len(j.Faults) != 1 {
		t.Errorf("bytes that are no message: %+v", j)
	}
	pages.Has(t, r.Get(t, "/dead-letters/bulk?verb=delete&state=all&q=kind:welcome"), "delete 1", "cannot be had back")
	del := url.Values{"verb": {"delete"}, "state": {"open"}, "q": {"kind:welcome"}, "word": {"yes"}}
	if status, body, _ := r.Post(t, "/dead-letters/bulk", del); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Type delete 1") {
		t.Errorf("another word: %d\n%s", status, body)
	}
	del.Set("word", "delete 1")
	if j := r.ended(t, r.Posted(t, "/dead-letters/bulk", del)); j.Done != 1 {
		t.Errorf("%+v", j)
	}
	for _, wrong := range []url.Values{{}, {"verb": {"send"}}, {"verb": {"retry"}, "rate": {"x"}}, {"verb": {"retry"}, "q": {"kind:nothing"}}, {"verb": {"retry"}, "before": {"x"}}} {
		if status, _, _ := r.Post(t, "/dead-letters/bulk", wrong); status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, status)
		}
	}
}

// Without Redis, and without a history, the pages say what is missing.
func TestMissing(t *testing.T) {
	r := newRig(t, func(c *letters.Config) { c.Letters = nil })
	for _, path := range []string{"/dead-letters", "/dead-letters/abc", "/dead-letters/bulk?verb=retry", "/jobs", "/dead-letters/abc/edit"} {
		pages.Has(t, r.Get(t, path), "Set REDIS_URL")
	}
	r = newRig(t, nil)
	id := r.fill(t)[0]
	pages.Has(t, r.Get(t, "/dead-letters/"+id), "There is no history of mails")
	r.redis.Kill()
	testkit.Eventually(t, 30*time.Second, "the list says that Redis does not answer", func() bool {
		return strings.Contains(r.Get(t, "/dead-letters"), "Redis does not answer")
	})
	pages.Has(t, r.Get(t, "/dead-letters/"+id), "Redis does not answer")
}
