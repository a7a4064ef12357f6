package redis

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/model"
)

func (r *replay) claim(ctx context.Context, st model.Step, pl *player, lost bool) {
	switch {
	case lost:
		r.claimUnseen(ctx, pl.b)
		pl.b.claimer.suspect = true
	case st.Variant == "on its way":
		pl.b.claimer.suspect = true
	case st.Variant == "refused as stale":
		r.mustBeStale(ctx, pl.b)
		pl.b.claimer.registered = false
	default:
		ds, err := r.claimOne(ctx, pl.b)
		if err != nil || len(ds) != 1 {
			r.errorf("%d messages (%v)", len(ds), err)
			return
		}
		pl.tasks[st.Msg] = ds[0]
	}
}

// claimOne claims by the script that the trace is for: claimseen.lua, as far as it takes
// such a message, or claim.lua.
func (r *replay) claimOne(ctx context.Context, b *Broker) ([]broker.Delivery, error) {
	if r.seen {
		b.claimer.ahead = ahead{size: 1, alone: true}
		if ds, _, err := b.claimer.claimAhead(ctx, 1); err != nil || len(ds) > 0 {
			return ds, err
		}
	}
	c, err := b.claimer.claimUnread(ctx, 1, nil)
	return c.deliveries, err
}

// claimUnseen makes a claim whose reply gets lost.
func (r *replay) claimUnseen(ctx context.Context, b *Broker) {
	registered, suspect := b.claimer.registered, b.claimer.suspect
	ds, err := r.claimOne(ctx, b)
	if err != nil || len(ds) != 1 {
		r.errorf("%d messages (%v)", len(ds), err)
		return
	}
	delete(b.leases.held.claims, ds[0].Claim)
	b.claimer.registered, b.claimer.suspect = registered, suspect
}

// mustBeStale tries a claim of an epoch that is over.
func (r *replay) mustBeStale(ctx context.Context, b *Broker) {
	registered, suspect := b.claimer.registered, b.claimer.suspect
	if _, err := r.claimOne(ctx, b); !conn.HasCode(err, "STALECLAIM") {
		r.errorf("a stale claim ends with %v", err)
	}
	b.claimer.registered, b.claimer.suspect = registered, suspect
}

func (r *replay) start(ctx context.Context, st model.Step, pl *player) {
	started, err := pl.b.Start(ctx, pl.tasks[st.Msg], broker.Start{})
	if st.Variant == "not held" {
		if err != broker.ErrLost {
			r.errorf("got %v, want ErrLost", err)
		}
		return
	}
	if want := int(r.after.Msgs[st.Msg].Crashes) - 2; err != nil || started.Crashed != want {
		r.errorf("%d runs did not end, want %d (%v)", started.Crashed, want, err)
	}
}

func (r *replay) settle(ctx context.Context, st model.Step, pl *player) {
	s := broker.Settlement{Delivery: pl.tasks[st.Msg]}
	s.Result = &protocol.Result{Status: protocol.StateFailure, TaskID: taskID(st.Msg), Exception: &protocol.Exception{Type: "E", Module: "m"}}
	switch {
	case strings.HasPrefix(st.Variant, "SUCCESS"):
		s.Result = &protocol.Result{Status: protocol.StateSuccess, TaskID: taskID(st.Msg), Result: protocol.Raw("1")}
	case strings.HasPrefix(st.Variant, "dead letter"):
		s.DeadLetter = "poison"
	}
	if r.carry {
		s.Changes.Results = []*protocol.Result{{Status: protocol.StateSuccess, TaskID: "another", Result: protocol.Raw("1")}}
	}
	live := false
	for _, t := range r.before.Procs[st.Proc].Tasks {
		live = live || t.Stage != model.Free && int(t.Msg) == st.Msg && t.Live
	}
	if _, err := pl.b.Settle(ctx, s); live && err != nil || !live && err != broker.ErrLost {
		r.errorf("live %v: %v", live, err)
	}
}

