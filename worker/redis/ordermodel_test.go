package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// model is the choice between queues in its simplest form: one message at a time.
type model struct {
	cfg    redis.Config
	line   []string            // the queues, the next one first
	credit map[string]int      // of weighted queues
	lists  map[string][]string // messages by queue and step
}

func newModel(cfg redis.Config, queues []string) *model {
	m := &model{cfg: cfg, line: slices.Clone(queues), credit: map[string]int{}, lists: map[string][]string{}}
	if cfg.QueueOrder == redis.SortedQueues {
		slices.Sort(m.line)
	}
	return m
}

var modelSteps = []int{0, 3, 6, 9}

func listOf(queue string, step int) string {
	if step == 0 {
		return queue
	}
	return fmt.Sprintf("%s\x06\x16%d", queue, step)
}

// next takes the next message, "" when there is none.
func (m *model) next() string {
	if m.cfg.QueueWeights != nil {
		return m.weighted()
	}
	for _, step := range modelSteps {
		for i, q := range m.line {
			if raw := m.pop(listOf(q, step)); raw != "" {
				if m.cfg.QueueOrder == redis.RoundRobin {
					m.line = append(slices.Delete(m.line, i, i+1), q)
				}
				return raw
			}
		}
	}
	return ""
}

func (m *model) weighted() string {
	total, best := 0, ""
	weight := func(q string) int { return max(1, m.cfg.QueueWeights[q]) }
	for _, q := range m.line {
		if !slices.ContainsFunc(modelSteps, func(step int) bool { return len(m.lists[listOf(q, step)]) > 0 }) {
			continue
		}
		total += weight(q)
		m.credit[q] += weight(q)
		if best == "" || m.credit[q] > m.credit[best] {
			best = q
		}
	}
	for _, step := range modelSteps {
		if raw := m.pop(listOf(best, step)); raw != "" {
			m.credit[best] -= total
			return raw
		}
	}
	return ""
}

func (m *model) pop(list string) string {
	l := m.lists[list]
	if len(l) == 0 {
		return ""
	}
	m.lists[list] = l[1:]
	return l[0]
}

// With any content of the queues, garbage and unsure messages included, and with any size of
// a claim, messages come in the order of the model, and none is lost.
func TestClaimsFollowTheModel(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--appendonly", "no")
	c := s.Conn(0)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	names := []string{"m", "z", "a", "k"}
	for round := range 120 {
		do(t, c, "FLUSHDB")
		cfg := []redis.Config{
			{QueueOrder: redis.RoundRobin}, {QueueOrder: redis.SortedQueues}, {QueueOrder: redis.DeclaredOrder},
			{QueueWeights: map[string]int{"m": 1 + rnd.IntN(5), "a": 1 + rnd.IntN(9)}},
		}[round%4]
		m := newModel(cfg, names)
		cfg.URL = s.URL(0)
		b := queues(t, cfg, names...)
		odd := rnd.IntN(2) == 0
		good, bad := 0, 0
		push := func() {
			q, step := names[rnd.IntN(len(names))], modelSteps[rnd.IntN(len(modelSteps))]
			list := listOf(q, step)
			for range 1 + rnd.IntN(6) {
				raw := fmt.Sprintf("garbage %d %d", round, bad)
				if kind := rnd.IntN(8); kind > 0 || !odd {
					good++
					text, err := protocol.Encode(&protocol.Message{ID: fmt.Sprint(good), Task: "t", DeliveryTag: fmt.Sprint(good), RoutingKey: q, Priority: step, Origin: "ü"})
					if err != nil {
						t.Fatal(err)
					}
					if raw = string(text); kind == 1 && odd {
						raw = strings.ReplaceAll(raw, `\u00fc`, "ü") // the script is not sure about it
					}
				} else {
					bad++
				}
				do(t, c, "LPUSH", list, raw)
				m.lists[list] = append(m.lists[list], raw)
			}
		}
		for range 12 {
			push()
		}
		claimed, buried := 0, 0
		for idle := 0; idle < 2; {
			if rnd.IntN(3) == 0 && claimed < 200 {
				push()
			}
			ds, err := b.Claim(context.Background(), 1+rnd.IntN(20))
			if err != nil {
				t.Fatal(err)
			}
			if len(ds) == 0 && empty(t, c, names) {
				idle++
			}
			for _, d := range ds {
				want := m.next()
				for strings.HasPrefix(want, "garbage") {
					buried++
					want = m.next()
				}
				if string(d.Raw) != want {
					t.Fatalf("round %d, %v: message %d is of %q:\n got %s\nwant %s", round, m.cfg, claimed, d.Queue, d.Raw, want)
				}
				claimed++
			}
			for buried < count(t, c, "HLEN", "_goworker.1.dead") { // at the end of the batch
				if want := m.next(); !strings.HasPrefix(want, "garbage") {
					t.Fatalf("round %d, %v: garbage was set aside before its turn, that of %s", round, m.cfg, want)
				}
				buried++
			}
		}
		if n := count(t, c, "HLEN", "_goworker.1.dead"); claimed != good || n != bad {
			t.Fatalf("round %d: claimed %d of %d, set aside %d of %d", round, claimed, good, n, bad)
		}
	}
}

func empty(t *testing.T, c redigo.Conn, names []string) bool {
	t.Helper()
	for _, q := range names {
		for _, step := range modelSteps {
			if count(t, c, "LLEN", listOf(q, step)) > 0 {
				return false
			}
		}
	}
	return true
}
