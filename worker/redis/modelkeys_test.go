package redis

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/model"
)

// message is one that was found in Redis.
type message struct {
	msg         int
	id          string
	redelivered bool
}

func (r *replay) message(raw []byte) message {
	env, err := protocol.ParseEnvelope(raw)
	if err != nil {
		r.errorf("%v", err)
	}
	m := message{id: env.ID, redelivered: env.Redelivered}
	_, _ = fmt.Sscanf(env.ID, "task-%d", &m.msg)
	m.msg--
	return m
}

// unacked returns the messages that are unacknowledged, by claim or tag.
func (r *replay) unacked() map[string]message { return r.entries(r.do("HGETALL", "unacked")) }

func (r *replay) entries(reply any) map[string]message {
	entries, err := redigo.StringMap(reply, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	found := map[string]message{}
	for field, entry := range entries {
		e, err := protocol.ParseEntry([]byte(entry))
		if err != nil || e.Exchange != "" || e.RoutingKey != "q" {
			r.errorf("entry %q (%v)", entry, err)
		}
		found[field] = r.message(e.Raw)
	}
	return found
}

// reads are the commands of compare, and then their answers: all at once, as there
// are many steps.
type reads map[string]any

func (r *replay) read() {
	commands := [][]any{
		{"TIME"}, {"LRANGE", "q", 0, -1}, {"HGETALL", "unacked"}, {"ZRANGE", "unacked_index", 0, -1, "WITHSCORES"},
		{"ZRANGE", "_goworker.1.owners", 0, -1, "WITHSCORES"}, {"HLEN", "_goworker.1.dead"}, {"EXISTS", "unacked_mutex"},
	}
	for o := range r.after.Owners {
		if r.after.Owners[o].Used {
			commands = append(commands, []any{"HGET", "_goworker.1.owner." + r.owners[o].consumer.id, "epoch"})
		}
	}
	for m := range r.trace.World.Messages {
		commands = append(commands, []any{"GET", "celery-task-meta-" + taskID(m)}, []any{"HGETALL", "_goworker.1.crashes." + taskID(m) + ":" + tag(m)})
	}
	for _, c := range commands {
		if err := r.c.Send(c[0].(string), c[1:]...); err != nil {
			r.t.Fatal(err)
		}
	}
	answers, err := redigo.Values(r.c.Do(""))
	if err != nil || len(answers) != len(commands) {
		r.t.Fatalf("%d answers (%v)", len(answers), err)
	}
	r.found = reads{}
	for i, c := range commands {
		key := c[0].(string)
		if len(c) > 1 {
			key = c[1].(string)
		}
		r.found[key] = answers[i]
	}
}

// compare holds the keys against the state that the model has reached.
func (r *replay) compare() {
	r.read()
	r.compareQueue()
	r.compareUnacked()
	r.compareOwners()
	dead := 0
	for i := range r.trace.World.Messages {
		m := &r.after.Msgs[i]
		dead += ones(map[bool]uint8{true: 1}[m.Dead])
		r.compareResult(i, m)
	}
	if n, err := redigo.Int(r.found["_goworker.1.dead"], nil); n != dead || err != nil {
		r.errorf("%d dead letters, want %d (%v)", n, dead, err)
	}
	if n, err := redigo.Int(r.found["unacked_mutex"], nil); n == 1 != (r.after.Mutex != 0) || err != nil {
		r.errorf("mutex: %d, want %d (%v)", n, r.after.Mutex, err)
	}
}

func (r *replay) compareQueue() {
	raws, err := redigo.ByteSlices(r.found["q"], nil)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(raws)
	var got, want []message
	for _, raw := range raws {
		got = append(got, r.message(raw))
	}
	for _, m := range r.after.Queue {
		if m != 0 {
			want = append(want, message{int(m) - 1, taskID(int(m) - 1), r.after.Msgs[m-1].Redelivered})
		}
	}
	if !slices.Equal(got, want) {
		r.errorf("queue is %v, want %v", got, want)
	}
}

func (r *replay) compareUnacked() {
	found := r.entries(r.found["unacked"])
	scores := r.scores("unacked_index")
	want := 0
	for i := range r.trace.World.Messages {
		if r.after.Msgs[i].Place == model.Unacked {
			want++
		}
	}
	if len(found) != want || len(scores) != want {
		r.errorf("%d unacknowledged, %d in the index, want %d", len(found), len(scores), want)
		return
	}
	for field, got := range found {
		m := &r.after.Msgs[got.msg]
		owner, ours := ownerOf(field)
		switch {
		case m.Place != model.Unacked || m.Redelivered != got.redelivered || ours == m.Python:
			r.errorf("%s is unacknowledged under %s, want %+v", got.id, field, *m)
		case ours && owner != r.owners[m.Owner].consumer.id, m.Python && field != tag(got.msg):
			r.errorf("%s is held by %s, want owner %d", got.id, field, m.Owner)
		}
		if age := r.age(scores[field]); age != m.Age {
			r.errorf("lease of %s: %d ticks old, want %d", got.id, age, m.Age)
		}
		r.compareCrashes(got.id+":"+tag(got.msg), field, m)
	}
}

func (r *replay) compareCrashes(message, field string, m *model.Msg) {
	count, err := redigo.StringMap(r.found["_goworker.1.crashes."+message], nil)
	want := ""
	if m.Crashes > 0 {
		want = strconv.Itoa(int(m.Crashes) - 2)
	}
	if err != nil || count["n"] != want || (count["claim"] == field) != m.Counted {
		r.errorf("runs of %s that did not end: %v, want %q, counted %v (%v)", message, count, want, m.Counted, err)
	}
}

// age is how many ticks a score is old.
func (r *replay) age(score float64) uint8 {
	return uint8(min((r.seconds(r.found["TIME"])-score+replayTick/4)/replayTick, 2))
}

func (r *replay) scores(key string) map[string]float64 {
	scores, err := redigo.Float64Map(r.found[key], nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return scores
}

func (r *replay) compareOwners() {
	listed := r.scores("_goworker.1.owners")
	for o := range r.after.Owners {
		own := &r.after.Owners[o]
		if !own.Used {
			continue
		}
		b := r.owners[o]
		score, ok := listed[b.consumer.id]
		delete(listed, b.consumer.id)
		if ok != own.Listed {
			r.errorf("owner %d: listed %v, want %v", o, ok, own.Listed)
		}
		if age := r.age(score); ok && age != own.Age {
			r.errorf("heartbeat of owner %d: %d ticks old, want %d", o, age, own.Age)
		}
		epoch, err := redigo.Int64(r.found["_goworker.1.owner."+b.consumer.id], nil)
		switch known := !errors.Is(err, redigo.ErrNil); {
		case known != (own.Key != 0):
			r.errorf("owner %d: known %v, want %v", o, known, own.Key)
		case own.Key == 1 && epoch != b.consumer.epoch.Load(), own.Key > 1 && epoch <= b.consumer.epoch.Load():
			r.errorf("owner %d: epoch %d, its own %d, want %d", o, epoch, b.consumer.epoch.Load(), own.Key)
		}
	}
	if len(listed) > 0 {
		r.errorf("owners too many: %v", listed)
	}
}

func (r *replay) compareResult(i int, m *model.Msg) {
	want := map[model.Outcome]string{model.Success: protocol.StateSuccess, model.Failure: protocol.StateFailure}[m.Result]
	value, err := redigo.Bytes(r.found["celery-task-meta-"+taskID(i)], nil)
	if errors.Is(err, redigo.ErrNil) && want == "" {
		return
	}
	res, decodeErr := protocol.DecodeResult(value)
	if err != nil || decodeErr != nil || res.Status != want {
		r.errorf("result %s, want %q (%v, %v)", value, want, err, decodeErr)
	}
}
