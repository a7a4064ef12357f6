package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/model"
	"github.com/evently/workers/worker/redis/redistest"
)

// The model says what the scripts do. Here they do it: paths of the model that take
// every kind of step, and every kind after every other, are walked on a real server,
// and after each step the keys are what the model says.
func TestModelIsTrue(t *testing.T) {
	const enough = 30_000 // states; most of what comes later has been seen before
	for _, w := range model.Worlds() {
		if w.Ours == 0 {
			continue // nothing of ours would be tried
		}
		t.Run(w.Name, func(t *testing.T) {
			t.Parallel()
			g := model.ExploreUntil(w, func(g *model.Graph) bool { return g.States() > enough })
			s := redistest.Start(t, "--appendonly", "no")
			c := s.Conn(0)
			traces := g.Cover()
			steps := 0
			for i, trace := range traces {
				r := &replay{t: t, c: c, url: s.URL(0), trace: trace, carry: i%2 == 1, seen: i/2%2 == 1}
				r.run()
				steps += len(trace.Moves)
				if t.Failed() {
					t.Fatalf("path %d of %d:\n%s", i+1, len(traces), trace)
				}
			}
			t.Logf("%d kinds of steps, %d paths, %d steps", len(g.Kinds()), len(traces), steps)
		})
	}
}

// Half a timeout, and what a little more than that is: time passes by moving the
// scores, as the servers' clock can't be set.
const (
	replayTimeout = 1000 * time.Second
	replayTick    = 501.0 // seconds
)

// replay walks one path.
type replay struct {
	t     *testing.T
	c     redigo.Conn
	url   string
	trace model.Trace
	carry bool // end deliveries by carry.lua instead of finish.lua and settle.lua
	seen  bool // messages are claimed after a look at them

	at      int // step
	before  model.State
	after   model.State
	found   reads // in Redis after the step
	players [3]player
	owners  [6]*Broker // by the number in the model
	brokers []*Broker  // of processes that have ended too
}

// player is one process.
type player struct {
	b      *Broker
	tasks  map[int]broker.Delivery // by message
	claims []string                // of the owner that is given up
	page   []expired
	fields map[int]string // of Python's scan, by message
	popped []byte         // by Python
	lost   []string       // claims that Session.Lost was called for
}

func (r *replay) run() {
	r.do("FLUSHALL")
	for m := range r.trace.World.Messages {
		raw, err := protocol.Encode(&protocol.Message{ID: taskID(m), Task: "t", Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"),
			DeliveryTag: tag(m), RoutingKey: "q"})
		if err != nil {
			r.t.Fatal(err)
		}
		r.do("LPUSH", "q", raw)
	}
	r.after = r.trace.Start
	for p := range r.after.Procs {
		r.launch(p)
	}
	defer func() {
		for _, b := range r.brokers {
			b.Close()
		}
	}()
	for i, mv := range r.trace.Moves {
		r.at, r.before, r.after = i, r.after, mv.Next
		r.step(mv.Step)
		r.compare()
		if r.t.Failed() {
			return
		}
	}
}

func taskID(m int) string { return fmt.Sprintf("task-%d", m+1) }

func tag(m int) string { return fmt.Sprintf("tag-%d", m+1) }

