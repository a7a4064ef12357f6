package rows

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// sizes is S2 and S3.
var sizes = harness.Row{
	ID:   "S3",
	Goal: "messages made to eat memory and time: large, deep, wide, a bomb of compression, code in pickle and yaml (S2)",
	Mark: "each a dead letter, or run where it can be read, RSS < 150 MB, a good task behind each waits < 2 s, no exit",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r, "--appendonly", "no")
		w := s.Start(harness.Options{Concurrency: 4, Env: []string{"GOMEMLIMIT=120MiB"}})
		s.Ready()
		hostile := hostileMessages(r)
		var worst time.Duration
		most, sent, unread := 0, 0, 0
		for range harness.Size(r, 1, 10) {
			for _, m := range hostile {
				s.Redis.Do("LPUSH", harness.Queue, m.raw)
				sent++
				if !m.readable {
					unread++
				}
				begin := time.Now()
				good := s.Send(1, harness.Task{})
				ok := testkit.Poll(r.Mark(2*time.Second), func() bool {
					most = max(most, residentMB(s, w))
					return s.Redis.Results(good)[good[0]].Final()
				})
				took := time.Since(begin)
				worst = max(worst, took)
				s.Want(ok && took < r.Mark(2*time.Second), "the task behind %q done within %s, took %s", m.name, r.Mark(2*time.Second), took)
			}
		}
		s.Settled(time.Minute)
		dead := harness.Sum(s.DeadLetters())
		s.Figure("%d messages of %d sorts: %d dead letters, %d run, RSS %d MB at most, a good task waited %s at most", sent, len(hostile), dead, sent-unread, most, ms(worst))
		s.Want(dead == unread, "%d dead letters, have %d", unread, dead)
		s.Want(most < r.Memory(150), "RSS < %d MB, was %d", r.Memory(150), most)
		s.Want(!w.Ended(), "the worker to go on")
	},
}

// hostileMessages returns messages of an attacker who may write to Redis.
func hostileMessages(r *harness.Run) []seed {
	r.Helper()
	with := func(change func(raw string) string) string {
		_, raw := r.Message(0, harness.Task{})
		return change(raw)
	}
	body := func(text string) string {
		return with(func(raw string) string {
			_, rest, _ := strings.Cut(raw[len(`{"body": "`):], `"`)
			return `{"body": "` + base64.StdEncoding.EncodeToString([]byte(text)) + `"` + rest
		})
	}
	header := func(from, to string) string {
		return with(func(raw string) string { return strings.Replace(raw, from, to, 1) })
	}
	var bomb bytes.Buffer
	z := zlib.NewWriter(&bomb)
	if _, err := io.CopyN(z, zeros{}, 32<<20); err != nil || z.Close() != nil {
		r.Fatalf("bomb: %v", err)
	}
	wide := `[[` + strings.TrimSuffix(strings.Repeat("1,", 400_000), ",") + `], {}, {}]`
	keys := `[[], {` + strings.TrimSuffix(strings.Repeat(`"x":1,`, 120_000), ",") + `}, {}]`
	return []seed{
		{name: "20 MB of text", raw: body(`[["` + strings.Repeat("x", 20<<20) + `"], {}, {}]`)},
		{name: "100,000 lists in one another", raw: body("[" + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + ", {}, {}]")},
		{name: "400,000 arguments", raw: body(wide), readable: true},
		{name: "120,000 times the same name", raw: body(keys), readable: true},
		{name: "100,000 headers in one another", raw: header(`"eta": null`, `"eta": `+strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000))},
		{name: "a bomb of zlib", raw: strings.Replace(body(bomb.String()), `"lang": "py"`, `"lang": "py", "compression": "application/x-gzip"`, 1)},
		{name: "pickle", raw: strings.Replace(body("\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR."), "application/json", "application/x-python-serialize", 1)},
		{name: "yaml with code", raw: strings.Replace(body("!!python/object/apply:os.system ['touch /tmp/x']"), "application/json", "application/x-yaml", 1)},
		{name: "an id of a megabyte", raw: header(`"shadow": null`, `"shadow": null, "id": "`+strings.Repeat("x", 1<<20)+`"`)},
		{name: "an id with a line break", raw: header(`"shadow": null`, `"shadow": null, "id": "x\r\nFLUSHALL\r\n"`), readable: true},
		{name: "a task name with a line break", raw: header(`"shadow": null`, `"shadow": null, "task": "x\r\nlevel=ERROR msg=forged"`)},
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// forged is S14 and S18.
var forged = harness.Row{
	ID:   "S14",
	Goal: "ids and names of tasks made to reach other keys of Redis, and to forge lines of the log (S18)",
	Mark: "no other key is touched, no line is forged, no control character reaches the log",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		s.Redis.Do("SET", "precious", "untouched")
		s.Redis.Do("RPUSH", "celery-task-meta-a-list", "untouched")
		w := s.Start(harness.Options{Concurrency: 4})
		s.Ready()
		before := s.Redis.Dump("precious") + s.Redis.Dump("celery-task-meta-a-list")
		ids := []string{"../precious", "a-list", "*", "precious\x00", "\x1b[31mred", "x\nlevel=ERROR msg=forged", "{unacked}", "%s%n", "' or 1=1", "…\u2028line"}
		sent := 0
		for range harness.Size(r, 5, 100) {
			for _, id := range ids {
				for _, field := range []string{"id", "task", "root_id", "argsrepr"} {
					_, raw := r.Message(0, harness.Task{})
					quoted, err := json.Marshal(id)
					if err != nil {
						s.Fatalf("%v", err)
					}
					raw = strings.Replace(raw, fmt.Sprintf(`"%s": `, field), fmt.Sprintf(`"%s": %s, "x%[1]s": `, field, quoted), 1)
					s.Redis.Do("LPUSH", harness.Queue, raw)
					sent++
				}
			}
		}
		s.Settled(time.Minute)
		a := s.Await(s.IDs, 30*time.Second)
		s.Want(a.Done == a.Tasks, "the good task done: %s", a)
		s.Want(s.Redis.Dump("precious")+s.Redis.Dump("celery-task-meta-a-list") == before, "the other keys untouched")
		out := w.Out.String()
		lines := strings.Split(strings.TrimSpace(out), "\n")
		forgeries := 0
		for _, line := range lines {
			odd := slices.ContainsFunc([]rune(line), func(c rune) bool { return c < ' ' || c == 0x7f || c == '\u2028' })
			if !strings.HasPrefix(line, "time=") || odd {
				if forgeries++; forgeries <= 3 {
					s.Logf("line of the log: %q", testkit.Clip(line, 300))
				}
			}
		}
		s.Figure("%d messages, %d lines of the log: %d forged or with control characters; other keys untouched", sent, len(lines), forgeries)
		s.Want(forgeries == 0, "no forged line, have %d", forgeries)
		s.Want(!w.Ended(), "the worker to go on")
	},
}

