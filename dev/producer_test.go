package dev

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
)

// filled returns the form of a task as a browser sends it untouched.
func filled(t *testing.T, task string) url.Values {
	t.Helper()
	form, ok := formOf(task, time.Now())
	if !ok {
		t.Fatalf("no form for %s", task)
	}
	in := url.Values{"task": {task}}
	for _, f := range form.Fields {
		in.Set(f.Name(task), f.Value)
	}
	return in
}

// Each task has a form. The form makes the arguments of the example of its mail, and the page
// shows its fields when its radio button, which is directly before them, is checked.
func TestEveryMailHasAForm(t *testing.T) {
	s, server, _ := newSite(t)
	_, page := ask(t, "GET", server.URL+"/send", nil)
	for _, m := range tasks.Mails() {
		t.Run(m.Name, func(t *testing.T) {
			in := filled(t, m.Name)
			for _, f := range m.Fields {
				in.Set(m.Name+"."+m.Params[len(m.Params)-1]+"."+f.Key, f.Sample)
			}
			o, err := order(in, s.now())
			if err != nil {
				t.Fatal(err)
			}
			want := []any{m.Example()}
			if m.ToUser() {
				want = []any{1, m.Example()}
			}
			if diff := cmp.Diff(jsonOf(t, want), jsonOf(t, o.Args)); diff != "" || o.Task != tasks.Module+"."+m.Name || o.Title != m.Title {
				t.Errorf("sends %s, %q; arguments (-example +form):\n%s", o.Task, o.Title, diff)
			}
			radio := regexp.MustCompile(`<label><input type="radio" name="task" value="` + m.Name + `"[^>]*><span>[^<]*</span></label>\s*<fieldset class="fields" data-task="` + m.Name + `">`)
			if !radio.MatchString(page) {
				t.Error("its fields do not follow its radio button")
			}
		})
	}
	_, sheet := ask(t, "GET", server.URL+"/assets/app.css", nil)
	if !strings.Contains(sheet, ".picker > label:has(:checked) + .fields { display: grid; }") || strings.Contains(sheet, "send_") {
		t.Error("the style sheet shows the fields of a task by another rule than that of all tasks")
	}
	if all := forms(s.now()); len(all) != len(tasks.Mails())+1 || all[len(all)-1].Task != tasks.NameHealthCheck {
		t.Errorf("%d forms of %d mails and the health check", len(all), len(tasks.Mails()))
	}
}

// jsonOf returns v as JSON makes it, without the order of keys.
func jsonOf(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, string(raw))
}

