package rows

import (
	"strconv"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// failpoint is a place at which the process dies.
type failpoint struct {
	name   string
	twice  bool // the task has done its work by then, and so does it again
	change harness.Patch
}

// at makes a fail point out of a place in a file of the engine: code stands there
// afterwards instead of place, with DIE where it dies.
func at(name, file, place, code string, twice bool) failpoint {
	return failpoint{name: name, twice: twice, change: harness.Patch{File: file, Old: place, New: code}}
}

// failpoints are built into a worker of patched copies; the product has none.
var failpoints = []failpoint{
	at("waiting", "worker/consume.go", "			if err := c.await(ctx, fine); err != nil && ctx.Err() == nil {\n",
		"			err := c.await(ctx, fine)\n			failpoint(\"waiting\")\n			if err != nil && ctx.Err() == nil {\n", false),
	at("claimed unseen", "worker/redis/claim.go", "	c, err := readClaimed(reply, cl.lists)\n",
		"	c, err := readClaimed(reply, cl.lists)\n	if len(c.deliveries) > 0 {\n		failpoint(\"claimed unseen\")\n	}\n", false),
	at("claimed", "worker/consume.go", "		c.accept(ds)\n",
		"		failpoint(\"claimed\")\n		c.accept(ds)\n", false),
	at("decoded", "worker/accept.go", "		r := c.reader.request(d, m)\n		c.held.add(r)\n",
		"		r := c.reader.request(d, m)\n		failpoint(\"decoded\")\n		c.held.add(r)\n", false),
	at("before STARTED", "worker/execute.go", "	if !e.start(r) {\n",
		"	failpoint(\"before STARTED\")\n	if !e.start(r) {\n", false),
	at("after STARTED", "worker/execute.go", "	r.log.Debug(\"task started\")\n",
		"	failpoint(\"after STARTED\")\n	r.log.Debug(\"task started\")\n", false),
	at("work done", "worker/execute.go", "	a.result, a.err = e.handle(ctx, r)\n",
		"	a.result, a.err = e.handle(ctx, r)\n	failpoint(\"work done\")\n", true),
	at("before the end is stored", "worker/settle.go", "	for i, err := range s.batcher.SettleAll(s.store, settlements) {\n		e := entries[i]\n",
		"	failpoint(\"before the end is stored\")\n	for i, err := range s.batcher.SettleAll(s.store, settlements) {\n		e := entries[i]\n		if err == nil {\n			failpoint(\"after the end is stored\")\n		}\n", true),
	{name: "after the end is stored"}, // in the patch above
}

// dying is what the fail points call, in the two packages that have them.
const dying = `
import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

var failpointPassed atomic.Int64

// failpoint ends the process when the point that FAILPOINT names is passed for the
// FAILPOINT_AT-th time.
func failpoint(name string) {
	if os.Getenv("FAILPOINT") != name {
		return
	}
	at, _ := strconv.ParseInt(os.Getenv("FAILPOINT_AT"), 10, 64)
	if failpointPassed.Add(1) == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
`

// crashes is R2.
var crashes = harness.Row{
	ID:   "R2",
	Goal: "the process dies at a named point of the way of a task, " + strconv.Itoa(len(failpoints)) + " points",
	Mark: "0 lost; run twice only when its work was done and its end not stored",
	Run: func(r *harness.Run) {
		dir := r.TempDir()
		patches := []harness.Patch{
			{File: "worker/failpoint.go", New: "package worker\n" + dying},
			{File: "worker/redis/failpoint.go", New: "package redis\n" + dying},
		}
		for _, p := range failpoints {
			if p.change.File != "" {
				patches = append(patches, p.change)
			}
		}
		kind := harness.Ours(harness.Build(r, dir, "fragile", harness.TestWorker, harness.Overlay(r, dir, patches...)...))
		kind.Name = r.Kind.Name
		tasks, total, lost, wrong := 8, 0, 0, 0
		for _, p := range failpoints {
			for range harness.Size(r, 1, 50) {
				s := harness.NewStage(r)
				options := harness.Options{Concurrency: 1, Redeliveries: 10, OwnerTimeout: 2 * time.Second}
				options.Env = []string{"FAILPOINT=" + p.name, "FAILPOINT_AT=" + strconv.Itoa(1+r.Chance.IntN(tasks/2))}
				w := s.StartKind(kind, options)
				// One after the other, so that waiting is passed as often as the rest.
				for range tasks {
					s.Await(s.Send(1, harness.Task{}), 200*time.Millisecond)
					if w.Ended() {
						break
					}
				}
				if !testkit.Poll(30*time.Second, w.Ended) {
					s.Errorf("%s: the worker did not come to the point", p.name)
				}
				options.Env = nil
				second := s.StartKind(kind, options)
				a := s.Await(s.IDs, 30*time.Second)
				want := 0
				if p.twice {
					want = 1
				}
				if a.Doubled != want {
					wrong++
				}
				total, lost = total+1, lost+a.Tasks-a.Done
				s.Want(a.Done == a.Tasks && a.Failed == 0 && a.Doubled == want, "%s: every task done and %d extra runs: %s", p.name, want, a)
				s.Want(len(s.DeadLetters()) == 0, "%s: no dead letters, have %d", p.name, len(s.DeadLetters()))
				second.Kill()
				s.Redis.Proc.Kill()
			}
		}
		s := r
		s.Figure("%d deaths at %d points: %d lost, %d with another number of runs than named", total, len(failpoints), lost, wrong)
	},
}
