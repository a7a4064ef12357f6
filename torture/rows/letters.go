package rows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
)

// replayed is R29.
var replayed = harness.Row{
	ID: "R29",
	Goal: "dead letters are listed while more come, replayed each by 5 of 50 callers while Redis is killed, " +
		"dropped beyond their bound, and purged",
	Mark: "each is listed once; each replayed one is one message and one run beside other callers; the dropped are the oldest, and counted across restarts",
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		d := desk{Stage: s, a: openLetters(s), b: openLetters(s)}
		ids := d.fill(harness.Size(r, 300, 10_000))
		missed := d.list(ids)
		kills := d.replay(harness.Size(r, 1, 20))
		queued, extra := d.queued(ids)
		s.Want(queued == len(ids) && extra == 0, "%d messages, have %d and %d more copies", len(ids), queued, extra)

		worker := s.Start(harness.Options{Concurrency: 8})
		a := s.Await(ids, 2*time.Minute)
		s.Want(a.Done == a.Tasks && a.Failed == 0 && a.Doubled == 0, "every replayed task done once: %s", a)
		s.Settled(30 * time.Second)
		worker.Kill()

		bound, over := harness.Size(r, 20, 500), harness.Size(r, 60, 5000)
		counts, kept := d.overflow(bound, over)
		s.Want(counts.Open == bound && counts.Dropped == int64(over), "%d letters and %d dropped, have %+v", bound, over, counts)
		s.Want(kept == bound, "the %d newest kept, have %d of them", bound, kept)
		d.purge()
		s.Figure("%d letters, %d missed in a list; %d callers and %d kills of Redis: %d messages, %d second copies, %d run twice; bound %d: %d dropped, the newest %d kept",
			len(ids), missed, callers, kills, queued, extra, a.Doubled, bound, counts.Dropped, kept)
	},
}

// Callers of a replay. Each letter is replayed by callers/groups of them, some in a call.
const callers, groups, some = 50, 10, 50

// desk is a stage with two readers of dead letters.
type desk struct {
	*harness.Stage
	a, b *redis.Letters
}

