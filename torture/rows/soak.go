package rows

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/torture/harness"
)

// soak is R19.
var soak = harness.Row{
	ID:   "R19",
	Goal: "a soak: steady load of all sorts of tasks, a fault every ten seconds",
	Mark: "memory, goroutines, files, connections and keys stay flat, every key has an end, 0 lost",
	Soak: true,
	Run:  func(r *harness.Run) { runSoak(r) },
}

// sample is what is looked at every five seconds; the survivor is the worker that
// no fault kills.
type sample struct {
	at                                                 time.Duration
	rss, files, goroutines, connections, keys, endless int
}

// curves are what must stay flat.
var curves = []struct {
	what  string
	of    func(sample) int
	slack int // that the last quarter may have more than the first
}{
	{"RSS MB", func(x sample) int { return x.rss >> 20 }, 15},
	{"goroutines", func(x sample) int { return x.goroutines }, 10},
	{"open files", func(x sample) int { return x.files }, 8},
	{"connections of all clients", func(x sample) int { return x.connections }, 10},
	{"keys of Redis", func(x sample) int { return x.keys }, 10},
	{"keys without an end", func(x sample) int { return x.endless }, 0},
}

// trouble is a fault, with the letter that the plot has for it.
type trouble struct {
	letter string
	do     func()
}

// letters explain those of the troubles.
var letters = []string{
	"K the other worker killed · P this worker stopped for 1 to 8 s (SIGSTOP) · N connections reset, cut, frozen, refused, slow",
	"C connections closed by Redis · S scripts flushed · F Redis full for a second · R Redis killed and started again",
	"Keys are without results and the notes of the test; those without an end also without Celery's queues, unacked and bindings.",
}

