package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/order"
	"github.com/evently/workers/worker/redis/internal/shape"
)

// claimBytes bounds the messages that one claim brings into memory. The message that
// reaches it is still claimed.
const claimBytes = 8 << 20

// claimer claims messages of the consumed queues, one claim at a time.
type claimer struct {
	*server
	consumer *consumer
	held     *holdings
	leases   *leases
	recovery *recovery
	pipeline *pipeline
	waiter   *waiter

	mu         sync.Mutex
	consuming  bool     // Consume was called
	queues     []string // consumed now
	lists      []list   // of the queues, sorted by step, then in the order of choice
	choice     order.Choice
	registered bool              // the owner and its epoch are in Redis
	suspect    bool              // Redis may have carried out an earlier claim whose reply got lost
	number     int64             // of the next claim
	brokenAt   time.Time         // of the last report of unreadable lists
	refused    []broker.Delivery // messages that the current claim moved to the dead letters
	ahead      ahead
	rivals     rivals
	shapes     shape.Shapes
	selection  selection
	entries    []byte // of the messages of a claim; reused
	patience   patience
}

func newClaimer(s *server, c *consumer, held *holdings, l *leases, r *recovery, p *pipeline, w *waiter) *claimer {
	return &claimer{server: s, consumer: c, held: held, leases: l, recovery: r, pipeline: p, waiter: w, patience: patience{look: lookLife, pipeline: pipelineWait}}
}

// claim moves up to max messages to the unacked set.
func (cl *claimer) claim(ctx context.Context, max int) ([]broker.Delivery, error) {
	ds, refused, err := cl.claimNext(ctx, max)
	for _, d := range refused {
		cl.consumer.refused(ctx, d)
	}
	return ds, err
}

// claimNext returns the claimed messages, and the ones that have become dead letters.
func (cl *claimer) claimNext(ctx context.Context, max int) (ds, refused []broker.Delivery, err error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if err := cl.prepare(ctx); err != nil || len(cl.lists) == 0 { // the last queue was cancelled
		return nil, nil, err
	}
	defer func() { refused, cl.refused = cl.refused, nil }()
	if many(cl.lists) {
		ds, err = cl.claimOfMany(ctx, max)
	} else {
		ds, err = cl.claimNow(ctx, max)
	}
	return ds, nil, err
}

// prepare registers the owner before its first claim, and after a claim whose reply got lost.
// cl.mu must be held.
func (cl *claimer) prepare(ctx context.Context) error {
	switch {
	case !cl.consuming:
		return errNotConsuming
	case len(cl.lists) == 0 || cl.registered && !cl.suspect:
		return nil
	}
	if err := cl.register(ctx); err != nil {
		return fmt.Errorf("register as owner of claims: %w", err)
	}
	return nil
}

// claimNow claims from cl.lists. cl.mu must be held.
func (cl *claimer) claimNow(ctx context.Context, max int) ([]broker.Delivery, error) {
	ds, verdicts, err := cl.claimAhead(ctx, max)
	if err != nil || len(ds) > 0 {
		return ds, err
	}
	for judged := false; ; judged = true {
		c, err := cl.claimUnread(ctx, max, verdicts)
		if err != nil {
			return nil, fmt.Errorf("claim messages: %w", err)
		}
		cl.reportBroken(c.broken)
		if len(c.dead) > 0 {
			cl.suspectKeys()
			cl.letters.Tidy()
		}
		for _, v := range c.dead {
			cl.consumer.deadLettered(cl.lists[v.list-1].queue, v.text)
		}
		cl.refused = append(cl.refused, c.refused...)
		switch {
		case len(c.deliveries) > 0 || len(c.dead) > 0:
			return c.deliveries, nil
		case len(c.unsure) == 0 || judged:
			return nil, cl.allBroken(c.broken)
		}
		// The script was unsure about all messages. Judge them and claim again at once.
		// Another worker may have claimed them meanwhile.
		verdicts = cl.judge(c.unsure)
	}
}

// claimed is the reply of claim.lua.
type claimed struct {
	deliveries []broker.Delivery
	lists      []int             // of the deliveries, from 1
	dead       []verdict         // reasons of dead letters
	refused    []broker.Delivery // the dead letters, to be answered
	unsure     []unsure
	broken     []verdict // errors of lists
	marks      []int     // of the queues, for the next claim
}

// unsure is a message that the script could not judge, and its list, by its number from 1.
type unsure struct {
	list int
	raw  []byte
}

// verdict is a text of the script about a list, by its number from 1.
type verdict struct {
	list int
	text string
}

// claimUnread runs claim.lua, which reads the messages. verdicts are those of judge.
func (cl *claimer) claimUnread(ctx context.Context, max int, verdicts []any) (claimed, error) {
	keys, args := cl.claimCall(max, verdicts)
	cl.number += int64(max) // whatever the reply is: a claim is never used twice
	reply, err := redigo.Values(cl.script(ctx, cl.scripts.Claim, len(keys), append(keys, args...)...))
	if err != nil {
		cl.noteFailure(err)
		return claimed{}, err
	}
	c, err := readClaimed(reply, cl.lists)
	if err == nil && !cl.choice.Set(c.marks) {
		err = errNotUnderstood
	}
	if err != nil {
		cl.suspect = true
		return claimed{}, err
	}
	if n := len(c.deliveries); n > 0 {
		cl.shapes.Learn(c.deliveries[n-1].Raw)
	}
	cl.expect(c, max)
	cl.held.add(c.deliveries)
	return c, nil
}

