package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/internal/testkit/recorded"
)

// readable are the recorded oddities that are run: the ones that Celery runs, and the
// ones that a client in another language might mean. All others in the file are no messages.
// Their code is missing, so the OTP task answers that it was called without.
var readable = map[string]string{
	"body-kwargs-list": `"TypeError"`,
	"no-delivery-info": `"Missing required data"`,
	"no-delivery-tag":  `"Missing required data"`,
	"no-properties":    `"Missing required data"`,
	"body-embed-null":  `"Missing required data"`,
	"eta-z":            `"Missing required data"`,
	"extra-fields":     `"Missing required data"`,
	"priority-null":    `"Missing required data"`,
	"retries-string":   `"Missing required data"`,
	"timelimit-null":   `"Missing required data"`,
	"wrong-arity":      `"TypeError"`,
}

// TestCrafted puts every malformed message that is known to hurt, most of them
// deadly for a Python worker, between good ones.
func TestCrafted(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	service := p.startService(t)
	type crafted struct{ name, id, raw string }
	var all []crafted
	for _, record := range recorded.Lines[struct{ Name, Raw string }](t, "../worker/protocol/testdata/crafted/messages.jsonl") {
		c := crafted{name: record.Name, id: uuid.NewString(), raw: record.Raw}
		// Many were recorded under one task id; here each needs its own result.
		var m struct{ Headers struct{ ID string } } // no more: the rest is crafted
		if json.Unmarshal([]byte(c.raw), &m) == nil && m.Headers.ID != "" {
			c.raw = strings.ReplaceAll(c.raw, m.Headers.ID, c.id)
		}
		all = append(all, c)
	}
	if len(all) < 28 {
		t.Fatalf("%d crafted messages: want at least 28", len(all))
	}
	all = append(all,
		crafted{name: "empty", raw: ""},
		crafted{name: "binary", raw: "\x00\xff\xfe\x80 no text at all"},
		crafted{name: "deep", raw: strings.Repeat(`{"headers":`, 50_000)},
		crafted{name: "large", raw: `"` + strings.Repeat("x", 3<<20) + `"`},
	)

	const good = 10 // between two bad ones
	var goodIDs []string
	for i, c := range all {
		p.redis.do("LPUSH", queue, c.raw)
		if i%7 == 0 {
			goodIDs = append(goodIDs, flood(t, celeryNew, p.redis, queue, good, prefix+"health_check", []any{}, nil)...)
		}
	}
	want := map[string]int{} // raw messages that must be set aside
	for _, c := range all {
		if _, ok := readable[c.name]; !ok {
			want[c.raw]++
		}
	}
	p.redis.settled(queue)
	awaitResults(p.redis, goodIDs, 30*time.Second)
	for _, c := range all {
		result, ok := readable[c.name]
		if !ok {
			if c.id == "" || !strings.Contains(c.raw, c.id) {
				continue
			}
			result = `"DecodeError"` // its caller is told
		}
		eventually(t, time.Minute, "result of "+c.name, func() bool {
			stored := p.redis.results([]string{c.id})[c.id]
			return stored.Status != "" && stored.Status != "STARTED"
		})
		if got := p.redis.results([]string{c.id})[c.id]; !strings.Contains(string(got.Result), result) {
			t.Errorf("%s: %s %s, want one with %s", c.name, got.Status, got.Result, result)
		}
	}

	dead := deadLetters(t, p.redis)
	wanted := len(all) - len(readable)
	if len(dead) != wanted {
		t.Errorf("%d dead letters, want %d", len(dead), wanted)
	}
	reasons := map[string]int{}
	for _, d := range dead {
		reasons[d.Reason]++
		if d.Reason == "" || d.Queue != queue || d.ID == "" {
			t.Errorf("dead letter without reason, queue or id: %+v", d)
		}
	}
	t.Logf("reasons: %v", reasons)
	// The exact bytes are kept, so that an operator can find their sender.
	kept := strings.Builder{}
	for _, key := range p.redis.strings("KEYS", "_goworker.*dead*") {
		kept.WriteString(p.redis.dump(key))
	}
	for raw, n := range want {
		if got := strings.Count(kept.String(), raw); raw != "" && got < n {
			t.Errorf("%d of %d copies kept of %q", got, n, clip(raw, 80))
		}
	}

	if service.ended() {
		t.Fatal("the service has ended")
	}
	// Still at work, and healthy by its own word.
	after := flood(t, celeryNew, p.redis, queue, good, prefix+"health_check", []any{}, nil)
	awaitResults(p.redis, after, 30*time.Second)
	p.redis.settled(queue)
	for _, marker := range []string{"no text at all", "not base64"} {
		if strings.Contains(service.out.String(), marker) {
			t.Errorf("the log holds the content of a message: %q", marker)
		}
	}
	t.Logf("%d crafted messages, %d set aside, %d good ones done", len(all), len(dead), len(goodIDs)+len(after))
}
