package flower

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// The questions to workers. The lists of tasks can be long: they are asked of one worker
// alone.
var (
	questions     = []string{"stats", "active_queues", "registered", "conf"}
	moving        = questions[:2]                                            // change often
	newcomers     = []string{"active_queues", "stats", "registered", "conf"} // the queues first: metrics of tasks need them
	taskQuestions = []string{"scheduled", "active", "reserved", "revoked"}
)

const (
	patience   = time.Second      // for the answers to a question
	everyFull  = time.Minute      // between two questions to all
	everyQuick = 15 * time.Second // between two about what changes often
	everyLook  = time.Second      // between two looks for workers that are new
	silentFor  = 2 * everyQuick   // without an answer, although it was asked: a worker is silent
	mostNodes  = 5_000            // that are kept
	mostAnswer = 4 << 20          // bytes of the answer of one worker
	keepSilent = 24 * time.Hour   // of a worker that does not answer any more
	refreshAll = 10 * time.Second // bounds the questions of a refresh
)

// inspector keeps what the workers have answered.
type inspector struct {
	remote broker.Remote
	redact *redact.Redactor
	params func(string) []string
	cfg    *Config

	mu      sync.Mutex
	workers map[string]*answers
	tried   map[string]bool // new workers that were asked since the last question to all
	asked   time.Time       // the beginning of the last questions to all that could be asked
	through time.Time       // since when they can be asked without a break
}

// answers are those of one worker, by question.
type answers struct {
	values map[string]json.RawMessage
	at     time.Time
}

func newInspector(cfg *Config) *inspector {
	return &inspector{remote: cfg.Remote, redact: cfg.Redactor, params: cfg.Params, cfg: cfg, workers: map[string]*answers{}, tried: map[string]bool{}}
}

