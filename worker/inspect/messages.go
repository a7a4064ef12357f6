package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Source reads what waits in queues, and what workers hold. The Queues of worker/redis are one.
type Source interface {
	// Lists returns the lists of queues, the most urgent one of each queue first.
	Lists(queues ...string) []broker.QueueList
	// Peek returns up to n messages of one end of a list, without taking them.
	Peek(ctx context.Context, list broker.QueueList, newest bool, n int) ([]broker.QueuedMessage, error)
	// Claims returns some claims of held messages, and where to go on.
	Claims(ctx context.Context, cursor string) (claims []string, next string, err error)
	// Held reads held messages.
	Held(ctx context.Context, claims []string) ([]broker.HeldMessage, error)
	// RunNow puts a message that waits for its time back to the front of its queue.
	RunNow(ctx context.Context, claim string) error
}

// Message is what may be shown of a message: its secrets are hidden.
type Message struct {
	ID, Task, Queue string
	RootID          string
	Priority        int
	Size            int
	Retries         int // attempts made before
	ETA, Expires    time.Time
	Args, Kwargs    string // as Python shows them, secrets hidden
	Redelivered     bool
	// Unreadable tells why the message cannot be read, "" for a readable one.
	Unreadable string
}

// shownBytes bounds the arguments of a message that is shown.
const shownBytes = 400

// Presenter shows messages without their secrets.
type Presenter struct{ present *present.Presenter }

// NewPresenter returns a Presenter. redact are further names of secrets. Of a task that known
// does not accept, and of one whose arguments are secret, all texts and numbers without a name
// are hidden.
func NewPresenter(names []string, known func(task string) (secret, ok bool)) *Presenter {
	return &Presenter{present.New(redact.New(names...), func(task string) present.Rules {
		secret, ok := known(task)
		return present.Rules{Secret: secret || !ok}
	})}
}

// Message shows a message of a queue.
func (p *Presenter) Message(queue string, q broker.QueuedMessage) Message {
	shown := Message{Queue: queue, Size: q.Size}
	if q.Raw == nil {
		shown.Unreadable = "it is too large to be shown"
		return shown
	}
	decoder := protocol.Decoder{Limits: protocol.Limits{Size: 2 * max(len(q.Raw), protocol.DefaultSize)}, Accept: protocol.Serializers()}
	m, err := decoder.Decode(q.Raw)
	if err != nil {
		shown.Unreadable = "it cannot be read, and becomes a dead letter"
		if e, err := protocol.ParseEnvelope(q.Raw); err == nil {
			shown.ID, shown.Task, shown.Retries, shown.Priority = bounded(e.ID), bounded(e.Task), e.Retries, e.Priority
		}
		return shown
	}
	a := p.present.Arguments(m, shownBytes)
	shown.ID, shown.Task, shown.RootID = bounded(m.ID), bounded(p.present.Name(m)), bounded(m.RootID)
	shown.Priority, shown.Retries, shown.ETA, shown.Expires, shown.Redelivered = m.Priority, m.Retries, m.ETA, m.Expires, m.Redelivered
	shown.Args, shown.Kwargs = bounded(a.ArgsRepr), bounded(a.KwargsRepr)
	return shown
}

// Peek returns up to n messages of each list of a queue, without taking them: the ones that
// are taken next, or with newest the ones that were published last. The most urgent list comes
// first.
func (p *Presenter) Peek(ctx context.Context, s Source, queue string, newest bool, n int) (lists []PeekedList, err error) {
	for _, l := range s.Lists(queue) {
		found, err := s.Peek(ctx, l, newest, n)
		if err != nil {
			return nil, fmt.Errorf("peek: %w", err)
		}
		peeked := PeekedList{Priority: l.Priority}
		for _, q := range found {
			peeked.Messages = append(peeked.Messages, p.Message(queue, q))
		}
		lists = append(lists, peeked)
	}
	return lists, nil
}

// PeekedList is a part of the list of one priority.
type PeekedList struct {
	Priority int
	Messages []Message
}
