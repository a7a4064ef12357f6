package redis

import (
	"errors"
	"fmt"
	"slices"

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
func (r *replay) unacked() map[string]message {
	entries, err := redigo.StringMap(r.do("HGETALL", "unacked"), nil)
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

// compare holds the keys against the state that the model has reached.
func (r *replay) compare() {
	r.compareQueue()
	r.compareUnacked()
	r.compareOwners()
	dead := 0
	for i := range r.trace.World.Messages {
		m := &r.after.Msgs[i]
		dead += ones(map[bool]uint8{true: 1}[m.Dead])
		r.compareResult(i, m)
	}
	if n, err := redigo.Int(r.do("HLEN", "_goworker.1.dead"), nil); n != dead || err != nil {
		r.errorf("%d dead letters, want %d (%v)", n, dead, err)
	}
	if n, err := redigo.Int(r.do("EXISTS", "unacked_mutex"), nil); n == 1 != (r.after.Mutex != 0) || err != nil {
		r.errorf("mutex: %d, want %d (%v)", n, r.after.Mutex, err)
	}
}

func (r *replay) compareQueue() {
	raws, err := redigo.ByteSlices(r.do("LRANGE", "q", 0, -1), nil)
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
	found := r.unacked()
	want := 0
	for i := range r.trace.World.Messages {
		if r.after.Msgs[i].Place == model.Unacked {
			want++
		}
	}
	n, err := redigo.Int(r.do("ZCARD", "unacked_index"), nil)
	if len(found) != want || n != want || err != nil {
		r.errorf("%d unacknowledged, %d in the index, want %d (%v)", len(found), n, want, err)
		return
	}
	for field, got := range found {
		m := &r.after.Msgs[got.msg]
		owner, ours := ownerOf(field)
		switch {
		case m.Place != model.Unacked || m.Redelivered != got.redelivered || ours == m.Python:
			r.errorf("%s is unacknowledged under %s, want %+v", got.id, field, *m)
		case ours && owner != r.owners[m.Owner].owner, m.Python && field != tag(got.msg):
			r.errorf("%s is held by %s, want owner %d", got.id, field, m.Owner)
		}
		if age := r.age("unacked_index", field); age != m.Age {
			r.errorf("lease of %s: %d ticks old, want %d", got.id, age, m.Age)
		}
		r.compareCrashes(got.id, field, m)
	}
}

func (r *replay) compareCrashes(id, field string, m *model.Msg) {
	n, err := redigo.Int(r.do("HGET", "_goworker.1.crashes."+id, "n"), nil)
	claim, claimErr := redigo.String(r.do("HGET", "_goworker.1.crashes."+id, "claim"), nil)
	none := errors.Is(err, redigo.ErrNil)
	if none != (m.Crashes == 0) || !none && n != int(m.Crashes)-2 || (claimErr == nil && claim == field) != m.Counted {
		r.errorf("runs of %s that did not end: %d, counted %q, want %d, %v (%v)", id, n, claim, int(m.Crashes)-2, m.Counted, err)
	}
}

// age is how many ticks a score is old.
func (r *replay) age(key, member string) uint8 {
	score, err := redigo.Float64(r.do("ZSCORE", key, member), nil)
	if err != nil {
		r.errorf("score of %s: %v", member, err)
	}
	return uint8(min((r.now()-score+replayTick/4)/replayTick, 2))
}

func (r *replay) compareOwners() {
	listed, err := redigo.Strings(r.do("ZRANGE", "_goworker.1.owners", 0, -1), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for o := range r.after.Owners {
		own := &r.after.Owners[o]
		if !own.Used {
			continue
		}
		b := r.owners[o]
		i := slices.Index(listed, b.owner)
		if i >= 0 != own.Listed {
			r.errorf("owner %d: listed %v, want %v", o, i >= 0, own.Listed)
		}
		if i >= 0 {
			listed = slices.Delete(listed, i, i+1)
			if age := r.age("_goworker.1.owners", b.owner); age != own.Age {
				r.errorf("heartbeat of owner %d: %d ticks old, want %d", o, age, own.Age)
			}
		}
		epoch, err := redigo.Int64(r.do("HGET", "_goworker.1.owner."+b.owner, "epoch"), nil)
		switch known := !errors.Is(err, redigo.ErrNil); {
		case known != (own.Key != 0):
			r.errorf("owner %d: known %v, want %v", o, known, own.Key)
		case own.Key == 1 && epoch != b.epoch.Load(), own.Key > 1 && epoch <= b.epoch.Load():
			r.errorf("owner %d: epoch %d, its own %d, want %d", o, epoch, b.epoch.Load(), own.Key)
		}
	}
	if len(listed) > 0 {
		r.errorf("owners too many: %v", listed)
	}
}

func (r *replay) compareResult(i int, m *model.Msg) {
	want := map[model.Outcome]string{model.Success: protocol.StateSuccess, model.Failure: protocol.StateFailure}[m.Result]
	value, err := redigo.Bytes(r.do("GET", "celery-task-meta-"+taskID(i)), nil)
	if errors.Is(err, redigo.ErrNil) && want == "" {
		return
	}
	res, decodeErr := protocol.DecodeResult(value)
	if err != nil || decodeErr != nil || res.Status != want {
		r.errorf("result %s, want %q (%v, %v)", value, want, err, decodeErr)
	}
}
