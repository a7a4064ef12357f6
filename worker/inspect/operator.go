package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Broker is the part of a broker that an Operator needs. The Broker of worker/redis has it.
type Broker interface {
	broker.Remote
	broker.Board
	broker.Revoker
}

// Operator does what lasts longer than one command: it pauses queues, drains workers and
// revokes tasks, also for workers that start later. Its notices are kept with the broker, so
// that several programs may do it.
type Operator struct {
	*Client
	broker Broker
	now    func() time.Time
}

// NewOperator returns an Operator.
func NewOperator(b Broker) *Operator { return &Operator{Client: New(b), broker: b, now: time.Now} }

// noticeLife is the life of the notices of paused queues and drained workers.
const noticeLife = 10 * 365 * 24 * time.Hour

// Pause keeps workers from taking messages from a queue. Workers of this kind see it within
// some seconds, also ones that start later, and go on with what they have taken. The live
// Python workers of the queue are told to cancel its consumer; one that starts later consumes
// it. The answers are those of the Python workers.
func (o *Operator) Pause(ctx context.Context, queue, by, note string) ([]Answer, error) {
	python, err := o.pythonConsumers(ctx, queue)
	if err != nil {
		return nil, fmt.Errorf("pause the queue %s: %w", queue, err)
	}
	p := broker.Pause{At: o.now().UTC(), By: by, Note: note, Python: python}
	if earlier, err := o.Paused(ctx, queue); err == nil {
		p.Python = append(p.Python, earlier[queue].Python...)
		sort.Strings(p.Python)
		p.Python = slices.Compact(p.Python)
	}
	value, err := json.Marshal(p)
	if err == nil {
		err = o.broker.Post(ctx, broker.PauseNotice(queue), value, noticeLife)
	}
	if err != nil {
		return nil, fmt.Errorf("pause the queue %s: %w", queue, err)
	}
	if len(python) == 0 {
		return nil, nil
	}
	return o.CancelConsumer(ctx, queue, python...)
}

// Resume ends the pause of a queue. Python workers that the pause has told to cancel its
// consumer are told to consume it again. The answers are those of them that are alive.
func (o *Operator) Resume(ctx context.Context, queue string) ([]Answer, error) {
	paused, err := o.Paused(ctx, queue)
	if err == nil {
		err = o.broker.Unpost(ctx, broker.PauseNotice(queue))
	}
	if err != nil {
		return nil, fmt.Errorf("resume the queue %s: %w", queue, err)
	}
	python, err := o.keepDrained(ctx, queue, paused[queue].Python)
	if err != nil {
		return nil, fmt.Errorf("resume the queue %s: %w", queue, err)
	}
	if len(python) == 0 {
		return nil, nil
	}
	return o.AddConsumer(ctx, queue, python...)
}

// cancelTime is how long a drained worker may still consume: Celery answers before it has
// cancelled its consumers.
const cancelTime = 5 * time.Second

// keepDrained returns the nodes that are not drained. The others consume the queue again when
// they are filled.
func (o *Operator) keepDrained(ctx context.Context, queue string, nodes []string) ([]string, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	drained, err := o.Drained(ctx, nodes...)
	if err != nil || len(drained) == 0 {
		return nodes, err
	}
	consumers, _, err := o.Consumers(ctx)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, node := range nodes {
		d, is := drained[node]
		for _, consuming := range consumers {
			if slices.Contains(consuming, node) && o.now().Sub(d.At) > cancelTime {
				is = false // it has started anew
			}
		}
		if !is {
			others = append(others, node)
			continue
		}
		if d.Queues = append(d.Queues, queue); len(slices.Compact(sorting.Copy(d.Queues))) < len(d.Queues) {
			continue // known
		}
		if err := o.postDrained(ctx, node, d); err != nil {
			return nil, err
		}
	}
	return others, nil
}

func (o *Operator) postDrained(ctx context.Context, node string, d Drained) error {
	value, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return o.broker.Post(ctx, drainNotice(node), value, noticeLife)
}

// Paused returns the paused ones of some queues.
func (o *Operator) Paused(ctx context.Context, queues ...string) (map[string]broker.Pause, error) {
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = broker.PauseNotice(q)
	}
	values, err := o.broker.Posted(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("ask which queues are paused: %w", err)
	}
	paused := map[string]broker.Pause{}
	for i, v := range values {
		if v != nil {
			var p broker.Pause
			_ = json.Unmarshal(v, &p) // the notice counts with any content
			paused[queues[i]] = p
		}
	}
	return paused, nil
}

// pythonConsumers returns the Python workers that consume a queue.
func (o *Operator) pythonConsumers(ctx context.Context, queue string) (nodes []string, err error) {
	consumers, _, err := o.Consumers(ctx)
	if err != nil || len(consumers[queue]) == 0 {
		return nil, err
	}
	workers, err := o.Workers(ctx)
	for _, w := range workers {
		if w.Python && slices.Contains(consumers[queue], w.Node) {
			nodes = append(nodes, w.Node)
		}
	}
	return nodes, err
}