// The form sends the message that real Celery sends.
func TestFormSendsAGenuineMessage(t *testing.T) {
	m, err := startRedis(-1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	pool := newPool(m.Addr())
	defer pool.Close()
	p := newProducer(pool, newTasklog(newPulse(), time.Now))

	in := filled(t, "send_otp_verification_email")
	in.Set("send_otp_verification_email.task_data.otp", "012345")
	in.Set("send_otp_verification_email.task_data.user_data.full_name", `Jürgen "Jo" O'Neil 🎉`)
	o, err := order(in, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := p.send(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.List(queue)
	if err != nil || len(list) != 1 {
		t.Fatalf("queue has %d messages, %v; want 1", len(list), err)
	}
	if ok, err := m.IsMember("_kombu.binding."+queue, queue+sep+sep+queue); err != nil || !ok {
		t.Errorf("the queue is not bound: %v, %v", ok, err)
	}
	recorded := recordedOTP(t)
	if diff := cmp.Diff(shape(t, recorded), shape(t, list[0])); diff != "" {
		t.Errorf("fields differ from those of Celery (-celery +form):\n%s", diff)
	}

	got, err := protocol.Decode([]byte(list[0]), protocol.Limits{})
	if err != nil {
		t.Fatalf("a worker cannot read it: %v", err)
	}
	if got.ID != id || got.Task != "email_workers.tasks.send_otp_verification_email" || got.CorrelationID != id || got.RootID != id {
		t.Errorf("id %s task %s correlation %s root %s; want id %s everywhere", got.ID, got.Task, got.CorrelationID, got.RootID, id)
	}
	want := `[{"email":"ann.keller@example.com","otp":"012345","user_data":{"username":"ann","full_name":"Jürgen \"Jo\" O'Neil 🎉"},"timestamp":null}]`
	if diff := cmp.Diff(decoded(t, want), decoded(t, string(got.Args))); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
	wantRepr := `[{'email': 'ann.keller@example.com', 'otp': '012345', 'user_data': {'username': 'ann', 'full_name': 'Jürgen "Jo" O\'Neil 🎉'}, 'timestamp': None}]`
	if got.ArgsRepr != wantRepr {
		t.Errorf("argsrepr is %s\nwant %s", got.ArgsRepr, wantRepr)
	}
}

func TestFormOptions(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	in := filled(t, "send_booking_confirmation")
	in.Set("send_booking_confirmation.booking_data.quantity", "many")
	in.Set("send_booking_confirmation.booking_data.currency", "")
	in.Set("kwargs", "1")
	in.Set("short", "1")
	in.Set("countdown", "1.5")
	in.Set("priority", "7")
	o, err := order(in, now)
	if err != nil {
		t.Fatal(err)
	}
	if o.Task != "send_booking_confirmation" || o.Priority != 7 || !o.ETA.Equal(now.Add(1500*time.Millisecond)) || o.Args != nil {
		t.Errorf("got %+v", o)
	}
	kwargs, err := json.Marshal(o.Kwargs)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"user_id":1,"booking_data":{"event_name":"Nordic Jazz Night","booking_id":"BK-2026-004217","quantity":"many","total_price":59.9,"booking_date":"` +
		time.Now().Format(time.DateOnly) + `"}}`
	if string(kwargs) != want {
		t.Errorf("kwargs %s\nwant   %s", kwargs, want)
	}

	m, err := startRedis(-1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	pool := newPool(m.Addr())
	defer pool.Close()
	if _, err := newProducer(pool, newTasklog(newPulse(), time.Now)).send(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	list, err := m.List(queue + "\x06\x166")
	if err != nil || len(list) != 1 {
		t.Fatalf("list of priority step 6 has %d messages, %v", len(list), err)
	}
	got, err := protocol.Decode([]byte(list[0]), protocol.Limits{})
	if err != nil || !got.ETA.Equal(o.ETA) || got.Priority != 7 || string(got.Args) != "[]" {
		t.Errorf("eta %v priority %d args %s, %v", got.ETA, got.Priority, got.Args, err)
	}
}

func TestFormRefusesNonsense(t *testing.T) {
	for name, change := range map[string]url.Values{
		"task":      {"task": {"rm -rf"}},
		"countdown": {"countdown": {"soon"}},
		"negative":  {"countdown": {"-1"}},
		"NaN":       {"countdown": {"NaN"}},
		"priority":  {"priority": {"10"}},
	} {
		in := filled(t, "health_check")
		for k, v := range change {
			in[k] = v
		}
		if _, err := order(in, time.Now()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// recordedOTP returns a message that Celery 5.6 has put into the queue.
func recordedOTP(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../worker/protocol/testdata/celery-5.6.2/produced.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct{ Name, Raw string }
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.Name == "args-otp" {
			return r.Raw
		}
	}
	t.Fatalf("no record args-otp: %v", lines.Err())
	return ""
}

// shape returns every field of an envelope as "path: JSON type".
func shape(t *testing.T, raw string) []string {
	t.Helper()
	var all []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		kind := "null"
		switch v := v.(type) {
		case map[string]any:
			kind = "object"
			for k, inner := range v {
				walk(path+"."+k, inner)
			}
		case []any:
			kind = "array"
		case string:
			kind = "string"
		case float64:
			kind = "number"
		case bool:
			kind = "bool"
		}
		all = append(all, path+": "+kind)
	}
	walk("", decoded(t, raw))
	slices.Sort(all)
	return all
}

func decoded(t *testing.T, raw string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}