// claimCall returns the keys and arguments of claim.lua. TestArguments compares their order.
func (cl *claimer) claimCall(max int, verdicts []any) (keys, args []any) {
	keys = []any{cl.keys.unacked, cl.keys.index, cl.keys.owner(cl.consumer.id), cl.keys.dead, cl.keys.deadMeta, cl.keys.deadIndex}
	for _, l := range cl.lists {
		keys = append(keys, l.key)
	}
	args = []any{cl.consumer.epoch.Load(), cl.consumer.claimPrefix(), cl.number, max, cl.cfg.MaxMessageSize, claimBytes,
		cl.cfg.DeadLettersMax, cl.deadLettersAge(), cl.keys.crashesPrefix()}
	return keys, slices.Concat(args, cl.choice.Args(), cl.shapes.Args(), verdicts)
}

// noteFailure notes a claim without a reply.
func (cl *claimer) noteFailure(err error) {
	if conn.HasCode(err, "STALECLAIM") {
		cl.registered = false // Redis has lost the owner
	} else {
		cl.suspect = true // Redis may have carried it out
	}
}

// readClaimed reads the reply of claim.lua.
func readClaimed(reply []any, lists []list) (c claimed, err error) {
	if len(reply) != 5 {
		return c, errNotUnderstood
	}
	var rows [4][]any
	for i := range rows {
		if rows[i], err = redigo.Values(reply[i], nil); err != nil {
			return c, errors.Join(errNotUnderstood, err)
		}
	}
	if c.marks, err = redigo.Ints(reply[4], nil); err != nil {
		return c, errors.Join(errNotUnderstood, err)
	}
	scan := func(row any, dst ...any) {
		cols, e := redigo.Values(row, nil)
		if e == nil {
			_, e = redigo.Scan(cols, dst...)
		}
		err = errors.Join(err, e)
	}
	for _, row := range rows[0] {
		var d broker.Delivery
		var n int
		scan(row, &d.Claim, &n, &d.Raw, &d.Crashes)
		if n < 1 || n > len(lists) {
			return c, errNotUnderstood
		}
		d.Queue = lists[n-1].queue
		c.deliveries, c.lists = append(c.deliveries, d), append(c.lists, n)
	}
	for _, row := range rows[1] {
		var claim string
		var v verdict
		var raw []byte
		scan(row, &claim, &v.list, &v.text, &raw)
		if v.list < 1 || v.list > len(lists) {
			return c, errNotUnderstood
		}
		c.dead = append(c.dead, v)
		c.refused = append(c.refused, broker.Delivery{
			Queue: lists[v.list-1].queue, Raw: raw, Refused: &broker.Refusal{Reason: v.text, Letter: claim},
		})
	}
	for _, row := range rows[2] {
		var u unsure
		scan(row, &u.list, &u.raw)
		if u.list < 1 || u.list > len(lists) {
			return c, errNotUnderstood
		}
		c.unsure = append(c.unsure, u)
	}
	for _, row := range rows[3] {
		var v verdict
		scan(row, &v.list, &v.text)
		if v.list < 1 || v.list > len(lists) {
			return c, errNotUnderstood
		}
		c.broken = append(c.broken, v)
	}
	return c, err
}

// judge parses messages that the script could not judge. It returns each message with its
// reason for the dead letters, and with a completed message. The reason is "" for a message
// that a Python worker could put back; other faults of it are for the engine. The completed
// message has the parts that its producer has left out, or is "" when none is missing. It is
// entered instead of the message, so that a Python worker could put it back.
func (cl *claimer) judge(all []unsure) []any {
	decoder := cl.consumer.decoder()
	decoder.Limits.Size = cl.cfg.MaxMessageSize
	verdicts := make([]any, 0, 3*len(all))
	for _, u := range all {
		var whole []byte
		err := protocol.Restorable(u.raw)
		if err != nil {
			whole = cl.completed(&decoder, u)
		}
		if whole != nil {
			err = nil
		} else if err != nil {
			if _, more := decoder.Decode(u.raw); more != nil {
				err = more // the more precise error
			}
		}
		verdicts = append(verdicts, u.raw, reasonOf(err), whole)
	}
	return verdicts
}

// completed returns a message with its missing parts, nil when it could not run even so.
func (cl *claimer) completed(decoder *protocol.Decoder, u unsure) []byte {
	return cl.completedIn(decoder, u.raw, cl.lists[u.list-1].queue)
}

// completedIn returns a message of a queue with its missing parts, nil when it could not run
// even so.
func (cl *claimer) completedIn(decoder *protocol.Decoder, raw []byte, queue string) []byte {
	whole, err := protocol.Complete(raw, queue, uuid.NewString())
	if err == nil {
		_, err = decoder.Decode(whole)
	}
	if err != nil {
		return nil
	}
	return whole
}

func reasonOf(err error) string {
	if de, ok := errors.AsType[*protocol.DecodeError](err); ok {
		return string(de.Reason)
	}
	return ""
}

// reportBroken logs unreadable lists, such as keys of another type, once in ten seconds.
func (cl *claimer) reportBroken(broken []verdict) {
	if len(broken) == 0 {
		return
	}
	cl.suspectKeys()
	if time.Since(cl.brokenAt) < 10*time.Second {
		return
	}
	cl.brokenAt = time.Now()
	for _, v := range broken {
		cl.log.Error("queue skipped: its list cannot be read", "key", cl.lists[v.list-1].key, "error", v.text)
	}
}

// allBroken returns an error when no list can be read. One of several lists only costs its
// own messages, and Faults reports it.
func (cl *claimer) allBroken(broken []verdict) error {
	if len(broken) < len(cl.lists) {
		return nil
	}
	v := broken[0]
	return fmt.Errorf("claim messages: %s: %s", cl.lists[v.list-1].key, v.text)
}
