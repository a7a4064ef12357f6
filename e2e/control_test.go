package e2e_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// node is the node name that a worker of that name has on this host.
func node(t testing.TB, name string) string {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name + "@" + host
}

// TestControl lets real Celery inspect and control a worker of ours beside one of
// its own, by its client and by its console.
func TestControl(t *testing.T) {
	t.Parallel()
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			ours := startWorker(t, r, "ours", "-queue", "both,ours", "-concurrency", "2", "-prefetch", "2")
			theirs := startPeer(t, celery, r, "both,theirs", "theirs", time.Hour)
			out := runPython(t, celery, nil, "testdata/control.py", r.url(), node(t, "ours"), node(t, "theirs"))
			t.Logf("%s", out)
			if code := ours.wait(30 * time.Second); code != 0 {
				t.Errorf("ours was shut down with exit code %d", code)
			}
			// It logs what it refuses, as an error, and goes on.
			if out := theirs.out.String(); theirs.ended() || strings.Contains(out, "Unrecoverable") || strings.Contains(out, "CRITICAL") {
				t.Error("the Python worker has suffered")
			}
			for _, key := range r.strings("KEYS", "*.reply.celery.pidbox*") {
				if ttl := r.int("TTL", key); ttl < 0 {
					t.Errorf("%s was left behind for ever", key)
				}
			}
		})
	}
}

// TestAutoscaleByCelery has the pool follow the load, and an operator change its
// bounds.
func TestAutoscaleByCelery(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	startWorker(t, r, "ours", "-queue", queue, "-autoscale", "4")
	name := node(t, "ours")
	type scaler struct{ Max, Min, Current int }
	stats := func() scaler {
		t.Helper()
		var all map[string]struct{ Autoscaler scaler }
		out := celeryCommand(t, r, "inspect", "--timeout", "30", "-d", name, "--json", "stats") // the first answer is enough
		if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &all); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return all[name].Autoscaler
	}
	eventually(t, 30*time.Second, "the worker answers", func() bool {
		return strings.Contains(runCelery(t, r, "inspect", "--timeout", "1", "ping"), "pong")
	})
	if got := stats(); got != (scaler{4, 1, 1}) {
		t.Errorf("at rest: %+v", got)
	}
	flood(t, celeryNew, r, queue, 200, "e2e.work", []any{0.2, "%d"}, nil)
	eventually(t, 30*time.Second, "all slots are there", func() bool { return stats().Current == 4 })
	if out := celeryCommand(t, r, "control", "--timeout", "30", "-d", name, "autoscale", "2", "1"); !strings.Contains(out, "autoscale now max=2 min=1") {
		t.Errorf("celery control autoscale: %s", out)
	}
	var got scaler
	if !testkit.Poll(30*time.Second, func() bool {
		got = stats()
		return got.Max == 2 && got.Min == 1 && got.Current <= 2 // fewer when all are done
	}) {
		t.Errorf("afterwards: %+v", got)
	}
	r.settled(queue)
}

// TestPeersAndGossip starts, stops and kills Python workers beside ours, with all
// that they say to each other: nothing of it may trouble them.
func TestPeersAndGossip(t *testing.T) {
	t.Parallel()
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			spy, since := testkit.Listen(t, r.Redis), time.Now()
			startWorker(t, r, "ours", "-events")
			var peers []*process
			begin := func(name string) *process {
				p := startPeer(t, celery, r, queue, name, time.Hour)
				peers = append(peers, p)
				eventually(t, 60*time.Second, name+" is ready", func() bool { return strings.Contains(p.out.String(), " ready.") })
				return p
			}
			begin("first")
			second := begin("second")
			// Who starts asks all others what was revoked, and hears of us.
			eventually(t, 30*time.Second, "the second has synchronised", func() bool {
				return strings.Contains(second.out.String(), "mingle: sync complete") && strings.Contains(second.out.String(), "sync with 2 nodes")
			})
			ids := flood(t, celery, r, queue, 200, "e2e.work", []any{0.01, "%d"}, nil)
			awaitResults(r, ids, time.Minute)
			second.kill()
			more := startWorker(t, r, "more")
			eventually(t, 30*time.Second, "more says that it is there", func() bool { return beats(spy, "more") > 0 })
			eventually(t, 30*time.Second, "the first misses the second", func() bool {
				return strings.Contains(peers[0].out.String(), "missed heartbeat from second@")
			})
			more.kill()
			eventually(t, 30*time.Second, "the first misses ours", func() bool {
				return strings.Contains(peers[0].out.String(), "missed heartbeat from more@")
			})
			begin("third")
			ids = flood(t, celery, r, queue, 200, "e2e.work", []any{0.01, "%d"}, nil)
			awaitResults(r, ids, time.Minute)
			// Both that are left stand for election; ours acknowledges.
			out := runPython(t, celery, nil, "testdata/election.py", r.url(), queue, "ours", "first", "third")
			t.Logf("%s", out)
			if strings.Contains(peers[0].out.String(), "missed heartbeat from ours@") {
				// Celery allows four seconds, in which a busy machine may stand still.
				lasts, n := time.Since(since), beats(spy, "ours")
				t.Logf("the first missed ours, %d heartbeats in %s", n, lasts)
				if time.Duration(n)*3*time.Second < lasts-10*time.Second {
					t.Error("the first misses a worker that is there")
				}
			}
			for _, p := range peers {
				if p != second {
					checkPeer(t, p)
				}
			}
		})
	}
}

// beats counts the heartbeats of a worker that were published.
func beats(spy *testkit.Spy, name string) (n int) {
	for _, h := range spy.Heard() {
		if strings.HasSuffix(h.Channel, "/worker.heartbeat") && strings.Contains(h.Text, `"`+name+`@`) {
			n++
		}
	}
	return n
}

// TestEvents lets Celery's own receiver watch a thousand tasks.
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			startWorker(t, r, "ours", "-concurrency", "8", "-prefetch", "10")
			out := runPython(t, celery, nil, "testdata/receiver.py", r.url(), queue, "1000")
			t.Logf("%s", out)
		})
	}
}
