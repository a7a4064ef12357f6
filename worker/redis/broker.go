package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Broker is a connection to one Redis database, as broker and result backend.
// Make one with New. It consumes for one worker, and that once, as its claims
// are known by its own id: each worker needs a Broker of its own. Any number of
// Clients may publish through it.
type Broker struct {
	cfg     Config
	addr    address
	log     *slog.Logger
	scripts *scripts
	keys    keys
	owner   string // id of this broker among the owners of claims

	connsMu sync.Mutex
	conns   *generation
	open    openConns
	slots   chan struct{} // one for each connection of the pool
	masters masters       // what the Sentinels say, if there are any

	taken   atomic.Bool // a worker consumes with it, or has
	session broker.Session
	lists   []list // what is consumed, by step and then by queue
	choice  choice // between the queues

	claiming   sync.Mutex   // one claim at a time
	epoch      atomic.Int64 // of the owner; a claim of an older one is refused
	registered bool         // the owner and its epoch are in Redis
	suspect    bool         // an earlier claim may have been carried out unseen
	number     int64
	brokenAt   time.Time         // a list that cannot be read was told of
	refused    []broker.Delivery // what the claim in progress has moved to the dead letters
	ahead      ahead
	rivals     rivals
	shapes     shapes
	entered    []byte // of the messages of a claim; memory that is used again

	starts    company[starting, int]
	rides     rides // claims that go along with deliveries that end
	announcer *announcer

	outMu sync.Mutex
	out   map[string]struct{} // claims that we answer for

	peekers   peekers
	ready     chan struct{} // a message may be waiting
	pause     atomic.Int64  // between two looks into many empty lists; 0: they are waited for
	pollUntil time.Time     // until then the server cannot block without taking
	pollMu    sync.Mutex
	waitFault atomic.Pointer[error] // why waiting did not work, to be told once

	lastBeat     atomic.Pointer[time.Time] // our own heartbeat, when it was sent
	late         chan struct{}             // capacity 1: one makes up for a late one
	judgeAfter   atomic.Pointer[time.Time] // until then nobody is called silent
	silentOwners atomic.Pointer[[]string]
	siblings     map[string]identity // of other owners, as far as read; of the recovery alone

	listener *listener // for results

	faultsMu  sync.Mutex
	keyFaults []string    // keys of another type
	noReindex atomic.Bool // the rights are missing
}

var _ broker.Broker = (*Broker)(nil)

// New checks cfg and makes a Broker, for one worker and one run of it. It does
// not dial: a server that is away is waited for.
func New(cfg Config) (*Broker, error) {
	cfg, addr, err := cfg.normalise()
	if err != nil {
		return nil, err
	}
	s, err := loadScripts()
	if err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, addr: addr, log: cfg.Logger, scripts: s,
		keys:     newKeys(cfg.KeyPrefix, cfg.ResultKeyPrefix),
		owner:    uuid.NewString(),
		out:      map[string]struct{}{},
		ready:    make(chan struct{}, 1),
		slots:    make(chan struct{}, maxConns),
		late:     make(chan struct{}, 1),
		siblings: map[string]identity{},
	}
	b.conns = b.newGeneration()
	b.listener = newListener(b)
	b.announcer = newAnnouncer()
	b.starts.carry, b.starts.size = b.beginAll, func(s starting) int { return len(s.value) }
	return b, nil
}

// Close drops all connections and waits for what listens for results. Only a
// Broker that Run was never called on needs it.
func (b *Broker) Close() error {
	b.listener.close()
	return b.current().close()
}

// Consume implements [broker.Broker]. The second call is an error.
func (b *Broker) Consume(s broker.Session) error {
	if err := b.cfg.checkWeights(s.Queues); err != nil {
		return fmt.Errorf("redis broker: %w", err)
	}
	for _, q := range s.Queues {
		if fault := b.QueueFault(q); fault != "" {
			return fmt.Errorf("redis broker: %q is not the name of a queue: %s", q, fault)
		}
	}
	if b.taken.Swap(true) {
		return errors.New("redis broker: it serves a worker already, or has served one: make a Broker of its own for each worker")
	}
	b.claiming.Lock()
	defer b.claiming.Unlock()
	b.session = s
	b.setQueues(slices.Clone(s.Queues))
	return nil
}

// list is one Redis list of a queue.
type list struct{ queue, key string }

// listKey names the list of a queue for a priority, as kombu does: the largest
// step that is not above it, and no suffix for the first.
func (b *Broker) listKey(queue string, priority int) string {
	step := 0
	for _, s := range b.cfg.PrioritySteps {
		if s <= priority {
			step = s
		}
	}
	if step == 0 {
		return b.cfg.KeyPrefix + queue
	}
	return b.cfg.KeyPrefix + queue + b.cfg.Separator + strconv.Itoa(step)
}

