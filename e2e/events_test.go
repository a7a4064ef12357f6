package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/events"
)

// eventStep is a step of testdata/events.py.
type eventStep struct {
	Do      string  `json:"do"` // "event" or "task"
	Channel string  `json:"channel"`
	N       int     `json:"n"`
	With    string  `json:"with,omitempty"`
	Pause   float64 `json:"pause,omitempty"`
}

// eventAnswer is what the producer got for a task.
type eventAnswer struct {
	Step  eventStep `json:"step"`
	State string    `json:"state"`
	Error string    `json:"error"`
	Value struct {
		Success bool   `json:"success"`
		Email   string `json:"email"`
	} `json:"value"`
}

// publishSteps runs the platform's services in Python, and returns what they got for their tasks.
func publishSteps(t *testing.T, tasksAt, eventsAt string, steps []eventStep) (answers []eventAnswer) {
	t.Helper()
	plan, err := json.Marshal(map[string]any{"broker": tasksAt, "events": eventsAt, "timeout": 90, "steps": steps})
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(runPython(t, celeryNew, bytes.NewReader(plan), "testdata/events.py")))
	for lines.Scan() {
		var a eventAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		answers = append(answers, a)
	}
	return answers
}

// startEventServices starts n workers that listen to all channels, and waits until they do.
func (p *platform) startEventServices(t *testing.T, n int, more ...string) (all []*process, urls []string) {
	t.Helper()
	env := append([]string{"EVENT_CHANNELS=" + strings.Join(events.Names(events.Channels()), ","), "LEDGER_DATABASE_URL=off"}, more...)
	for range n {
		port := freePort(t)
		all = append(all, start(t, "evently-workers", p.env(t, append(env, "HEALTH_ADDR=127.0.0.1:"+port)...), bin.service, "run"))
		urls = append(urls, "http://127.0.0.1:"+port)
	}
	for i, url := range urls {
		eventually(t, 60*time.Second, "the worker listens to events", func() bool {
			if all[i].ended() {
				t.Fatalf("the worker ended at its start:\n%s", all[i].out.String())
			}
			return strings.Contains(page(url+"/metrics"), "evently_platform_events_listening 1")
		})
	}
	return all, urls
}

// page returns a page, "" if it cannot be read.
func page(url string) string {
	client := &http.Client{Timeout: 5 * time.Second}
	reply, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer reply.Body.Close()
	raw, _ := io.ReadAll(reply.Body)
	return string(raw)
}

// TestPlatformEvents has Python publish the platform's events and send the tasks of the same mails, in
// each order. Two workers listen. Each occurrence is mailed once, and so is each further task.
func TestPlatformEvents(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.startEventServices(t, 2, "EVENT_DELAY=1")
	orders := []struct {
		name  string
		order string // e: event, n: event with NaN, x: event with texts, t: task, a point: a pause
		mails int
	}{
		{"event, then task", "et", 1},
		{"task, then event", "te", 1},
		{"event, and its task after the mail", "e....t", 1},
		{"task, and its event after the mail", "t..e", 1},
		{"event alone", "e", 1},
		{"task alone", "t", 1},
		{"event twice, and a task between", "ete", 1},
		{"event twice and task twice", "etet", 2},
		{"a second task after both were done", "et....t", 2},
		{"amounts of another type", "xt", 1},
		{"amounts that are no numbers", "n", 1},
	}
	var steps []eventStep
	want := map[int]int{}
	what := map[int]string{}
	const longest = 7
	rounds := make([][]eventStep, longest)
	n := 0
	for _, c := range events.Channels() {
		for _, o := range orders {
			n++
			want[n], what[n] = o.mails, c.Name+": "+o.name
			p.addUser(t, n, address(n), true)
			for i, letter := range o.order {
				s := eventStep{Channel: strings.TrimPrefix(c.Name, "evently:"), N: n, With: map[rune]string{'n': "nan", 'x': "text"}[letter]}
				switch letter {
				case '.':
					continue
				case 't':
					s.Do = "task"
				default:
					s.Do = "event"
				}
				rounds[i] = append(rounds[i], s)
			}
		}
	}
	for _, round := range rounds {
		if len(round) > 0 {
			round[len(round)-1].Pause = 0.4 // the whole of it lasts longer than EVENT_DELAY
		}
		steps = append(steps, round...)
	}
	answers := publishSteps(t, p.redis.url(), p.redis.url(), steps)
	tasks := 0
	for _, s := range steps {
		if s.Do == "task" {
			tasks++
		}
	}
	if len(answers) != tasks {
		t.Errorf("%d answers to %d tasks", len(answers), tasks)
	}
	for _, a := range answers {
		if a.State != "SUCCESS" || !a.Value.Success || a.Value.Email != address(a.Step.N) {
			t.Errorf("%s: the task has got %+v", what[a.Step.N], a)
		}
	}
	eventually(t, 60*time.Second, "a mail to each user", func() bool {
		for user := range want {
			if len(p.sink.all(address(user))) == 0 {
				return false
			}
		}
		return true
	})
	p.redis.settled(queue)
	for user, mails := range want {
		got := p.sink.all(address(user))
		if len(got) != mails {
			t.Errorf("%s (%d): %d mails, want %d", what[user], user, len(got), mails)
			continue
		}
		for _, l := range got {
			if text := string(l.data); !strings.Contains(text, "Nordic Jazz Night") || strings.Contains(text, "NaN") || strings.Contains(text, "nan ") {
				t.Errorf("%s: the mail has not the name of the event, or NaN:\n%s", what[user], clip(text, 2000))
			}
		}
	}
}