// harmless is S13.
var harmless = harness.Row{
	ID:   "S13",
	Goal: "destructive remote control from any publisher, with control limited to inspection",
	Mark: "shutdown, cancel_consumer, pool_shrink, rate_limit and revoke change nothing, ping is answered",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		w := s.Start(harness.Options{Name: "guarded", Concurrency: 2, Flags: []string{"-control", "harmless"}})
		s.Ready()
		command := func(method string, arguments map[string]any, reply string) {
			body := map[string]any{"method": method, "arguments": arguments, "destination": nil}
			if reply != "" {
				body["reply_to"] = map[string]any{"exchange": "reply.celery.pidbox", "routing_key": reply}
				body["ticket"] = reply
			}
			text, err := json.Marshal(body)
			if err != nil {
				s.Fatalf("%v", err)
			}
			s.Redis.Do("PUBLISH", "/0.celery.pidbox", control(base64.StdEncoding.EncodeToString(text)))
		}
		for range harness.Size(r, 20, 500) {
			command("shutdown", map[string]any{}, "")
			command("cancel_consumer", map[string]any{"queue": harness.Queue}, "")
			command("pool_shrink", map[string]any{"n": 100}, "")
			command("rate_limit", map[string]any{"task_name": "e2e.work", "rate_limit": "1/h"}, "")
			command("time_limit", map[string]any{"task_name": "e2e.work", "hard": 0.001}, "")
		}
		id, raw := s.Message(0, harness.Task{})
		command("revoke", map[string]any{"task_id": id}, "")
		// Published requests need not be seen before queued messages; an answer proves
		// that all of them were.
		s.Redis.Do("SADD", "_kombu.binding.reply.celery.pidbox", "asker\x06\x16\x06\x16asker.reply.celery.pidbox")
		command("ping", map[string]any{}, "asker")
		answered := testkit.Poll(r.Mark(2*time.Second), func() bool { return s.Redis.Int("LLEN", "asker.reply.celery.pidbox") > 0 })
		s.Want(answered, "an answer to ping")
		s.Redis.Do("LPUSH", harness.Queue, raw)
		ids := append(s.Send(50, harness.Task{}), id)
		a := s.Await(ids, 30*time.Second)
		s.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
		s.Want(!w.Ended(), "the worker to go on")
		s.Figure("%d commands: %d of %d tasks done afterwards, ping answered: %t", harness.Size(r, 20, 500)*5+1, a.Done, a.Tasks, answered)
	},
}
