package harness

import (
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
)

// Queue is the queue that rows use: that of the platform.
const Queue = "email_notifications"

// Stage is a run with a real redis-server, whose append-only file is written
// before it answers.
type Stage struct {
	*Run
	Redis *testkit.Redis
	Notes *testkit.Redis // where tasks note their runs: Redis, or see [Stage.NoteAside]
	IDs   []string       // of all tasks that were sent, in that order

	proxy *proxy.Proxy
}

// NewStage starts a server; more arguments are those of its command line.
func NewStage(r *Run, redisArgs ...string) *Stage {
	r.Helper()
	redis := testkit.StartRedis(r, append([]string{"--appendonly", "yes", "--appendfsync", "always"}, redisArgs...)...)
	return &Stage{Run: r, Redis: redis, Notes: redis}
}

// NoteAside has tasks note their runs in a server of their own, without a file.
// While a note is written to a disk that is busy, a task has run and not ended: of
// the tasks that are run twice most would be due to the counting.
func (s *Stage) NoteAside() {
	s.Helper()
	s.Notes = testkit.StartRedis(s)
}

// Proxy lies between Redis and the workers that are started after the first call.
func (s *Stage) Proxy() *proxy.Proxy {
	s.Helper()
	if s.proxy == nil {
		p, err := proxy.New(s.Redis.Addr())
		if err != nil {
			s.Fatalf("%v", err)
		}
		s.Cleanup(p.Close)
		s.proxy = p
	}
	return s.proxy
}

// Start starts a worker of the kind that the row is run against.
func (s *Stage) Start(o Options) *testkit.Process {
	s.Helper()
	return s.StartKind(s.Kind, o)
}

// StartKind starts a worker of another kind.
func (s *Stage) StartKind(k Kind, o Options) *testkit.Process {
	s.Helper()
	if o.URL == "" {
		o.URL = s.Redis.URL()
		if s.proxy != nil {
			o.URL = "redis://" + s.proxy.Addr() + "/0"
		}
	}
	if o.Notes == "" {
		o.Notes = s.Notes.URL()
	}
	if o.Queue == "" {
		o.Queue = Queue
	}
	if o.Name == "" {
		o.Name = "worker"
	}
	return k.start(s, o)
}

// Ready sends one short task and waits for its result: the worker works.
func (s *Stage) Ready() {
	s.Helper()
	ids := s.Send(1, Task{})
	if a := s.Await(ids, time.Minute); a.Done != 1 {
		s.Fatalf("no worker works: %s", a)
	}
}
