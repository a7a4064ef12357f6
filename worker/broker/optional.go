package broker

import (
	"context"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Backend publishes tasks and keeps their results. A client needs it, and so do
// tasks that publish others. Every method but Await returns within a deadline of its
// own.
type Backend interface {
	// Publish carries out changes that belong together. It does not complete chords:
	// only Settle does. The error is ErrLost when Changes.Claim is set and lost, and
	// ErrRepeated when changes with the name Changes.Once were carried out before.
	Publish(ctx context.Context, c Changes) error

	// Results returns the stored result of each id, nil where there is none.
	Results(ctx context.Context, ids []string) ([]*protocol.Result, error)

	// Await returns the result of a task once it is final, or the error of ctx.
	Await(ctx context.Context, id string) (*protocol.Result, error)

	// Forget removes results, and the structures of groups of these ids.
	Forget(ctx context.Context, ids []string) error

	// Group returns the saved structure of a group, {"result": result tuple}, nil if
	// there is none.
	Group(ctx context.Context, id string) (protocol.Raw, error)
}

// Revoker keeps revocations for all workers and across their restarts. Without it
// revocations reach only workers that run.
type Revoker interface {
	// Revoke stores what must not run any more. It stores REVOKED for each id whose
	// task has neither begun nor ended.
	Revoke(ctx context.Context, r Revocation) error

	// Revoked returns the revocations after the moment that since stands for, and the
	// value to ask with the next time. An empty since asks for all.
	Revoked(ctx context.Context, since string) (r Revocation, next string, err error)
}

// Emitter publishes events for monitors such as Flower. Without it there are none.
type Emitter interface {
	// Emit publishes events. It keeps nothing of them after it has returned.
	Emit(ctx context.Context, es ...Emission) error
}

// Remote carries remote control (kombu's pidbox) and the events of other workers.
// Messages may get lost on this way, so nothing that must not be lost depends on it.
// Every method but Listen and Ask returns within a deadline of its own. Without it the
// worker cannot be inspected or controlled.
type Remote interface {
	// Listen calls back for everything that arrives, from one goroutine, until ctx
	// ends. It connects again when the connection breaks, and returns nil.
	Listen(ctx context.Context, l Listening) error

	// Reply sends an answer to the caller of a request, if it still listens. Answers
	// that are not fetched are removed after a while.
	Reply(ctx context.Context, to protocol.ReplyTo, raw []byte) error

	// Ask broadcasts a request whose answers go to the given routing key. It calls
	// receive for each answer, until all receivers of the request have answered or ctx
	// ends.
	Ask(ctx context.Context, request []byte, routingKey string, receive func(raw []byte)) error

	// Broadcast publishes a request that wants no answer.
	Broadcast(ctx context.Context, request []byte) error
}

// QueueSet changes the consumed queues while the worker runs. Without it the
// commands add_consumer and cancel_consumer are refused.
type QueueSet interface {
	// AddQueue starts consuming a queue. It reports whether that was a change.
	AddQueue(ctx context.Context, queue string) (bool, error)
	// CancelQueue stops consuming a queue. It reports whether that was a change.
	CancelQueue(ctx context.Context, queue string) (bool, error)
}

// SecretKeeper holds a secret that all workers of a broker share. Without it each
// worker makes one for itself, and does not recognise tasks that others have run.
type SecretKeeper interface {
	// Secret returns some random bytes. The first call of all makes them.
	Secret(ctx context.Context) ([]byte, error)
}

// Depther counts waiting messages. Without it autoscaling sees only claimed ones.
type Depther interface {
	// Depth returns the number of messages in the consumed queues.
	Depth(ctx context.Context) (int, error)
}

// Describer describes the broker for "celery inspect stats".
type Describer interface {
	// Info returns the description. It does no I/O.
	Info() Info
}

// Faulter tells what is wrong with the server of a broker.
type Faulter interface {
	// Faults returns one sentence for each fault: what is wrong, what does not work, and
	// how to mend it. Such a fault does not stop the worker, and only a person can mend it.
	// It does no I/O.
	Faults() []string
	// Refusal returns the reply of a server that answers and can do nothing now, such as
	// "LOADING Redis is loading the dataset in memory", from an error of the broker. It returns
	// "" for other errors. The reply names no address and no secret.
	Refusal(err error) string
}

// Namer knows the names that no queue can have. A task whose callback names one is not
// published there: it fails.
type Namer interface {
	// QueueFault returns why queue is not the name of a queue, or "". It does no I/O.
	QueueFault(queue string) string
}

// Limiter holds rate limits that all workers share. Config.SharedRateLimits needs it.
type Limiter interface {
	// Take takes one token of a limit and returns 0, or takes none and returns the
	// time until the next one. every is the time between two tokens.
	Take(ctx context.Context, limit string, every time.Duration) (wait time.Duration, err error)
}

// Selector claims around messages that must stay in their queues. Without it a worker with
// held tasks claims nothing at all.
type Selector interface {
	// ClaimExcept claims as Claim does, but leaves the messages of tasks of these names in
	// their queues, in their order. The other messages keep their order where they were seen
	// together. Not all messages are looked at in each call: messages at both ends of a queue
	// are, and the others over time. Messages that cannot be read stay where they are, for a
	// later Claim to set them aside. When it claims nothing, the caller waits a moment.
	ClaimExcept(ctx context.Context, names []string, max int) ([]Delivery, error)
}

// Batcher settles many deliveries in few round trips. Without it the worker calls
// Settle for each.
type Batcher interface {
	// SettleAll settles deliveries as Settle does. Each settlement is plain
	// (Settlement.Plain), and its message was not delivered before. It returns one
	// error, or nil, for each settlement.
	SettleAll(ctx context.Context, ss []Settlement) []error
}

// Pipeliner claims messages in the round trip of a SettleAll. Without it the worker
// claims in a round trip of its own.
type Pipeliner interface {
	Batcher

	// ClaimAfter claims with the next SettleAll: one message for each settled
	// delivery, at most ends, plus max. A negative max is the number of deliveries
	// that must be settled before there is room for a message. ClaimAfter calls ready
	// when SettleAll may be called. asked is the number of messages that it asked for.
	// When asked is 0, after a millisecond at most, it claimed nothing and learned
	// nothing about the queues.
	ClaimAfter(ctx context.Context, max, ends int, ready func()) (ds []Delivery, asked int, err error)
}

// Marker keeps marks of tasks, each for some days. Without it the worker only asks whether
// the claim is held.
type Marker interface {
	// Mark sets a mark, and appends entries in the same step. It returns the value of the
	// mark that an earlier run has left, "" for none. The error is ErrLost when the claim
	// is lost. After any error the mark may be set: the same run may set it again. Without
	// a Value it only looks: it sets no mark and appends no entries.
	Mark(ctx context.Context, m Marking) (earlier string, err error)
}

// Marking sets the mark of a task.
type Marking struct {
	Mark
	// Claim must be held; "" for a message that was acknowledged before.
	Claim string
	// Run identifies the run. A run may set its mark several times. It gets the mark of
	// an earlier run each time, and repeating a value appends no entries.
	Run string
	// Alone leaves the mark of another run as it is: then Mark only returns it.
	Alone bool
	// Entries need an Outbox.
	Entries []Entry
}

// Outbox keeps the entries of settlements in streams, in their order, until a reader
// removes them. A stream is bounded: when it is full, its oldest entries are dropped and
// counted. An entry that cannot be appended is dropped and counted as well, and the task
// is settled all the same. Without an Outbox tasks record nothing.
type Outbox interface {
	// Oldest returns the oldest entries of a stream, at most max. They stay in the stream.
	Oldest(ctx context.Context, stream string, max int) ([]Recorded, error)
	// Remove removes entries by their ids. Ids that are not there are skipped.
	Remove(ctx context.Context, stream string, ids []string) error
	// Backlog describes a stream.
	Backlog(ctx context.Context, stream string) (Backlog, error)
}

// Recorded is an entry of a stream.
type Recorded struct {
	ID     string    // unique in its stream; stays the same until the entry is removed
	At     time.Time // when it was appended
	Fields []string
}

// Backlog describes a stream.
type Backlog struct {
	Length  int       // entries that wait for the reader
	Oldest  time.Time // when the oldest one was appended; zero without entries
	Dropped int64     // entries that were lost since the stream began
}

// Capabilities holds the optional interfaces of a broker or backend. A field is nil
// where the implementation lacks the interface.
type Capabilities struct {
	Backend   Backend
	Revoker   Revoker
	Emitter   Emitter
	Remote    Remote
	QueueSet  QueueSet
	Secrets   SecretKeeper
	Depther   Depther
	Describer Describer
	Faulter   Faulter
	Namer     Namer
	Limiter   Limiter
	Admitter  Admitter
	Leaser    Leaser
	Selector  Selector
	Board     Board
	Batcher   Batcher
	Pipeliner Pipeliner
	Marker    Marker
	Outbox    Outbox
}

// CapabilitiesOf returns the optional interfaces that b implements.
func CapabilitiesOf(b any) (c Capabilities) {
	c.Backend, _ = b.(Backend)
	c.Revoker, _ = b.(Revoker)
	c.Emitter, _ = b.(Emitter)
	c.Remote, _ = b.(Remote)
	c.QueueSet, _ = b.(QueueSet)
	c.Secrets, _ = b.(SecretKeeper)
	c.Depther, _ = b.(Depther)
	c.Describer, _ = b.(Describer)
	c.Faulter, _ = b.(Faulter)
	c.Namer, _ = b.(Namer)
	c.Limiter, _ = b.(Limiter)
	c.Admitter, _ = b.(Admitter)
	c.Leaser, _ = b.(Leaser)
	c.Selector, _ = b.(Selector)
	c.Board, _ = b.(Board)
	c.Batcher, _ = b.(Batcher)
	c.Pipeliner, _ = b.(Pipeliner)
	c.Marker, _ = b.(Marker)
	c.Outbox, _ = b.(Outbox)
	return c
}

// Revocation names tasks that must not run any more.
type Revocation struct {
	IDs []string
	// Stamps revoke all tasks that carry one of these values under the name of a
	// stamped header. A value is JSON.
	Stamps map[string][]protocol.Raw
}

// Listening holds the callbacks of Remote.Listen.
type Listening struct {
	// Node is the node name. Peers find it in the list of listeners.
	Node string
	// Joined is called whenever messages begin to arrive, again after a break.
	Joined func()
	// Request receives remote control requests; nil: do not listen for them.
	Request func(raw []byte)
	// Event receives the events of workers, our own included; nil: do not listen for
	// them.
	Event func(raw []byte)
	// TaskEvents has Event receive the events of tasks, too, alone or in batches.
	TaskEvents bool
}

// Emission is an event, or a batch of events, to be published.
type Emission struct {
	RoutingKey string
	Raw        []byte
}

// Info describes a broker as "celery inspect stats" shows it.
type Info struct {
	Transport, Hostname, UserID, VirtualHost string
	Port                                     int
	TLS                                      bool
	URL                                      string // without its password
	ConnectTimeout                           time.Duration
}
