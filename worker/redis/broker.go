package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Broker is a connection to one Redis database, as broker and result backend.
// Make one with New.
type Broker struct {
	cfg     Config
	addr    address
	log     *slog.Logger
	scripts *scripts
	keys    keys
	owner   string // id of this broker among the owners of claims

	connsMu sync.Mutex
	conns   *generation
	slots   chan struct{} // one for each connection of the pool
	masters masters       // what the Sentinels say, if there are any

	session worker.Session
	lists   []list // what is consumed, by step and then by queue

	claiming   sync.Mutex // one claim at a time
	epoch      int        // of the owner; a claim of an older one is refused
	registered bool       // the owner and its epoch are in Redis
	suspect    bool       // an earlier claim may have been carried out unseen
	number     int64
	turn       int // rotates the queues

	outMu sync.Mutex
	out   map[string]bool // claims that we answer for; true: being settled

	peekers []*peeker
	ready   chan struct{} // a message may be waiting
	polling bool          // the server cannot block without taking
	pollMu  sync.Mutex

	siblings map[string]identity // of other owners, as far as read
}

var _ worker.Broker = (*Broker)(nil)

// New checks cfg and makes a Broker. It does not dial: a server that is away
// is waited for.
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
		out:      map[string]bool{},
		ready:    make(chan struct{}, 1),
		slots:    make(chan struct{}, maxConns),
		siblings: map[string]identity{},
	}
	b.conns = b.newGeneration()
	return b, nil
}

// Close drops all connections. Only a Broker that Run was never called on
// needs it.
func (b *Broker) Close() error {
	return b.current().close()
}

// Consume implements [worker.Broker].
func (b *Broker) Consume(s worker.Session) error {
	b.session = s
	b.lists = b.lists[:0]
	b.peekers = nil
	for _, step := range b.cfg.PrioritySteps {
		for _, q := range s.Queues {
			l := list{queue: q, key: b.listKey(q, step)}
			b.lists = append(b.lists, l)
			b.peekers = append(b.peekers, newPeeker(b, l.key))
		}
	}
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

// Start implements [worker.Broker].
func (b *Broker) Start(ctx context.Context, d worker.Delivery, result *protocol.Result) (crashed int, err error) {
	value, key := []byte(nil), ""
	if result != nil {
		if value, err = protocol.EncodeResult(result); err != nil {
			return 0, fmt.Errorf("encode state %s: %w", result.Status, err)
		}
		key = b.keys.result(result.TaskID)
	}
	count, crashes := "0", ""
	if env, err := protocol.ParseEnvelope(d.Raw); err == nil && env.Redelivered {
		count, crashes = "1", b.keys.crashes(env.ID)
	}
	const notHeld = -1000
	n, err := b.scriptInt(ctx, b.scripts.start, 3, b.keys.unacked, key, crashes,
		d.Claim, value, b.resultExpires(), count)
	if err != nil {
		return 0, fmt.Errorf("start a task: %w", err)
	}
	if n == notHeld {
		b.forget(d.Claim)
		return 0, worker.ErrLost
	}
	return n, nil
}

// Held implements [worker.Broker].
func (b *Broker) Held(ctx context.Context, claim string) (bool, error) {
	var held bool
	err := b.do(ctx, func(c redigo.Conn) (err error) {
		held, err = redigo.Bool(c.Do("HEXISTS", b.keys.unacked, claim))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask for the claim: %w", err)
	}
	return held, nil
}

// Settle implements [worker.Broker].
func (b *Broker) Settle(ctx context.Context, s worker.Settlement) error {
	d := s.Delivery
	var result, publication, requeue, deadRaw, deadMeta []byte
	var resultKey, publishList, requeueList, deadID, crashes string
	success := "0"
	var err error
	if s.Result != nil {
		if result, err = protocol.EncodeResult(s.Result); err != nil {
			return fmt.Errorf("encode state %s: %w", s.Result.Status, err)
		}
		resultKey = b.keys.result(s.Result.TaskID)
		if s.Result.Status == protocol.StateSuccess {
			success = "1"
		}
	}
	if s.Publish != nil {
		publication = s.Publish.Raw
		publishList = b.listKey(s.Publish.Queue, s.Publish.Priority)
	}
	env, envErr := protocol.ParseEnvelope(d.Raw)
	if s.Requeue {
		requeue, requeueList = d.Raw, b.listKey(d.Queue, env.Priority)
	}
	if s.DeadLetter != "" {
		deadRaw, deadMeta, deadID = d.Raw, meta(d.Queue, s.DeadLetter), d.Claim
		if deadID == "" {
			deadID = uuid.NewString()
		}
	}
	if envErr == nil && env.Redelivered {
		crashes = b.keys.crashes(env.ID)
	}
	n, err := b.scriptInt(ctx, b.scripts.settle, 9,
		b.keys.unacked, b.keys.index, resultKey, publishList, requeueList,
		b.keys.dead, b.keys.deadMeta, b.keys.deadIndex, crashes,
		d.Claim, result, b.resultExpires(), success, publication, requeue,
		deadRaw, deadMeta, deadID, b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()))
	if err != nil {
		return fmt.Errorf("settle a delivery: %w", err)
	}
	b.forget(d.Claim)
	if n == 0 {
		return worker.ErrLost
	}
	return nil
}

// returnChunk bounds one script of Return.
const returnChunk = 100

// Return implements [worker.Broker].
func (b *Broker) Return(ctx context.Context, ds []worker.Delivery) error {
	ds = newestFirst(ds)
	for len(ds) > 0 {
		chunk := ds[:min(returnChunk, len(ds))]
		ds = ds[len(chunk):]
		keys, args := []any{b.keys.unacked, b.keys.index}, []any{}
		for _, d := range chunk {
			raw := d.Raw
			env, err := protocol.ParseEnvelope(raw)
			if err == nil {
				if raw, err = protocol.MarkRedelivered(raw); err != nil {
					raw = d.Raw
				}
			}
			keys = append(keys, b.listKey(d.Queue, env.Priority), b.keys.crashes(env.ID))
			args = append(args, d.Claim, raw)
		}
		if _, err := b.scriptInt(ctx, b.scripts.giveBack, len(keys), append(keys, args...)...); err != nil {
			return fmt.Errorf("give back messages: %w", err)
		}
		for _, d := range chunk {
			b.forget(d.Claim)
		}
	}
	return nil
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