func openLetters(s *harness.Stage) *redis.Letters {
	s.Helper()
	b, err := redis.New(redis.Config{URL: s.Redis.URL(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(func() { b.Close() })
	return b.Letters()
}

// small bounds messages, so that padded ones become dead letters.
const small, padding = 4000, 4000

// fill makes n dead letters, whose tasks can run once they are replayed, and lists them meanwhile.
func (d desk) fill(n int) []string {
	d.Helper()
	w := d.Start(harness.Options{Concurrency: 2, Flags: []string{"-max-bytes", strconv.Itoa(small)}})
	d.Ready()
	ids := d.Send(n, harness.Task{Padding: padding})
	testkit.Eventually(d, 2*time.Minute, "all are dead letters", func() bool {
		seen := map[string]bool{}
		err := d.a.Each(d.Context(), func(l broker.DeadLetter) error {
			if seen[l.ID] {
				d.Errorf("%s is listed twice", l.ID)
			}
			seen[l.ID] = true
			return nil
		})
		return err == nil && len(seen) == n
	})
	w.Kill()
	return ids
}

// list returns how many tasks are missing in a list while letters of others come and go.
func (d desk) list(ids []string) (missed int) {
	d.Helper()
	listed := map[string]int{}
	n := 0
	err := d.a.Each(d.Context(), func(l broker.DeadLetter) error {
		if n++; n%20 == 0 {
			d.strange(n)
		}
		listed[l.TaskID]++
		return nil
	})
	d.Want(err == nil, "a list: %v", err)
	for _, id := range ids {
		if listed[id] != 1 {
			missed++
		}
	}
	d.Want(missed == 0, "each letter listed once, %d are not", missed)
	return missed
}

// strange adds a letter and removes it.
func (d desk) strange(n int) {
	id, at := fmt.Sprintf("%012x", n), fmt.Sprintf("%.6f", float64(time.Now().UnixMicro())/1e6)
	d.Redis.Do("HSET", harness.DeadKey+".meta", id, `{"queue":"q","reason":"test","at":`+at+`}`)
	d.Redis.Do("HSET", harness.DeadKey, id, "no message")
	d.Redis.Do("ZADD", harness.DeadKey+".index", at, id)
	if err := d.b.Delete(d.Context(), id); err != nil {
		d.Errorf("delete a letter: %v", err)
	}
}

// replay puts all letters back, each by several callers, while Redis is killed.
func (d desk) replay(kills int) int {
	d.Helper()
	var open []string
	err := d.a.Each(d.Context(), func(l broker.DeadLetter) error { open = append(open, l.ID); return nil }, broker.LetterOpen)
	d.Want(err == nil, "a list: %v", err)
	var replaying sync.WaitGroup
	for c := range callers {
		replaying.Go(func() {
			letters := []*redis.Letters{d.a, d.b}[c/groups%2]
			for i := c % groups; i*some < len(open); i += groups {
				replaySome(d.Context(), letters, open[i*some:min((i+1)*some, len(open))])
			}
		})
	}
	finished := make(chan struct{})
	go func() { defer close(finished); replaying.Wait() }()
	killed := 0
	for killed < kills {
		pause := 5 + d.Chance.IntN(20) // a short replay is over soon
		if killed > 0 {
			pause = 50 + d.Chance.IntN(400)
		}
		pace := time.NewTimer(time.Duration(pause) * time.Millisecond)
		select {
		case <-pace.C:
			d.Redis.Proc.Kill()
			d.Redis.Start()
			killed++
			continue
		case <-finished:
			pace.Stop()
		}
		break
	}
	<-finished
	return killed
}

// replaySome replays letters until each is a message, put back by this caller or by another.
func replaySome(ctx context.Context, letters *redis.Letters, ids []string) {
	for len(ids) > 0 && ctx.Err() == nil {
		var left []string
		for i, err := range letters.RetryMany(ctx, ids, "caller", "") {
			var state *broker.LetterStateError
			if err != nil && !(errors.As(err, &state) && state.State == broker.LetterRetried) {
				left = append(left, ids[i])
			}
		}
		ids = left
	}
}

// queued returns how many of the tasks are in the queue, and how many more copies.
func (d desk) queued(ids []string) (queued, extra int) {
	d.Helper()
	copies := map[string]int{}
	for _, raw := range d.Redis.Strings("LRANGE", harness.Queue, 0, -1) {
		copies[testkit.ParseMessage(d, raw).Headers.ID]++
	}
	for _, id := range ids {
		queued += min(copies[id], 1)
		extra += max(copies[id]-1, 0)
	}
	return queued, extra
}

// overflow makes more letters than are kept, and returns the counts after restarts of the worker
// and of Redis, and how many of the newest are there.
func (d desk) overflow(bound, over int) (counts broker.LetterCounts, kept int) {
	d.Helper()
	o := harness.Options{Concurrency: 1, Prefetch: 1, Flags: []string{"-dead-max", strconv.Itoa(bound)}}
	w := d.Start(o)
	d.Ready()
	ids := d.Send(bound+over, harness.Task{Name: "e2e.unknown"})
	testkit.Eventually(d, 2*time.Minute, "nothing waits", func() bool {
		return d.Redis.Waiting(harness.Queue)+d.Redis.Int("HLEN", "unacked") == 0
	})
	w.Kill()
	d.Redis.Proc.Kill()
	d.Redis.Start()
	w = d.Start(o)
	d.Ready()
	defer w.Kill()
	letters, total, err := d.a.List(d.Context(), 0, bound+over)
	d.Want(err == nil && total == len(letters), "a list of %d: %d, %v", total, len(letters), err)
	newest := map[string]bool{}
	for _, id := range ids[over:] {
		newest[id] = true
	}
	for _, l := range letters {
		if newest[l.TaskID] {
			kept++
		}
	}
	counts, err = d.a.Counts(d.Context())
	d.Want(err == nil, "count: %v", err)
	return counts, kept
}

// purge deletes all letters.
func (d desk) purge() {
	d.Helper()
	err := d.a.Each(d.Context(), func(l broker.DeadLetter) error { return d.b.Delete(d.Context(), l.ID) })
	d.Want(err == nil, "purge: %v", err)
	if n, err := d.a.Counts(d.Context()); err != nil || n.Open+n.Closed != 0 {
		d.Errorf("left after a purge: %+v, %v", n, err)
	}
}
