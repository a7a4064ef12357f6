package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// claimBytes bounds what one claim brings into memory; the message that
// reaches it still comes along.
const claimBytes = 8 << 20

// Claim implements [broker.Broker].
func (b *Broker) Claim(ctx context.Context, max int) ([]broker.Delivery, error) {
	ds, refused, err := b.claimNext(ctx, max)
	if b.session.Refused != nil {
		for _, d := range refused {
			b.session.Refused(ctx, d)
		}
	}
	return ds, err
}

// claimNext returns the claimed messages, and the ones that have become dead letters.
func (b *Broker) claimNext(ctx context.Context, max int) (ds, refused []broker.Delivery, err error) {
	b.claiming.Lock()
	defer b.claiming.Unlock()
	if b.session.Node == "" {
		return nil, nil, errNotConsuming
	}
	if len(b.lists) == 0 {
		return nil, nil, nil // the last queue was cancelled
	}
	if !b.registered || b.suspect {
		if err := b.register(ctx); err != nil {
			return nil, nil, fmt.Errorf("register as owner of claims: %w", err)
		}
	}
	defer func() { refused, b.refused = b.refused, nil }()
	if many(b.lists) {
		ds, err = b.claimOfMany(ctx, func() ([]broker.Delivery, error) { return b.claimNow(ctx, max) })
	} else {
		ds, err = b.claimNow(ctx, max)
	}
	return ds, nil, err
}

// claimNow claims from the lists; b.claiming is held.
func (b *Broker) claimNow(ctx context.Context, max int) ([]broker.Delivery, error) {
	ds, verdicts, err := b.claimAhead(ctx, max)
	if err != nil || len(ds) > 0 {
		return ds, err
	}
	for judged := false; ; judged = true {
		c, err := b.claim(ctx, max, verdicts)
		if err != nil {
			return nil, fmt.Errorf("claim messages: %w", err)
		}
		b.reportBroken(c.broken)
		b.reportDead(c.dead)
		b.refused = append(b.refused, c.refused...)
		switch {
		case len(c.deliveries) > 0 || len(c.dead) > 0:
			return c.deliveries, nil
		case len(c.unsure) == 0 || judged:
			return nil, b.allBroken(c.broken)
		}
		// Nothing but what the script was not sure about: look, and come back at
		// once. Who was quicker meanwhile may have it.
		verdicts = b.judge(c.unsure)
	}
}

// claimed is the answer of claim.lua.
type claimed struct {
	deliveries []broker.Delivery
	lists      []int             // that they come from, from 1
	dead       []verdict         // reasons of dead letters
	refused    []broker.Delivery // the dead letters, to be answered
	unsure     []unsure
	broken     []verdict // errors of lists
	marks      []int     // of the queues, for the next claim
}

// unsure is a message that the script is not sure about, and its list, by its number
// from 1.
type unsure struct {
	list int
	raw  []byte
}

// verdict is what the script says of a list, by its number from 1.
type verdict struct {
	list int
	text string
}

func (b *Broker) claim(ctx context.Context, max int, verdicts []any) (claimed, error) {
	keys := []any{b.keys.unacked, b.keys.index, b.keys.owner(b.owner), b.keys.dead, b.keys.deadMeta, b.keys.deadIndex}
	args := []any{b.epoch.Load(), b.claimPrefix(), b.number, max, b.cfg.MaxMessageSize, claimBytes,
		b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()), b.keys.crashesPrefix()}
	for _, l := range b.lists {
		keys = append(keys, l.key)
	}
	args = slices.Concat(args, b.choice.args(), b.shapes.args(), verdicts)
	b.number += int64(max) // whatever comes back: a name is never given twice
	reply, err := redigo.Values(b.script(ctx, b.scripts.claim, len(keys), append(keys, args...)...))
	if err != nil {
		b.claimFailed(err)
		return claimed{}, err
	}
	c, err := readClaimed(reply, b.lists)
	if err == nil && len(c.marks) != len(b.choice.queues) {
		err = errNotUnderstood
	}
	if err != nil {
		b.suspect = true
		return claimed{}, err
	}
	b.choice.marks = c.marks
	b.shapes.learn(c.deliveries)
	b.expect(c, max)
	b.holds(c.deliveries)
	return c, nil
}

// claimFailed notes a claim without an answer.
func (b *Broker) claimFailed(err error) {
	if hasCode(err, "STALECLAIM") {
		b.registered = false // Redis lost what it knew of us
	} else {
		b.suspect = true // it may have been carried out
	}
}

// holds notes what is in our hands.
func (b *Broker) holds(ds []broker.Delivery) {
	b.outMu.Lock()
	defer b.outMu.Unlock()
	for _, d := range ds {
		b.out[d.Claim] = struct{}{}
	}
}

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
		c.broken = append(c.broken, v)
	}
	for _, v := range c.broken {
		if v.list < 1 || v.list > len(lists) {
			return c, errNotUnderstood
		}
	}
	return c, err
}

// judge looks with a complete parser at what the script was not sure about, and
// returns each message with the reason for the dead letters, or "" when a Python
// worker could put it back: then the engine says what else is wrong with it. The third
// of each is the message with the parts that its producer has left out, "" when it
// lacks none: it can be run, and is entered in a form that a Python worker can put back.
func (b *Broker) judge(all []unsure) []any {
	decoder := b.session.Decoder
	decoder.Limits.Size = b.cfg.MaxMessageSize
	verdicts := make([]any, 0, 3*len(all))
	for _, u := range all {
		var whole []byte
		err := protocol.Restorable(u.raw)
		if err != nil {
			whole = b.completed(&decoder, u)
		}
		if whole != nil {
			err = nil
		} else if err != nil {
			if _, more := decoder.Decode(u.raw); more != nil {
				err = more // of the two the one that tells more
			}
		}
		verdicts = append(verdicts, u.raw, reasonOf(err), whole)
	}
	return verdicts
}

