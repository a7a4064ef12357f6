package rows

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/recorded"
	"github.com/evently/workers/torture/harness"
)

// malformed is R14.
var malformed = harness.Row{
	ID:     "R14",
	Goal:   "malformed messages, recorded ones that hurt and mutations of good ones, among good messages",
	Mark:   "no exit; every bad one in the dead letters, byte for byte, or done under its id; every good one done",
	Celery: true,
	Run: func(r *harness.Run) {
		if r.Kind.IsCelery() {
			malformedOneByOne(r)
			return
		}
		s := harness.NewStage(r)
		bad, good := harness.Size(r, 1000, 200_000), harness.Size(r, 300, 5000)
		w := s.Start(harness.Options{Concurrency: 8, Prefetch: 8, Flags: []string{"-dead-max", "1000000"}, Env: []string{"GOMEMLIMIT=150MiB"}})
		s.Ready()
		type sent struct{ id, raw string }
		var all []sent
		seeds := crafted(r)
		var most int
		begin := time.Now()
		for len(all) < bad {
			c := s.Redis.Pool.Get()
			for range min(500, bad-len(all)) {
				var m sent
				if n := len(all); n < len(seeds) {
					m.raw = seeds[n].raw
				} else {
					m.id, m.raw = mutant(r, n)
					// The damage may have hit the id itself.
					if id := idOf(m.raw); id != "" {
						m.id = id
					}
				}
				if err := c.Send("LPUSH", harness.Queue, m.raw); err != nil {
					s.Fatalf("send: %v", err)
				}
				all = append(all, m)
			}
			_, err := c.Do("")
			c.Close()
			if err != nil {
				s.Fatalf("send: %v", err)
			}
			s.Send(good*500/bad, harness.Task{})
			testkit.Eventually(s, time.Minute, "the backlog gets shorter", func() bool { return s.Redis.Waiting(harness.Queue) < 2000 })
			if w.Ended() {
				s.Fatalf("the worker has ended")
			}
			most = max(most, residentMB(s, w))
		}
		a := s.Await(s.IDs, 2*time.Minute)
		s.Settled(time.Minute)
		took := time.Since(begin)
		dead := s.DeadLetters()
		var ids []string
		for _, m := range all {
			if m.id != "" {
				ids = append(ids, m.id)
			}
		}
		results := s.Redis.Results(ids)
		aside, done, lost := 0, 0, 0
		for i, m := range all {
			switch {
			case dead[m.raw] > 0:
				dead[m.raw]--
				aside++
			case results[m.id].Final() || i < len(seeds) && seeds[i].readable:
				done++ // odd, and yet it can be read
			default:
				if lost++; lost <= 3 {
					s.Logf("nowhere: %s", testkit.Clip(m.raw, 1500))
				}
			}
		}
		reasons := map[string]int{}
		for _, meta := range s.Redis.Strings("HVALS", "_goworker.1.dead.meta") {
			var m struct{ Reason string }
			if err := json.Unmarshal([]byte(meta), &m); err != nil || m.Reason == "" {
				s.Errorf("a dead letter has no reason: %q", meta)
			}
			reasons[m.Reason]++
		}
		s.Figure("%d bad: %d dead letters with %d reasons, %d done, %d lost; %d of %d good done; %s, RSS %d MB at most",
			len(all), aside, len(reasons), done, lost, a.Done, a.Tasks, took.Round(time.Second), most)
		s.Want(lost == 0 && a.Done == a.Tasks && a.Failed == 0, "no message lost and every good task done: %d lost, %s", lost, a)
		s.Want(!w.Ended(), "the worker to go on")
		s.Want(most < r.Memory(200), "RSS < %d MB, was %d", r.Memory(200), most)
	},
}

// idOf returns the id of a message, or "". A number stands for its digits.
func idOf(raw string) string {
	var m struct{ Headers struct{ ID json.RawMessage } }
	if json.Unmarshal([]byte(raw), &m) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(m.Headers.ID, &text) != nil {
		return string(m.Headers.ID)
	}
	return text
}

// malformedOneByOne gives the recorded messages one at a time, each followed by a
// good one, and counts the ones that end the worker.
func malformedOneByOne(r *harness.Run) {
	s := harness.NewStage(r)
	seeds := crafted(r)
	if !r.Long {
		seeds = seeds[:4]
	}
	w := s.Start(harness.Options{})
	s.Ready()
	ends := 0
	for _, seed := range seeds {
		s.Redis.Do("LPUSH", harness.Queue, seed.raw)
		good := s.Send(1, harness.Task{})
		testkit.Poll(5*time.Second, func() bool { return w.Ended() || s.Redis.Results(good)[good[0]].Final() })
		if w.Ended() {
			ends++
			s.Redis.Do("DEL", harness.Queue, "unacked", "unacked_index")
			w = s.Start(harness.Options{})
			s.Ready()
		}
	}
	s.Figure("%d of %d recorded messages end the worker", ends, len(seeds))
	s.Want(ends == 0, "no message to end the worker, %d do", ends)
}

