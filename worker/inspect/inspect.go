// Package inspect asks the workers of a deployment what they do, as "celery inspect" does, and
// tells them what to do, as "celery control" does. It knows workers of this kind and Python's.
package inspect

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Worker is a live worker: one that has answered.
type Worker struct {
	Node   string // node name
	Python bool   // a worker of Celery, else one of this library
	// State is "running" or "stopping". A Python worker that stops does not answer, so it is
	// never "stopping".
	State string
	// Concurrency is the number of slots, Active the number of tasks that run. They are 0
	// when the worker did not tell.
	Concurrency, Active int
	PID                 int           // on the host of the worker; 0: it did not tell
	Software, Version   string        // "celery" and its version, or those of worker.Config
	Uptime              time.Duration // to the second
}

// Patience is how long Workers waits for answers when its context has no deadline, as in
// Celery.
const Patience = time.Second

// Client asks workers. Many goroutines may use it.
type Client struct{ remote broker.Remote }

// New returns a Client that asks the workers which listen to remote, such as a Broker of
// worker/redis.
func New(remote broker.Remote) *Client { return &Client{remote: remote} }

// Workers returns the live workers, in the order of their node names. It waits until all
// have answered, or until ctx ends, or for Patience if ctx has no deadline. Workers that
// answer later, or whose remote control is off, are not among them. The error is one of the
// broker: without workers there is none.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Patience)
		defer cancel()
	}
	answers, err := c.ask(ctx, "stats", nil)
	if err != nil {
		return nil, fmt.Errorf("inspect workers: %w", err)
	}
	workers := make([]Worker, len(answers))
	var python []string
	for i, a := range answers {
		workers[i] = readStats(a)
		if workers[i].Python {
			python = append(python, a.node)
		}
	}
	sorting.By(workers, func(a, b Worker) int { return cmp.Or(strings.Compare(a.Node, b.Node), cmp.Compare(a.PID, b.PID)) })
	// The stats of Python workers lack these.
	for method, read := range map[string]func(*Worker, protocol.Raw){"active": readActive, "report": readReport} {
		if len(python) == 0 {
			break
		}
		answers, err := c.ask(ctx, method, python)
		if ctx.Err() != nil {
			break // a worker that hangs has used up the time
		}
		if err != nil {
			return nil, fmt.Errorf("inspect workers: %w", err)
		}
		for _, a := range answers {
			for i := range workers {
				if workers[i].Node == a.node {
					read(&workers[i], a.value)
				}
			}
		}
	}
	return workers, nil
}

// answer is the answer of one node.
type answer struct {
	node  string
	value protocol.Raw
}

// ask sends a request to these nodes, or to all, and returns the answers that arrive until
// all have come or ctx ends.
func (c *Client) ask(ctx context.Context, method string, nodes []string) ([]answer, error) {
	return c.askWith(ctx, method, nil, nodes)
}

// askWith does the same with arguments.
func (c *Client) askWith(ctx context.Context, method string, arguments map[string]any, nodes []string) (answers []answer, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ticket := uuid.NewString()
	to := protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()}
	deadline, _ := ctx.Deadline()
	raw, err := c.request(method, arguments, nodes, to, ticket, deadline)
	if err != nil {
		return nil, err
	}
	var decoder protocol.Decoder
	err = c.remote.Ask(ctx, raw, to.RoutingKey, func(raw []byte) {
		reply, err := decoder.DecodeReply(raw)
		if err != nil || reply.Ticket != ticket {
			return
		}
		answers = append(answers, answer{reply.Node, reply.Value})
		if len(answers) == len(nodes) {
			cancel() // the others do not answer
		}
	})
	return answers, err
}

// request encodes a request to these nodes, or to all.
func (c *Client) request(method string, arguments map[string]any, nodes []string, to protocol.ReplyTo, ticket string, expires time.Time) ([]byte, error) {
	q := &protocol.ControlRequest{Method: method, Destination: nodes, Ticket: ticket, ReplyTo: to}
	if len(arguments) > 0 {
		raw, err := protocol.Marshal(arguments)
		if err != nil {
			return nil, err
		}
		q.Arguments = raw
	}
	return protocol.EncodeControl(q, uuid.NewString(), expires)
}

// stats is the part of the answer to "stats" that is read. Python's answer has no Software
// and no State.
type stats struct {
	PID      int
	Uptime   float64 // seconds
	Software string
	State    string
	Pool     struct {
		Concurrency any `json:"max-concurrency"` // a number, or a text for pools without one
		Running     int
		Processes   protocol.Raw // ids of those of a prefork pool
	}
}

func readStats(a answer) Worker {
	w := Worker{Node: a.node, State: "running"}
	var s stats
	if protocol.Unmarshal(a.value, &s) != nil {
		return w // it answers, but not what was asked
	}
	w.PID, w.Uptime, w.State = s.PID, time.Duration(s.Uptime)*time.Second, cmp.Or(s.State, "running")
	if n, ok := s.Pool.Concurrency.(int64); ok {
		w.Concurrency = int(n)
	}
	if w.Python = s.Software == ""; w.Python {
		// The number of a pool that has grown is that of its processes.
		w.Concurrency = cmp.Or(count(s.Pool.Processes), w.Concurrency)
	} else {
		w.Software, w.Version, _ = strings.Cut(s.Software, " ")
		w.Active = s.Pool.Running
	}
	return w
}

func readActive(w *Worker, value protocol.Raw) {
	if requests, err := value.Elements(); err == nil {
		w.Active = len(requests)
	}
}

// version finds the version of Celery in its report.
var version = regexp.MustCompile(`\bcelery:(\S+)`)

func readReport(w *Worker, value protocol.Raw) {
	var report struct{ OK string }
	if protocol.Unmarshal(value, &report) != nil {
		return
	}
	if m := version.FindStringSubmatch(report.OK); m != nil {
		w.Software, w.Version = "celery", m[1]
	}
}
