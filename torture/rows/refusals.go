package rows

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/injector"
	"github.com/evently/workers/torture/harness"
)

// refusals is R8.
var refusals = harness.Row{
	ID:     "R8",
	Goal:   "Redis answers with an error: 18 of them at each of 8 commands; on a real server its scripts flushed, demoted, the queue of another type, rights taken away, no room for clients",
	Mark:   "no exit, 0 lost, working again < 2 s after it is over",
	Celery: true,
	Run: func(r *harness.Run) {
		if !r.Kind.IsCelery() {
			injected(r)
		}
		realRefusals(r)
	},
}

var serverErrors = []string{
	"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
	"READONLY You can't write against a read only replica.",
	"LOADING Redis is loading the dataset in memory",
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
	"OOM command not allowed when used memory > 'maxmemory'.",
	"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
	"NOSCRIPT No matching script. Please use EVAL.",
	"NOAUTH Authentication required.",
	"WRONGPASS invalid username-password pair or user is disabled.",
	"NOPERM this user has no permissions to run the command",
	"ERR max number of clients reached",
	"WRONGTYPE Operation against a key holding the wrong kind of value",
	"CLUSTERDOWN The cluster is down",
	"NOREPLICAS Not enough good replicas to write.",
	"TRYAGAIN Multiple keys request during rehashing of slot",
	"EXECABORT Transaction discarded because of previous errors.",
	"ERR something unheard of",
}

// refusable are the commands, and scripts by phrases of theirs.
var refusable = []string{
	"BLMOVE",
	"Moves messages from the lists to the unacked set",
	"Moves messages to the unacked set that the caller has just judged",
	"Records that deliveries begin to run",
	"Settles one delivery: result", // and what follows it, such as a retry
	"Settles many deliveries",
	"Renews the leases of claims",
	"KEYS: owners",
}

// injected has a proxy answer instead of the server.
func injected(r *harness.Run) {
	s := harness.NewStage(r)
	in, err := injector.New(s.Redis.Addr())
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(in.Close)
	w := s.Start(harness.Options{URL: "redis://" + in.Addr() + "/0", Concurrency: 4, Visibility: 3 * time.Second, OwnerTimeout: 3 * time.Second})
	// The injector knows a script when it has seen its text.
	s.Send(1, harness.Task{Name: "e2e.retry"})
	s.Send(4, harness.Task{Seconds: 1.5})
	s.Send(12, harness.Task{Seconds: 0.01})
	s.Await(s.IDs, 30*time.Second)
	var rules []injector.Rule
	for _, command := range refusable {
		for _, text := range serverErrors {
			rules = append(rules, injector.Rule{Command: command, Error: text})
		}
	}
	r.Chance.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	rules = rules[:harness.Size(r, 10, len(rules))]
	// Who may not BLMOVE polls for half a minute: that one comes last.
	slices.SortStableFunc(rules, func(a, b injector.Rule) int { return cmp.Compare(polls(a), polls(b)) })
	var after []time.Duration
	missed := 0
	for _, rule := range rules {
		in.Set(rule)
		s.Send(3, harness.Task{Seconds: 0.05})
		var next time.Time
		if !testkit.Poll(30*time.Second, func() bool {
			if time.Now().After(next) { // so that there is a lease to renew, and a retry
				s.Send(1, harness.Task{Seconds: 1})
				s.Send(1, harness.Task{Name: "e2e.retry"})
				s.Send(12, harness.Task{Seconds: 0.01}) // a backlog
				next = time.Now().Add(3 * time.Second)
			}
			return in.Hits() > 0
		}) {
			missed++
			s.Logf("never sent: %s", rule.Command)
		}
		testkit.Pause(s, 300*time.Millisecond)
		in.Set(injector.Rule{})
		d, ok := s.Recovers(30 * time.Second)
		after = append(after, d)
		if !s.Want(ok && d < r.Mark(2*time.Second), "< %s after %q to %q, took %s", r.Mark(2*time.Second), rule.Error, rule.Command, d) && w.Ended() {
			s.Fatalf("the worker has ended")
		}
	}
	a := s.Await(s.IDs, time.Minute)
	s.Figure("%d errors injected: worst %s, %d lost of %d, %d run twice", len(rules), ms(slices.Max(after)), a.Tasks-a.Done, a.Tasks, a.Doubled)
	s.Want(missed == 0, "each rule to hit something, %d did not", missed)
	s.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
	s.Want(!w.Ended(), "the worker to go on")
	s.Settled(30 * time.Second)
}

// polls is 1 for the refusal that a worker answers by polling, 0 for the others.
func polls(r injector.Rule) int {
	if r.Command == "BLMOVE" && strings.HasPrefix(r.Error, "NOPERM") {
		return 1
	}
	return 0
}

// realRefusals has a real server refuse.
func realRefusals(r *harness.Run) {
	s := harness.NewStage(r)
	options := harness.Options{Concurrency: 4, Visibility: 30 * time.Second, OwnerTimeout: 5 * time.Second}
	w := s.Start(options)
	s.Ready()
	faults := []struct {
		what       string
		begin, end func()
	}{
		{"scripts flushed", func() { s.Redis.Do("SCRIPT", "FLUSH") }, func() {}},
		{"demoted",
			func() { s.Redis.Do("REPLICAOF", "127.0.0.1", "1") },
			func() { s.Redis.Do("REPLICAOF", "NO", "ONE") }},
		{"queue of another type",
			func() {
				testkit.Poll(5*time.Second, func() bool { return s.Redis.Waiting(harness.Queue) == 0 })
				s.Redis.Do("SET", harness.Queue, "no list")
				// Clients that wait for the list do not look at another type.
				s.Redis.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			},
			func() { s.Redis.Do("DEL", harness.Queue) }},
		{"rights taken away",
			func() { s.Redis.Do("ACL", "SETUSER", "default", "-evalsha", "-eval", "-brpop", "-blmove", "-multi") },
			func() { s.Redis.Do("ACL", "SETUSER", "default", "+@all") }},
		{"no room for clients",
			func() {
				s.Redis.Do("CONFIG", "SET", "maxclients", 1)
				s.Redis.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			},
			func() { s.Redis.Do("CONFIG", "SET", "maxclients", 1000) }},
		{"paused", func() { s.Redis.Do("CLIENT", "PAUSE", 1000, "ALL") }, func() {}},
	}
	var after []time.Duration
	var ends []string
	for range harness.Size(r, 1, 3) {
		for _, f := range faults {
			f.begin()
			testkit.Pause(s, time.Second)
			f.end()
			d, ok := s.Recovers(30 * time.Second)
			if w.Ended() {
				if !slices.Contains(ends, f.what) {
					ends = append(ends, f.what)
				}
				w = s.Start(options)
				s.Ready()
				continue
			}
			after = append(after, d)
			s.Want(ok && d < r.Mark(2*time.Second), "< %s after %s, took %s", r.Mark(2*time.Second), f.what, d)
		}
	}
	a := s.Await(s.IDs, time.Minute)
	worst := time.Duration(0)
	if len(after) > 0 {
		worst = slices.Max(after)
	}
	s.Figure("real server, %d faults: worst %s, exits after: %d %v, %d lost of %d", harness.Size(r, 1, 3)*len(faults), ms(worst), len(ends), ends, a.Tasks-a.Done, a.Tasks)
	s.Want(len(ends) == 0, "no exit, there were after %v", ends)
	s.Want(a.Done == a.Tasks && a.Failed == 0, "every task done: %s", a)
}