func runSoak(r *harness.Run) {
	s := harness.NewStage(r)
	s.Proxy()
	options := func(name string) harness.Options {
		return harness.Options{Name: name, Concurrency: 4, Visibility: 20 * time.Second, OwnerTimeout: 5 * time.Second, Redeliveries: 50,
			Flags: []string{"-vitals"}}
	}
	survivor, victim := s.Start(options("survivor")), s.Start(options("victim"))
	s.Ready()
	kill := func() { victim.Kill(); victim = s.Start(options("victim")) }
	during := func(mode proxy.Mode, d time.Duration) func() {
		return func() { set(s, mode); testkit.Pause(s, d); set(s, proxy.Pass) }
	}
	faults := []trouble{
		{"K", kill}, {"K", kill},
		{"N", func() { s.Proxy().Reset() }},
		{"N", func() {
			s.Proxy().Stick()
			testkit.Pause(s, 6*time.Second)
			s.Proxy().Reset() // or Redis would have the frozen ones for ever
		}},
		{"N", func() { s.Proxy().CutAfter(1 + r.Chance.IntN(5000)) }},
		{"N", during(proxy.FreezeAnswers, 2*time.Second)},
		{"N", during(proxy.Refuse, 2*time.Second)},
		{"N", during(proxy.Trickle, time.Second)},
		{"C", func() { s.Redis.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") }},
		{"C", func() { s.Redis.Do("CLIENT", "KILL", "TYPE", "pubsub") }},
		{"S", func() { s.Redis.Do("SCRIPT", "FLUSH") }},
		{"F", func() {
			s.Redis.Do("CONFIG", "SET", "maxmemory", 1)
			testkit.Pause(s, time.Second)
			s.Redis.Do("CONFIG", "SET", "maxmemory", 0)
		}},
		{"P", func() {
			survivor.Signal(syscall.SIGSTOP)
			testkit.Pause(s, between(r, time.Second, 8*time.Second))
			survivor.Signal(syscall.SIGCONT)
		}},
		{"R", func() {
			s.Redis.Proc.Signal(syscall.SIGKILL)
			<-s.Redis.Proc.Done
			testkit.Pause(s, time.Second)
			s.Redis.Start()
		}},
	}
	var samples []sample
	var endless []string
	var marks []harness.Mark
	begin := time.Now()
	next := begin.Add(10 * time.Second)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; time.Since(begin) < r.Soak && s.Context().Err() == nil; n++ {
		load(s)
		if n%5 == 4 {
			one, without := look(s, survivor)
			one.at, one.endless = time.Since(begin), len(without)
			samples = append(samples, one)
			for _, key := range without {
				if !slices.Contains(endless, key) {
					endless = append(endless, key)
				}
			}
		}
		if time.Now().After(next) {
			fault := faults[r.Chance.IntN(len(faults))]
			marks = append(marks, harness.Mark{At: time.Since(begin), Letter: fault.letter})
			fault.do()
			next = time.Now().Add(10 * time.Second)
		}
		if survivor.Ended() {
			s.Fatalf("the worker has ended")
		}
		<-tick.C
	}
	a := s.Await(s.IDs, 2*time.Minute)
	s.Settled(time.Minute)
	s.Figure("%s, %d faults: %d of %d tasks done, %d run twice", r.Soak, len(marks), a.Done, a.Tasks, a.Doubled)
	s.Want(a.Done == a.Tasks && a.Lost == 0, "every task done: %s", a)
	s.Want(len(endless) == 0, "an end of each key, not of %v", endless)
	if n := endlessResults(s); n > 0 {
		s.Errorf("want an end of each result, %d have none", n)
	}
	plot := harness.Plot{Title: fmt.Sprintf("A worker under load for %s, with %d faults", r.Soak, len(marks)), Length: r.Soak, Marks: marks, Legend: letters}
	for _, one := range samples {
		plot.At = append(plot.At, one.at)
	}
	for _, c := range curves {
		values := make([]int, len(samples))
		for i, one := range samples {
			values[i] = c.of(one)
		}
		plot.Series = append(plot.Series, harness.Series{Name: c.what, Values: values})
		first, last := median(values[:len(values)/4+1]), median(values[len(values)*3/4:])
		s.Figure("%s %d → %d", c.what, first, last)
		s.Want(last <= first+c.slack, "%s flat, were %d in the first quarter and %d in the last", c.what, first, last)
	}
	if r.Plot != "" {
		draw(s, plot)
	}
}

// draw writes the plot where the run wants it.
func draw(s *harness.Stage, plot harness.Plot) {
	s.Helper()
	var picture bytes.Buffer
	err := plot.Write(&picture)
	if err == nil {
		err = os.WriteFile(s.Plot, picture.Bytes(), 0o644)
	}
	if err != nil {
		s.Fatalf("plot: %v", err)
	}
}

// load sends the tasks of one second.
func load(s *harness.Stage) {
	s.Send(30, harness.Task{Seconds: 0.02})
	s.Send(4, harness.Task{Seconds: 0.02, Priority: 9})
	s.Send(2, harness.Task{Name: "e2e.fail"})
	s.Send(2, harness.Task{Name: "e2e.panic"})
	s.Send(1, harness.Task{Name: "e2e.retry"})
	s.Send(4, harness.Task{ETA: time.Now().Add(5 * time.Second)})
	s.Send(1, harness.Task{Padding: 100_000})
	_, bad := mutant(s.Run, 0)
	s.Redis.Do("LPUSH", harness.Queue, bad)
	s.Redis.Do("PUBLISH", "/0.celery.pidbox", badControl(s.Run))
}

// look takes a sample, and returns the keys that nothing ends.
func look(s *harness.Stage, p *testkit.Process) (one sample, endless []string) {
	s.Helper()
	v, err := harness.VitalsOf(p.PID())
	if err != nil {
		s.Fatalf("%v", err)
	}
	one = sample{rss: v.RSS, files: v.FDs}
	for name, n := range s.Redis.IntMap("HGETALL", "e2e:goroutines") {
		if strings.HasPrefix(name, "survivor") {
			one.goroutines = n
		}
	}
	one.connections = strings.Count(fmt.Sprintf("%s", s.Redis.Do("CLIENT", "LIST")), "\n")
	cursor := 0
	for {
		reply, err := redis.Values(s.Redis.Do("SCAN", cursor, "COUNT", 5000), nil)
		var keys []string
		if err == nil {
			_, err = redis.Scan(reply, &cursor, &keys)
		}
		if err != nil {
			s.Fatalf("SCAN: %v", err)
		}
		for _, key := range keys {
			// Results end by themselves; the notes are those of this program.
			if strings.HasPrefix(key, "celery-task-meta-") || strings.HasPrefix(key, "e2e:") {
				continue
			}
			one.keys++
			celerys := strings.HasPrefix(key, harness.Queue) || strings.HasPrefix(key, "unacked") || strings.HasPrefix(key, "_kombu.binding.")
			if !celerys && s.Redis.Int("TTL", key) == -1 {
				endless = append(endless, key)
			}
		}
		if cursor == 0 {
			return one, endless
		}
	}
}

func median(values []int) int {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// endlessResults counts the results that would stay for ever.
func endlessResults(s *harness.Stage) int {
	s.Helper()
	return s.Redis.Int("EVAL", `
local n = 0
for _, key in ipairs(redis.call('KEYS', 'celery-task-meta-*')) do
  if redis.call('TTL', key) == -1 then
    n = n + 1
  end
end
return n`, 0)
}