func address(user int) string { return fmt.Sprintf("user%d@example.com", user) }

// TestHostileEvents publishes events that are wrong. The worker goes on, mails nothing of them and
// tells the reasons, with bounded lines, keys and labels, and without the content.
func TestHostileEvents(t *testing.T) {
	t.Parallel()
	const canary, channel = "c4n4ry-5521", "evently:bookings:confirmed"
	p := startPlatform(t)
	p.addUser(t, 7, address(7), true)
	workers, urls := p.startEventServices(t, 1, "EVENT_DELAY=0")
	count := func(reason string) (n int) {
		_, rest, _ := strings.Cut(page(urls[0]+"/metrics"), `evently_platform_events_refused_total{reason="`+reason+`"} `)
		fmt.Sscan(rest, &n)
		return n
	}
	keys := func() int { return p.redis.int("DBSIZE") }
	before := keys()
	event := func(inner string) string {
		return fmt.Sprintf(`{"type": "BookingConfirmed", "booking_id": 1, "user_id": 7, "booking_data": {%s}, "x": %q}`, inner, canary)
	}
	for _, raw := range []string{
		canary, "", "\x00" + canary, "\xff\xfe", "[]", "null", event(`"a": tru`), // not JSON
		event(strings.Repeat(`"a": {`, 5000) + strings.Repeat("}", 5000)),
		event(`"a": "` + strings.Repeat(canary, 1<<20) + `"`), // 11 MB
		event(`"user_id": "` + canary + `@example.com\r\nBcc: x@example.com"`),
		event(`"user_id": 8`), event(`"id": 2.5`), event(`"id": [1]`), event(`"id": "\ud800"`),
		strings.Replace(event(""), "BookingConfirmed", "EventDeleted", 1),
	} {
		p.redis.do("PUBLISH", channel, raw)
	}
	// Events of 10,000 names, and as many of one that is not ours.
	p.redis.do("EVAL", `for i = 1, 10000 do
		redis.call('PUBLISH', ARGV[1], '{"type": "'..ARGV[2]..i..'", "booking_id": '..i..'}')
		redis.call('PUBLISH', 'evently:events:created', '{"type": "EventCreated", "event_id": "'..i..ARGV[2]..'", "event_data": {"name": ["'..i..'"]}}')
	end`, 0, channel, canary)
	eventually(t, 60*time.Second, "all are refused", func() bool { return count("wrong_type") == 10001 && count("missing_field") >= 10000 })
	for reason, least := range map[string]int{"not_json": 7, "too_deep": 1, "too_large": 1, "bad_field": 3, "contradicts": 1} {
		if n := count(reason); n < least {
			t.Errorf("%s: %d events, want %d", reason, n, least)
		}
	}

	// Usable ones of the future, with keys that are there twice and for a user who is not known.
	p.redis.do("PUBLISH", channel, `{"type": "BookingConfirmed", "booking_id": 8, "booking_id": 9, "user_id": 7, "booking_data": {
		"created_at": "9999-12-31T23:59:59", "total_amount": -Infinity, "quantity": 1e400, "currency": "\ud800", "booking_reference": "a\r\nBcc: b@example.com"}}`)
	p.redis.do("PUBLISH", channel, `{"type": "BookingConfirmed", "booking_id": 10, "user_id": 999, "booking_data": {"created_at": "0001-01-01T00:00:00"}}`)
	eventually(t, 60*time.Second, "a mail", func() bool { return len(p.sink.all(address(7))) == 1 })
	p.redis.settled(queue)
	if all := p.sink.all(""); len(all) != 1 || strings.Contains(strings.ToLower(string(all[0].data)), "\nbcc:") {
		t.Errorf("%d mails, want one without a header of the event", len(all))
	}
	if text := string(p.sink.all("")[0].data); strings.Contains(text, "Infinity") || strings.Contains(text, "e400") {
		t.Errorf("the mail has numbers that are none:\n%s", clip(text, 3000))
	}

	// A server drops a subscriber that reads too slowly. It comes back.
	large := strings.Repeat(canary, 8<<10)
	p.redis.do("EVAL", `for i = 1, 600 do redis.call('PUBLISH', ARGV[1], ARGV[2]) end`, 0, channel, large)
	eventually(t, 60*time.Second, "the worker listens again", func() bool {
		return strings.Contains(workers[0].out.String(), "listening to events again") && strings.Contains(page(urls[0]+"/metrics"), "evently_platform_events_listening 1")
	})

	log, metrics := workers[0].out.String(), page(urls[0]+"/metrics")
	if n := strings.Count(log, "event refused"); n > 40 {
		t.Errorf("%d lines about refused events", n)
	}
	if n := strings.Count(metrics, "\nevently_platform_events"); n > 40 {
		t.Errorf("%d lines of metrics", n)
	}
	for name, text := range map[string]string{"log": log, "metrics": metrics, "health": page(urls[0] + "/health/events")} {
		if strings.Contains(text, canary) {
			t.Errorf("the %s has the content of an event:\n%s", name, clip(text, 3000))
		}
	}
	if n := keys() - before; n > 30 {
		t.Errorf("%d more keys in Redis", n)
	}
	if workers[0].ended() {
		t.Error("the worker has ended")
	}
	t.Logf("%d more keys, %d lines", keys()-before, strings.Count(log, "event refused"))
}