// run asks all workers once a minute, and new ones at once.
func (in *inspector) run(ctx context.Context) error {
	if in.remote == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(everyLook)
	defer tick.Stop()
	var full, quick time.Time
	for {
		now := in.cfg.Now()
		var methods, nodes []string
		switch {
		case now.Sub(full) >= everyFull:
			full, quick, methods = now, now, questions
			in.forget(now)
		case now.Sub(quick) >= everyQuick:
			quick, methods = now, moving
		default:
			if nodes = in.untried(); len(nodes) > 0 {
				methods = newcomers
			}
		}
		if err := in.askAll(ctx, methods, nodes); err != nil && ctx.Err() == nil {
			in.cfg.Logger.Debug("workers cannot be asked, will try again", "error", err)
			in.noteFault()
		} else if len(methods) > 0 && len(nodes) == 0 {
			in.noteAsked(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// untried returns workers that send events and were not asked yet. Some never answer: they are asked
// alone once.
func (in *inspector) untried() (nodes []string) {
	workers := in.cfg.Fleet.Workers()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, w := range workers {
		if w.Online && in.workers[w.Node] == nil && !in.tried[w.Node] {
			in.tried[w.Node] = true
			nodes = append(nodes, w.Node)
		}
	}
	return nodes
}

// forget forgets workers that have not answered for long, and which ones were asked alone.
func (in *inspector) forget(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tried = map[string]bool{}
	maps.DeleteFunc(in.workers, func(_ string, a *answers) bool { return now.Sub(a.at) > keepSilent })
}

// refresh asks one worker, or all when node is "".
func (in *inspector) refresh(ctx context.Context, node string) error {
	if in.remote == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshAll)
	defer cancel()
	if node != "" {
		return in.askAll(ctx, slices.Concat(questions, taskQuestions), []string{node})
	}
	return in.askAll(ctx, questions, nil)
}

// askAll asks questions and keeps the answers.
func (in *inspector) askAll(ctx context.Context, methods, nodes []string) error {
	for _, method := range methods {
		replies, err := in.ask(ctx, method, questionArguments[method], nodes)
		if err != nil {
			return err
		}
		for _, r := range replies {
			in.keep(method, r)
		}
		if len(replies) == 0 {
			return nil // no worker would answer the rest
		}
	}
	return nil
}

// questionArguments are what Flower gives with its questions.
var questionArguments = map[string]map[string]any{
	"registered": {"taskinfoitems": []string{}},
	"conf":       {"with_defaults": false},
	"active":     {"safe": true},
}

// reply is the answer of a node.
type reply struct {
	node  string
	value protocol.Raw
}

// ask sends a request to these nodes, or to all, and returns the answers.
func (in *inspector) ask(ctx context.Context, method string, arguments map[string]any, nodes []string) (replies []reply, err error) {
	if in.remote == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request := &protocol.ControlRequest{
		Method: method, Destination: nodes, Ticket: uuid.NewString(),
		ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()},
	}
	deadline, _ := ctx.Deadline()
	raw, err := encodeRequest(request, arguments, deadline)
	if err != nil {
		return nil, err
	}
	var decoder protocol.Decoder
	err = in.remote.Ask(ctx, raw, request.ReplyTo.RoutingKey, func(raw []byte) {
		r, err := decoder.DecodeReply(raw)
		if err != nil || r.Ticket != request.Ticket || len(r.Value) > mostAnswer {
			return
		}
		replies = append(replies, reply{r.Node, r.Value})
		if len(replies) == len(nodes) {
			cancel() // the others do not answer
		}
	})
	return replies, err
}

func encodeRequest(request *protocol.ControlRequest, arguments map[string]any, deadline time.Time) (raw []byte, err error) {
	if arguments != nil {
		if request.Arguments, err = protocol.Marshal(arguments); err != nil {
			return nil, fmt.Errorf("ask workers: %w", err)
		}
	}
	if raw, err = protocol.EncodeControl(request, uuid.NewString(), deadline); err != nil {
		return nil, fmt.Errorf("ask workers: %w", err)
	}
	return raw, nil
}

// tell sends a command that wants no answer.
func (in *inspector) tell(ctx context.Context, method string, arguments map[string]any, nodes ...string) error {
	if in.remote == nil {
		return refuse(http.StatusServiceUnavailable, "This monitor has no broker")
	}
	raw, err := encodeRequest(&protocol.ControlRequest{Method: method, Destination: nodes}, arguments, time.Time{})
	if err != nil {
		return err
	}
	return in.remote.Broadcast(ctx, raw)
}

// keep stores an answer without its secrets.
func (in *inspector) keep(method string, r reply) {
	value := in.show(method, r.value)
	if !json.Valid(value) { // NaN, which Python writes and reads
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.workers[r.node]
	if a == nil {
		if len(in.workers) >= mostNodes {
			return
		}
		a = &answers{values: map[string]json.RawMessage{}}
		in.workers[r.node] = a
	}
	a.values[method], a.at = value, in.cfg.Now()
}

// show hides the secrets of an answer.
func (in *inspector) show(method string, value protocol.Raw) []byte {
	switch method {
	case "conf":
		return in.redact.Value(value)
	case "active", "reserved", "scheduled":
		return in.requests(value)
	case "stats":
		return withoutAlternates(value)
	}
	return value
}

// known returns what a worker has answered; nil: nothing.
func (in *inspector) known(node string) map[string]any {
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.workers[node]
	if a == nil {
		return nil
	}
	return a.view()
}

func (a *answers) view() map[string]any {
	v := map[string]any{"timestamp": float64(a.at.UnixMicro()) / 1e6}
	for method, value := range a.values {
		v[method] = value
	}
	return v
}

// all returns what all workers have answered.
func (in *inspector) all() map[string]any {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := map[string]any{}
	for node, a := range in.workers {
		all[node] = a.view()
	}
	return all
}

// noteFault notes that the workers cannot be asked.
func (in *inspector) noteFault() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.through = time.Time{}
}

// noteAsked notes when all workers were asked.
func (in *inspector) noteAsked(at time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.asked = at
	if in.through.IsZero() {
		in.through = at
	}
}

// silent reports whether a worker has left questions without an answer for a while. An outage of the
// broker makes no worker silent: after it all have the same time to come back.
func (in *inspector) silent(node string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	a := in.workers[node]
	if a == nil {
		return true
	}
	last := a.at
	if in.through.After(last) {
		last = in.through
	}
	return in.asked.Sub(last) >= silentFor
}

// each calls fn with an answer of each worker, in the order of their names.
func (in *inspector) each(method string, fn func(node string, value protocol.Raw)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, node := range sorting.Keys(in.workers) {
		if value := in.workers[node].values[method]; value != nil {
			fn(node, protocol.Raw(value))
		}
	}
}