// launch starts the process p as the model has it.
func (r *replay) launch(p int) {
	pr := &r.after.Procs[p]
	pl := &r.players[p]
	*pl = player{tasks: map[int]broker.Delivery{}}
	if pr.Python || pr.Life == model.Down {
		return
	}
	b, err := New(Config{URL: r.url, OwnerTimeout: replayTimeout, VisibilityTimeout: replayTimeout,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	err = b.Consume(broker.Session{Node: "w@test", Queues: []string{"q"}, Lost: func(claim string) { pl.lost = append(pl.lost, claim) }})
	if err != nil {
		r.t.Fatal(err)
	}
	pl.b, r.owners[pr.Owner] = b, b
	r.brokers = append(r.brokers, b)
}

func (r *replay) errorf(format string, args ...any) {
	r.t.Helper()
	r.t.Errorf("step %d, %s: %s", r.at+1, r.trace.Moves[r.at].Step, fmt.Sprintf(format, args...))
}

func (r *replay) do(cmd string, args ...any) any {
	r.t.Helper()
	reply, err := r.c.Do(cmd, args...)
	if err != nil && !errors.Is(err, redigo.ErrNil) {
		r.t.Fatalf("%s: %v", cmd, err)
	}
	return reply
}

// step carries out what a step does to Redis, by the code of the product where it
// is ours.
func (r *replay) step(st model.Step) {
	ctx := context.Background()
	lost := strings.HasSuffix(st.Variant, "answer lost")
	if st.Name == model.StepTick {
		r.tick(ctx)
		return
	}
	if st.Proc < 0 { // a claim that arrives late
		r.claimUnseen(ctx, r.owners[st.Owner])
		return
	}
	if r.before.Procs[st.Proc].Python {
		r.python(st, lost)
		return
	}
	pl := &r.players[st.Proc]
	var err error
	switch st.Name {
	case model.StepRestart:
		r.launch(st.Proc)
	case model.StepEnrol:
		err = pl.b.claimer.enrol(ctx, pl.b.consumer.epoch.Load()+1)
		if r.before.Owners[st.Owner].Flight {
			r.mustBeStale(ctx, pl.b)
		}
	case model.StepHeartbeat:
		err = pl.b.leases.beat(ctx)
	case model.StepOrphan:
		var n int
		if n, err = pl.b.claimer.returnOrphan(ctx, r.held(st.Msg)); n != 1 {
			r.errorf("%d given back", n)
		}
	case model.StepClaim:
		r.claim(ctx, st, pl, lost)
	case model.StepStart:
		r.start(ctx, st, pl)
	case model.StepHeld:
		var ok bool
		d := pl.tasks[st.Msg]
		if ok, err = pl.b.Held(ctx, d.Claim); ok != (st.Variant == "") {
			r.errorf("Held says %v", ok)
		}
		if !ok {
			err = errors.Join(err, pl.b.Return(ctx, []broker.Delivery{d})) // as execute.go does
		}
	case model.StepHeed, model.StepGiveBack:
		err = pl.b.Return(ctx, []broker.Delivery{pl.tasks[st.Msg]})
		if lost {
			pl.b.leases.held.claims[pl.tasks[st.Msg].Claim] = struct{}{}
		}
	case model.StepSettle:
		r.settle(ctx, st, pl)
	case model.StepRenew:
		r.renew(ctx, st.Proc, lost)
	case model.StepLeave:
		r.leave(pl.b)
	default:
		r.recover(ctx, st, pl)
	}
	if err != nil {
		r.errorf("%v", err)
	}
	if now := r.after.Procs[st.Proc]; r.before.Procs[st.Proc].Enrol != 0 && now.Enrol == 0 && now.Registered && !now.Suspect {
		pl.b.claimer.registeredAs(pl.b.consumer.epoch.Load() + 1)
	}
}

// leave signs off as Run does at its end.
func (r *replay) leave(b *Broker) {
	if !b.claimer.inDoubt() {
		b.leases.leave()
	}
}

// recover are the steps that give back what others held.
func (r *replay) recover(ctx context.Context, st model.Step, pl *player) {
	var err error
	n, want := 0, 0
	rec := r.before.Procs[st.Proc].Recovery
	switch st.Name {
	case model.StepProvenDead:
		r.do("ZADD", "_goworker.1.owners", "XX", 0, r.owners[st.Owner].consumer.id)
	case model.StepFence:
		var fenced bool
		if fenced, err = pl.b.recovery.fence(ctx, r.owners[st.Owner].consumer.id); !fenced {
			r.errorf("not fenced")
		}
		if r.before.Owners[st.Owner].Flight {
			r.mustBeStale(ctx, r.owners[st.Owner])
		}
	case model.StepClaimsOf:
		pl.claims, err = pl.b.recovery.claimsOf(ctx, r.owners[st.Owner].consumer.id)
		n, want = len(pl.claims), ones(r.after.Procs[st.Proc].Recovery.Listed)
		if st.Variant != "" { // of its own, at the end of a registration
			n, want = 0, 0
		}
	case model.StepRestore:
		es, owner := pl.page, ""
		want = ones(r.before.Procs[st.Proc].Scan.Page)
		if st.Owner > 0 {
			es, owner, want = nil, r.owners[st.Owner].consumer.id, ones(rec.Live)
			for _, claim := range pl.claims {
				es = append(es, expired{claim: claim})
			}
		}
		if st.Variant == "alive again" {
			want = 0
		}
		n, err = pl.b.recovery.restore(ctx, owner, es)
	case model.StepDismiss:
		err = pl.b.recovery.dismiss(ctx, r.owners[st.Owner].consumer.id, false)
	case model.StepExpired:
		r.do("SET", "unacked_mutex", st.Proc, "NX", "PX", 300_000)
		pl.page, err = pl.b.recovery.expiredPage(ctx)
		n, want = len(pl.page), ones(r.after.Procs[st.Proc].Scan.Page)
	case model.StepUnlock:
		_, err = pl.b.server.script(ctx, pl.b.server.scripts.Unlock, 1, "unacked_mutex", st.Proc)
	}
	if err != nil || n != want {
		r.errorf("%d messages, want %d (%v)", n, want, err)
	}
}

func ones(set uint8) (n int) {
	for ; set != 0; set >>= 1 {
		n += int(set & 1)
	}
	return n
}

// tick moves all scores into the past. Who is well beats and renews meanwhile.
func (r *replay) tick(ctx context.Context) {
	for _, key := range []string{"unacked_index", "_goworker.1.owners"} {
		scores, err := redigo.StringMap(r.do("ZRANGE", key, 0, -1, "WITHSCORES"), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for member, score := range scores {
			later, err := redigo.String(r.do("ZINCRBY", key, -replayTick, member), nil)
			if err != nil {
				r.t.Fatal(err)
			}
			r.shift(expired{member, score}, later)
		}
	}
	r.do("DEL", "unacked_mutex")
	// The claim that is younger in the model is renewed last.
	for _, younger := range []bool{false, true} {
		for p := range r.before.Procs {
			if pr := &r.before.Procs[p]; pr.Life != model.Up || pr.Python || r.holdsYounger(pr) != younger {
				continue
			}
			if err := r.players[p].b.leases.beat(ctx); err != nil {
				r.errorf("%v", err)
			}
			r.renew(ctx, p, false)
		}
	}
}

// shift changes what was read of a score along with it.
func (r *replay) shift(read expired, score string) {
	for i := range r.players {
		for j, e := range r.players[i].page {
			if e == read {
				r.players[i].page[j].score = score
			}
		}
	}
}

func (r *replay) holdsYounger(p *model.Proc) bool {
	return slices.ContainsFunc(p.Tasks[:], func(t model.Task) bool { return t.Live && t.Msg+1 == r.after.Scored })
}