// Start implements [broker.Broker].
func (b *Broker) Start(ctx context.Context, d broker.Delivery, st broker.Start) (broker.Started, error) {
	var started broker.Started
	var value []byte
	if st.Result != nil {
		var err error
		if value, err = protocol.EncodeResult(st.Result); err != nil {
			return started, fmt.Errorf("encode state %s: %w", st.Result.Status, err)
		}
		if !deliveredBefore(d.Raw, d.Message) {
			return started, b.begin(ctx, starting{claim: d.Claim, key: b.keys.result(st.Result.TaskID), value: value})
		}
	}
	env, envErr := protocol.ParseEnvelope(d.Raw)
	look, stored, crashes := "0", "0", b.keys.unacked
	var base, score, id, entry string
	if envErr == nil && env.Redelivered {
		look, crashes = "1", b.keys.crashes(env.ID)
		if st.Stored {
			stored = "1"
		}
		if m := st.Member; m != nil {
			base, score, id, entry = b.keys.chordBase(m.GroupID), m.Score, m.TaskID, string(m.JSON)
		}
	}
	reply, err := redigo.Values(b.script(ctx, b.scripts.start, 3, b.keys.unacked, b.keys.result(env.ID), crashes,
		d.Claim, value, b.resultExpires(), look, stored, base, score, id, entry))
	var counted, success string
	if err == nil {
		_, err = redigo.Scan(reply, &started.Crashed, &counted, &success)
	}
	if err != nil {
		return started, fmt.Errorf("start a task: %w", err)
	}
	const notHeld = -1000
	if started.Crashed == notHeld {
		b.forget(d.Claim)
		return started, broker.ErrLost
	}
	started.Counted = counted == "1"
	if success != "" {
		if started.Success, err = protocol.DecodeResult([]byte(success)); err != nil {
			return started, fmt.Errorf("read the result of an earlier run: %w", err)
		}
	}
	return started, nil
}

// returnChunk bounds one script of Return.
const returnChunk = 250

// Return implements [broker.Broker].
func (b *Broker) Return(ctx context.Context, ds []broker.Delivery) error {
	ds = newestFirst(ds)
	for len(ds) > 0 {
		chunk := ds[:min(returnChunk, len(ds))]
		ds = ds[len(chunk):]
		rs := make([]returned, len(chunk))
		for i, d := range chunk {
			r := returned{claim: d.Claim, raw: d.Raw, queue: d.Queue}
			if env, err := protocol.ParseEnvelope(d.Raw); err == nil {
				r.priority, r.crashes, r.first = env.Priority, b.keys.crashes(env.ID), !env.Redelivered
				if raw, err := protocol.MarkRedelivered(d.Raw); err == nil {
					r.raw = raw
				}
			}
			rs[i] = r
		}
		if _, err := b.giveBack(ctx, rs); err != nil {
			return err
		}
		for _, d := range chunk {
			b.forget(d.Claim)
		}
	}
	return nil
}

// returned is one message on its way back to the front of its list.
type returned struct {
	claim, queue string
	priority     int
	raw          []byte
	crashes      string // key of the count of its crashes, "" for none
	first        bool   // it had not been delivered before
}

func (b *Broker) giveBack(ctx context.Context, rs []returned) (int, error) {
	keys := []any{b.keys.unacked, b.keys.index, b.keys.dead, b.keys.deadMeta, b.keys.deadIndex}
	args := []any{b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds())}
	for _, r := range rs {
		first := "0"
		if r.first {
			first = "1"
		}
		keys = append(keys, b.listKey(r.queue, r.priority), b.orNone(r.crashes))
		args = append(args, r.claim, r.raw, meta(r.queue, "queue cannot be written"), first)
	}
	n, err := b.scriptInt(ctx, b.scripts.giveBack, len(keys), append(keys, args...)...)
	if err != nil {
		return 0, fmt.Errorf("give back messages: %w", err)
	}
	return n, nil
}

// orNone stands in for a key that a script has no use for: an empty one would
// need a permission of its own.
func (b *Broker) orNone(key string) string {
	if key == "" {
		return b.keys.unacked
	}
	return key
}

// forget takes a claim off the list of what is renewed; it reports whether it
// was on it.
func (b *Broker) forget(claim string) bool {
	b.outMu.Lock()
	defer b.outMu.Unlock()
	_, ok := b.out[claim]
	delete(b.out, claim)
	return ok
}

// resultExpires is in whole seconds, 0 for never.
func (b *Broker) resultExpires() int {
	if b.cfg.ResultExpires < 0 {
		return 0
	}
	return max(1, int(math.Round(b.cfg.ResultExpires.Seconds())))
}

var errNotConsuming = errors.New("redis broker: Consume was not called")
