package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
	"github.com/evently/workers/torture/rows"
)

// mutants are workers made worse on purpose, each with the row that must notice.
var mutants = []struct {
	name    string
	row     string
	fault   string // what the row says then
	service bool   // the row builds the whole service, and needs no other worker
	patches []harness.Patch
}{
	{
		name: "leases are not renewed", row: "R11", fault: "each task to run once",
		patches: []harness.Patch{{
			File: "worker/redis/broker.go",
			Old:  `	loops.Go(func() { b.every(ctx, b.leases.renewInterval(), "renew leases", b.leases.renew) })`,
		}},
	}, {
		name: "acknowledged before the result is stored", row: "R32", fault: "every task done",
		patches: []harness.Patch{{
			File: "worker/redis/finish.go",
			Old: `	var reply any
`,
			New: `	_ = se.do(ctx, func(c redigo.Conn) error {
		for i := range fs {
			_, err := c.Do("ZREM", se.keys.index, fs[i].claim)
			if err != nil {
				return err
			}
			if _, err = c.Do("HDEL", se.keys.unacked, fs[i].claim); err != nil {
				return err
			}
		}
		return nil
	})
	var reply any
`,
		}},
	}, {
		name: "texts are shown as they are", row: "S9", fault: "no secret anywhere",
		patches: []harness.Patch{{
			File: "worker/internal/present/present.go",
			Old:  `	return p.redactor.Text(text, p.secrets(m)...)`,
			New:  `	return text`,
		}},
	}, {
		name: "popped first and entered as unacknowledged afterwards, as kombu does", row: "R6", fault: "every task done",
		patches: []harness.Patch{{
			File: "worker/redis/internal/scripts/claim.lua",
			Old:  `  redis.call('ZADD', index, unpack(scores))`,
		}, {
			File: "worker/redis/internal/scripts/claim.lua",
			Old:  `    redis.call('HSET', unacked, unpack(hash))`,
		}, {
			File: "worker/redis/internal/scripts/claimseen.lua",
			Old: `  redis.call('ZADD', index, unpack(scores))
  local entered = redis.pcall('HSET', unacked, unpack(hash))`,
			New: `  local entered`,
		}, {
			File: "worker/redis/claim.go",
			Old: `	ds, verdicts, err := cl.claimAhead(ctx, max)
	if err != nil || len(ds) > 0 {
		return ds, err
	}`,
			New: `	ds, verdicts, err := cl.claimAhead(ctx, max)
	if err != nil || len(ds) > 0 {
		return ds, errors.Join(err, cl.enter(ctx, ds))
	}`,
		}, {
			File: "worker/redis/claim.go",
			Old:  `			return c.deliveries, nil`,
			New:  `			return c.deliveries, cl.enter(ctx, c.deliveries)`,
		}, {
			File: "worker/redis/claim.go",
			Old:  `// claimed is the reply of claim.lua.`,
			New: `func (cl *claimer) enter(ctx context.Context, ds []broker.Delivery) error {
	for _, d := range ds {
		entry := append(append([]byte("["), d.Raw...), ` + "`,\"\",\"`" + `+d.Queue+` + "`\"]`" + `...)
		if err := cl.do(ctx, func(conn redigo.Conn) error {
			if _, err := conn.Do("ZADD", cl.keys.index, time.Now().Unix(), d.Claim); err != nil {
				return err
			}
			_, err := conn.Do("HSET", cl.keys.unacked, d.Claim, entry)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// claimed is the reply of claim.lua.`,
		}},
	}, {
		name: "the mark of an earlier worker is ignored", row: "R1m", service: true, fault: "no second copy of an ordinary mail",
		patches: []harness.Patch{{
			File: "tasks/guard.go",
			Old:  `if before == markNone {`,
			New:  `if before != "" {`,
		}},
	}, {
		name: "a mail without a reply to its end counts as one that was not sent", row: "R24", service: true, fault: "no second copy of an ordinary mail",
		patches: []harness.Patch{{
			File: "tasks/outcome.go",
			Old:  `	if e != nil && e.Unknown() {`,
			New:  `	if e != nil && e.Unknown() && e.Command == "" {`,
		}},
	}, {
		name: "the age of a code is ignored", row: "R27", service: true, fault: "every code as it should be",
		patches: []harness.Patch{{
			File: "tasks/deadline.go",
			Old:  `	return !end.IsZero() && at.After(end)`,
			New:  `	return end.IsZero() && at.After(end)`,
		}},
	}, {
		name: "a task does not wait for another one that is sending the same mail", row: "R28", service: true, fault: "each mail once",
		patches: []harness.Patch{{
			File: "tasks/once.go",
			Old:  `			return false, &otherError{wait: max(onceWaitLeast, min(age, onceWaitMost))}`,
			New:  `			return false, nil`,
		}},
	},
}

// tries is how often a row may look for what a mutant does wrong.
const tries = 4

// TestMutantsApply changes the sources as they are now. It takes a moment, where
// TestMutants takes a minute.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	for _, m := range mutants {
		t.Run(m.row, func(t *testing.T) {
			harness.Overlay(t, t.TempDir(), m.patches...)
		})
	}
}

// TestMutants sees to it that the rows can fail.
func TestMutants(t *testing.T) {
	t.Parallel()
	value := seed(t)
	for _, m := range mutants {
		t.Run(m.row, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			flags := harness.Overlay(t, dir, m.patches...)
			kind := harness.Kind{Name: "ours"}
			if !m.service {
				kind = harness.Ours(harness.Build(t, dir, "worse", harness.TestWorker, flags...))
			}
			kind.Flags = flags
			i := slices.IndexFunc(rows.All(), func(r harness.Row) bool { return r.ID == m.row })
			// Chance has to hit the moment that the mutant has made worse.
			for try := range uint64(tries) {
				begin := time.Now()
				var figures string
				faults := harness.Record(t.Context(), m.row, t.Output(), func(rec testkit.T) {
					run := harness.NewRun(rec, kind, false, value+try)
					rec.Cleanup(func() { figures = run.Figures() })
					rows.All()[i].Run(run)
				})
				t.Logf("%s: %s in %s: %s", m.name, m.row, time.Since(begin).Round(time.Second), figures)
				if slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, m.fault) }) {
					return
				}
				t.Logf("%s: %s found %q, want %q among it", m.name, m.row, faults, m.fault)
			}
			t.Errorf("%s: %s has not found it in %d runs", m.name, m.row, tries)
		})
	}
}
