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
	IDs   []string // of all tasks that were sent, in that order

	proxy *proxy.Proxy
}

// NewStage starts a server; more arguments are those of its command line.
func NewStage(r *Run, redisArgs ...string) *Stage {
	r.Helper()
	return &Stage{Run: r, Redis: testkit.StartRedis(r, append([]string{"--appendonly", "yes", "--appendfsync", "always"}, redisArgs...)...)}
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
		o.Notes = s.Redis.URL()
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