// renew renews, and looks at who is told of a loss.
func (r *replay) renew(ctx context.Context, p int, lost bool) {
	pl := &r.players[p]
	out := maps.Clone(pl.b.leases.held.claims)
	pl.lost = nil
	if err := pl.b.leases.renew(ctx); err != nil {
		r.errorf("%v", err)
	}
	if lost {
		pl.b.leases.held.claims = out
		return
	}
	for _, t := range r.before.Procs[p].Tasks {
		told := slices.Contains(pl.lost, pl.tasks[int(t.Msg)].Claim)
		switch t.Stage {
		case model.Claimed, model.Running, model.Sure, model.Worked:
			if told != (!t.Live && !t.Told) {
				r.errorf("message %d: told of its loss %v, held %v", t.Msg+1, told, t.Live)
			}
		}
	}
}

// held returns the claim that message m is unacknowledged under.
func (r *replay) held(m int) string {
	for field, entry := range r.unacked() {
		if entry.id == taskID(m) {
			return field
		}
	}
	r.errorf("message %d is not held", m+1)
	return ""
}

// python carries out what kombu does.
func (r *replay) python(st model.Step, lost bool) {
	pl := &r.players[st.Proc]
	switch st.Name {
	case model.StepRestart:
		r.launch(st.Proc)
	case model.StepBRPOP:
		raw, err := redigo.Bytes(r.do("RPOP", "q"), nil)
		if err != nil {
			r.errorf("%v", err)
		}
		if !lost {
			pl.popped = raw
		}
	case model.StepRegister:
		entry := protocol.EncodeEntry(protocol.Entry{Raw: pl.popped, RoutingKey: "q"})
		r.multi([]any{"ZADD", "unacked_index", r.now(), tag(st.Msg)}, []any{"HSET", "unacked", tag(st.Msg), entry})
	case model.StepStore:
		r.do("SETEX", "celery-task-meta-"+taskID(st.Msg), 3600, `{"status": "`+st.Variant+`", "result": null}`)
	case model.StepAck:
		r.multi([]any{"ZREM", "unacked_index", tag(st.Msg)}, []any{"HDEL", "unacked", tag(st.Msg)})
	case model.StepExpired:
		r.do("SET", "unacked_mutex", st.Proc, "NX", "PX", 300_000)
		fields, err := redigo.Strings(r.do("ZREVRANGEBYSCORE", "unacked_index", r.now()-replayTimeout.Seconds(), 0), nil)
		scan := r.after.Procs[st.Proc].Scan
		if err != nil || len(fields) != ones(scan.Page|scan.Tags) {
			r.errorf("%d have expired (%v)", len(fields), err)
		}
		pl.fields = map[int]string{}
		for field, entry := range r.unacked() {
			if slices.Contains(fields, field) {
				pl.fields[entry.msg] = field
			}
		}
	case model.StepByTag:
		field := tag(st.Msg)
		if st.Variant == "" {
			field = pl.fields[st.Msg]
		}
		r.byTag(field)
	case model.StepUnlock:
		if holder, _ := redigo.Int(r.do("GET", "unacked_mutex"), nil); holder == st.Proc {
			r.do("DEL", "unacked_mutex")
		}
	}
}

// byTag is restore_by_tag.
func (r *replay) byTag(field string) {
	entry, err := redigo.Bytes(r.do("HGET", "unacked", field), nil)
	remove := [][]any{{"ZREM", "unacked_index", field}, {"HDEL", "unacked", field}}
	if errors.Is(err, redigo.ErrNil) {
		r.multi(remove...)
		return
	}
	e, err := protocol.ParseEntry(entry)
	if err != nil {
		r.errorf("%v", err)
		return
	}
	raw, err := protocol.MarkRedelivered(e.Raw)
	if err != nil {
		r.errorf("%v", err)
	}
	r.multi(append(remove, []any{"RPUSH", e.RoutingKey, raw})...)
}

func (r *replay) multi(commands ...[]any) {
	r.do("MULTI")
	for _, c := range commands {
		r.do(c[0].(string), c[1:]...)
	}
	r.do("EXEC")
}

func (r *replay) now() float64 { return r.seconds(r.do("TIME")) }

// seconds are the answer of TIME.
func (r *replay) seconds(reply any) float64 {
	t, err := redigo.Int64s(reply, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return float64(t[0]) + float64(t[1])/1e6
}
