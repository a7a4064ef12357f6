package redis

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/redistest"
)

// Messages that another worker has taken are not searched in the whole list, which would
// block Redis once for each. The other ones are claimed, also where LPOS is not permitted.
func TestPickOfTakenMessages(t *testing.T) {
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	const length, size = 20_000, 60
	var messages []wanted
	for i := range size {
		messages = append(messages, wanted{raw: fmt.Appendf(nil, `{"message": %d}`, i), place: i})
	}
	for _, right := range []string{"+lpos", "-lpos"} {
		if _, err := c.Do("ACL", "SETUSER", "default", right); err != nil {
			t.Fatal(err)
		}
		c.Do("DEL", "q")
		for i := range length {
			c.Send("LPUSH", "q", fmt.Sprintf(`{"held": %d}`, i))
		}
		for _, kept := range []int{1, 0} {
			c.Send("RPUSH", "q", messages[kept].raw)
		}
		if _, err := c.Do(""); err != nil {
			t.Fatal(err)
		}
		b, err := New(Config{URL: s.URL(0), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		if err := b.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}}); err != nil {
			t.Fatal(err)
		}
		if err := b.claimer.register(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Do("CONFIG", "RESETSTAT")
		ds, err := b.claimer.pickNow(t.Context(), b.claimer.lists[0], messages, length)
		if err != nil {
			t.Fatalf("%s: %v", right, err)
		}
		var got []string
		for _, d := range ds {
			got = append(got, string(d.Raw))
		}
		if want := []string{string(messages[0].raw), string(messages[1].raw)}; !slices.Equal(got, want) {
			t.Errorf("%s: claimed %q, want %q", right, got, want)
		}
		stats, err := redigo.String(c.Do("INFO", "commandstats"))
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		for line := range strings.Lines(stats) {
			_, _ = fmt.Sscanf(line, "cmdstat_lrem:calls=%d,", &calls)
		}
		if most := 3; calls < 2 || calls > most {
			t.Errorf("%s: %d searches in the whole list, want %d at most", right, calls, most)
		}
	}
}