type seed struct {
	name, raw string
	readable  bool // we run it: Celery does, or it is clear what its producer means
}

// crafted are the recorded messages that are known to hurt, and some more.
func crafted(r *harness.Run) []seed {
	r.Helper()
	readable := map[string]bool{"body-embed-null": true, "body-kwargs-list": true, "eta-z": true, "extra-fields": true,
		"no-delivery-info": true, "no-delivery-tag": true, "no-properties": true, "priority-null": true,
		"retries-string": true, "timelimit-null": true, "wrong-arity": true}
	var seeds []seed
	file := filepath.Join(harness.Root(r), "worker", "protocol", "testdata", "crafted", "messages.jsonl")
	for _, one := range recorded.Lines[struct{ Name, Raw string }](r, file) {
		seeds = append(seeds, seed{one.Name, one.Raw, readable[one.Name]})
	}
	if len(seeds) == 0 {
		r.Fatalf("no recorded messages in %s", file)
	}
	return append(seeds,
		seed{name: "empty"},
		seed{name: "binary", raw: "\x00\xff\xfe\x80 no text at all"},
		seed{name: "deep", raw: strings.Repeat(`{"headers":`, 50_000)},
		seed{name: "large", raw: `"` + strings.Repeat("x", 3<<20) + `"`})
}

// mutant draws a good message and damages it, in its structure or in its bytes.
func mutant(r *harness.Run, n int) (id, raw string) {
	id, raw = r.Message(n, harness.Task{})
	odd := []string{"null", "true", "0", "-1", "1e999", "NaN", "[]", "{}", `""`, `"\u0000"`, `"\ud800"`, "[[[[]]]]",
		"184467440737095516150", `"` + strings.Repeat("é", 300) + `"`, `{"__type__": "uuid", "__value__": 1}`, "[1,", "}"}
	value := odd[r.Chance.IntN(len(odd))]
	replace := func(from, to string) { raw = strings.Replace(raw, from, to, 1) }
	body := func(b string) {
		_, rest, _ := strings.Cut(raw[len(`{"body": "`):], `"`)
		raw = `{"body": "` + b + `"` + rest
	}
	switch r.Chance.IntN(14) {
	case 0: // a field of the headers is something else
		field := []string{"lang", "task", "id", "eta", "expires", "group", "retries", "timelimit", "root_id", "stamps"}[r.Chance.IntN(10)]
		replace(fmt.Sprintf(`"%s": `, field), fmt.Sprintf(`"%s": %s, "x%[1]s": `, field, value))
	case 1: // one of the properties is
		field := []string{"correlation_id", "delivery_mode", "delivery_info", "priority", "body_encoding", "delivery_tag"}[r.Chance.IntN(6)]
		replace(fmt.Sprintf(`"%s": `, field), fmt.Sprintf(`"%s": %s, "x%[1]s": `, field, value))
	case 2: // a field is missing
		field := []string{"headers", "properties", "content-type", "content-encoding", "body", "task", "delivery_info"}[r.Chance.IntN(7)]
		replace(`"`+field+`"`, `"not-`+field+`"`)
	case 3:
		body("%%%" + value)
	case 4:
		body(base64.StdEncoding.EncodeToString([]byte(value)))
	case 5:
		body(base64.StdEncoding.EncodeToString([]byte("\x80\x04\x95pickle.")))
	case 6: // deep
		depth := 1 + r.Chance.IntN(3000)
		body(base64.StdEncoding.EncodeToString([]byte("[" + strings.Repeat("[", depth) + strings.Repeat("]", depth) + ", {}, {}]")))
	case 7: // cut short
		raw = raw[:r.Chance.IntN(len(raw))]
	case 8: // a byte is another
		b := []byte(raw)
		for range 1 + r.Chance.IntN(4) {
			b[r.Chance.IntN(len(b))] = byte(r.Chance.UintN(256))
		}
		raw = string(b)
	case 9: // a piece is twice
		i := r.Chance.IntN(len(raw))
		j := i + r.Chance.IntN(len(raw)-i)
		raw = raw[:j] + raw[i:j] + raw[j:]
	case 10: // a piece is missing
		i := r.Chance.IntN(len(raw))
		raw = raw[:i] + raw[min(len(raw), i+1+r.Chance.IntN(20)):]
	case 11:
		replace(`"content-type": "application/json"`, `"content-type": "application/`+[]string{"x-python-serialize", "x-yaml", "data", "none"}[r.Chance.IntN(4)]+`"`)
	case 12: // two in one
		raw += raw
	default:
		raw = value
	}
	return id, raw
}