// Drained says that a worker was told to take nothing more.
type Drained struct {
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Queues []string  `json:"queues"` // that it consumed before
}

func drainNotice(node string) string { return "node.drained." + node }

// Drain tells a worker to take nothing more and to finish what it has: the consumers of all its
// queues are cancelled. It stays alive, and consumes again after Fill or its restart.
func (o *Operator) Drain(ctx context.Context, node, by string) ([]Answer, error) {
	began := o.now()
	replies, err := o.askOne(ctx, "active_queues", node)
	if err != nil {
		return nil, fmt.Errorf("drain %s: %w", node, err)
	}
	if replies == nil {
		return []Answer{{Node: node, Err: &SilentError{Node: node, Command: "active_queues", After: o.now().Sub(began)}}}, nil
	}
	// Paused queues, too: their consumers begin when the pause ends.
	paused, err := o.pausedBy(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("drain %s: %w", node, err)
	}
	queues := append(readQueues(replies.value), paused...)
	if len(queues) == 0 {
		return []Answer{{Node: node, Text: "it consumes no queue"}}, nil
	}
	// First the notice: without it the queues would be forgotten.
	if err := o.postDrained(ctx, node, Drained{At: o.now().UTC(), By: by, Queues: queues}); err != nil {
		return nil, fmt.Errorf("drain %s: %w", node, err)
	}
	return o.eachQueue(ctx, node, queues, o.CancelConsumer)
}

// pausedBy returns the queues of a worker of this kind that are paused. active_queues leaves
// them out.
func (o *Operator) pausedBy(ctx context.Context, node string) ([]string, error) {
	reply, err := o.askOne(ctx, "stats", node)
	if err != nil || reply == nil {
		return nil, err
	}
	var s struct {
		Paused []string `json:"paused_queues"`
	}
	if protocol.Unmarshal(reply.value, &s) != nil {
		return nil, nil // of a worker that tells something else
	}
	return s.Paused, nil
}

// ErrNotDrained is returned for a worker that was not drained, or has started anew since.
var ErrNotDrained = errors.New("the worker is not drained")

// Fill lets a drained worker consume its queues again.
func (o *Operator) Fill(ctx context.Context, node string) ([]Answer, error) {
	drained, err := o.Drained(ctx, node)
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w", node, err)
	}
	d, is := drained[node]
	if !is {
		return nil, fmt.Errorf("resume %s: %w", node, ErrNotDrained)
	}
	answers, err := o.eachQueue(ctx, node, d.Queues, o.AddConsumer)
	if err == nil && Failed(answers) == nil {
		err = o.broker.Unpost(ctx, drainNotice(node))
	}
	if err != nil {
		return answers, fmt.Errorf("resume %s: %w", node, err)
	}
	return answers, nil
}

// Drained returns the drained ones of some workers. A worker that has started anew consumes
// again although its notice is there: it is drained only as long as it consumes nothing.
func (o *Operator) Drained(ctx context.Context, nodes ...string) (map[string]Drained, error) {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = drainNotice(n)
	}
	values, err := o.broker.Posted(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("ask which workers are drained: %w", err)
	}
	drained := map[string]Drained{}
	for i, v := range values {
		var d Drained
		if v != nil && json.Unmarshal(v, &d) == nil {
			drained[nodes[i]] = d
		}
	}
	return drained, nil
}

// eachQueue gives one worker a command for each queue. It ends at the first queue that fails.
func (o *Operator) eachQueue(ctx context.Context, node string, queues []string, do func(context.Context, string, ...string) ([]Answer, error)) (answers []Answer, err error) {
	for _, q := range queues {
		answers, err = do(ctx, q, node)
		if err != nil || Failed(answers) != nil {
			break
		}
	}
	return answers, err
}

// askOne returns the answer of one worker, nil when it is silent.
func (o *Operator) askOne(ctx context.Context, method, node string) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	answers, err := o.ask(ctx, method, []string{node})
	if err != nil || len(answers) == 0 {
		return nil, err
	}
	return &answers[0], nil
}

// Revoke keeps tasks from running: it is stored for workers of this kind, also ones that start
// later, and told to the live workers of both kinds. Python workers that start later do not
// know of it. The answers are those of the live workers.
func (o *Operator) Revoke(ctx context.Context, r Revocation) ([]Answer, error) {
	if err := o.broker.Revoke(ctx, broker.Revocation{IDs: r.IDs}); err != nil {
		return nil, fmt.Errorf("revoke tasks: %w", err)
	}
	return o.Client.Revoke(ctx, r)
}

// Revoked returns the ids of the revoked tasks that are stored.
func (o *Operator) Revoked(ctx context.Context) (map[string]bool, error) {
	r, _, err := o.broker.Revoked(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("ask for revoked tasks: %w", err)
	}
	revoked := make(map[string]bool, len(r.IDs))
	for _, id := range r.IDs {
		revoked[id] = true
	}
	return revoked, nil
}