// completed returns a message with what it lacks, nil when it cannot be run with that
// either.
func (b *Broker) completed(decoder *protocol.Decoder, u unsure) []byte {
	whole, err := protocol.Complete(u.raw, b.lists[u.list-1].queue, uuid.NewString())
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

func (b *Broker) reportDead(dead []verdict) {
	if b.session.DeadLettered == nil {
		return
	}
	for _, v := range dead {
		b.session.DeadLettered(b.lists[v.list-1].queue, v.text)
	}
}

// reportBroken tells of lists that cannot be read, such as a key of another type,
// once in ten seconds. The others go on.
func (b *Broker) reportBroken(broken []verdict) {
	if len(broken) == 0 || time.Since(b.brokenAt) < 10*time.Second {
		return
	}
	b.brokenAt = time.Now()
	for _, v := range broken {
		b.log.Error("a queue cannot be read and is passed over", "key", b.lists[v.list-1].key, "error", v.text)
	}
}

// allBroken is an error when no list can be read. One of several costs its own messages
// alone, and Faults tells of it.
func (b *Broker) allBroken(broken []verdict) error {
	if len(broken) < len(b.lists) {
		return nil
	}
	v := broken[0]
	return fmt.Errorf("claim messages: %s: %s", b.lists[v.list-1].key, v.text)
}

// claimDigits is the width of the number in a claim; the scripts say why.
const claimDigits = 28

// claimPrefix begins the claims of this owner. What follows is a number of
// fixed width, so that their order is that of the text.
func (b *Broker) claimPrefix() string { return b.owner + ":" }

func (b *Broker) claimName(number int64) string {
	name := append(append(make([]byte, 0, 80), b.owner...), ':')
	digits := strconv.AppendInt(make([]byte, 0, 20), number, 10)
	for range claimDigits - len(digits) {
		name = append(name, '0')
	}
	return string(append(name, digits...))
}

// ownerOf returns the owner of a claim; ok is false for one of Python's.
func ownerOf(claim string) (owner string, ok bool) {
	owner, number, ok := strings.Cut(claim, ":")
	return owner, ok && len(owner) == 36 && len(number) >= 12 // as many as there were once
}

func newestFirst(ds []broker.Delivery) []broker.Delivery {
	ds = slices.Clone(ds)
	slices.SortFunc(ds, func(a, b broker.Delivery) int { return cmp.Compare(b.Claim, a.Claim) })
	return ds
}

// register makes this broker known as the owner of claims, under a new epoch.
// A claim script of an older epoch that is still on its way, in a connection
// that hangs, refuses to run from here on; what such scripts have taken unseen
// goes back into its queue.
func (b *Broker) register(ctx context.Context) error {
	next := b.epoch.Load() + 1
	if err := b.enrol(ctx, next); err != nil {
		return err
	}
	if err := b.beat(ctx); err != nil {
		return err
	}
	if b.suspect {
		if err := b.returnOrphans(ctx); err != nil {
			return err
		}
	}
	b.epoch.Store(next)
	b.registered, b.suspect = true, false
	return nil
}

// enrol tells Redis of this owner and of its epoch.
func (b *Broker) enrol(ctx context.Context, epoch int64) error {
	info, err := thisProcess().encode()
	if err != nil {
		return err
	}
	return b.do(ctx, func(c redigo.Conn) error {
		key := b.keys.owner(b.owner)
		fields := []any{key, "epoch", epoch, "identity", info, "node", b.session.Node, "timeout", b.cfg.OwnerTimeout.Seconds()}
		_, err := c.Do("HSET", fields...)
		if wrongType(err) { // the key is of this process alone
			if _, err = c.Do("DEL", key); err == nil {
				_, err = c.Do("HSET", fields...)
			}
		}
		if err != nil {
			return err
		}
		if _, err := c.Do("EXPIRE", key, 86400); err != nil {
			return err
		}
		return b.bindQueues(c, b.session.Queues)
	})
}

// returnOrphans gives back what claims have taken whose answers got lost.
func (b *Broker) returnOrphans(ctx context.Context) error {
	orphans, err := b.claimsOf(ctx, b.owner)
	if err != nil {
		return err
	}
	b.outMu.Lock()
	orphans = slices.DeleteFunc(orphans, func(claim string) bool { _, ok := b.out[claim]; return ok })
	b.outMu.Unlock()
	if len(orphans) == 0 {
		return nil
	}
	back := 0
	for _, claim := range orphans {
		n, err := b.returnOrphan(ctx, claim)
		if err != nil {
			return err
		}
		back += n
	}
	b.log.Warn("messages of a claim that got lost on its way went back to their queues", "messages", back)
	return nil
}

// returnOrphan gives back a message that nobody has seen, as it was.
func (b *Broker) returnOrphan(ctx context.Context, claim string) (int, error) {
	entries, err := b.entries(ctx, []string{claim})
	if err != nil || entries[0] == nil {
		return 0, err
	}
	e, err := protocol.ParseEntry(entries[0])
	if err == nil {
		var env protocol.Envelope
		if env, err = protocol.ParseEnvelope(e.Raw); err == nil {
			return b.giveBack(ctx, []returned{{claim: claim, raw: e.Raw, queue: e.RoutingKey, priority: env.Priority}})
		}
	}
	// It was entered, so it should have been readable. A person has to look.
	_, err = b.restore(ctx, "", []expired{{claim: claim}})
	return 0, err
}
