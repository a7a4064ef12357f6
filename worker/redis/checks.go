package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/product"
)

// checks looks for faults of the server and of its keys that only a person can mend.
type checks struct {
	*server
	indexer *indexer
	lists   func() []list // consumed ones

	mu     sync.Mutex
	faults []string // keys of another type
	losses []string // streams that lose entries
}

// run checks the keys until ctx ends: at the start, rarely while all is well, and soon when
// something suggests a fault. A check is twenty commands, four times what an idle worker
// sends in a second.
func (ch *checks) run(ctx context.Context, check func(context.Context) error) {
	for {
		wait := keyCheckCalm
		if check(ctx) != nil || len(ch.found()) > 0 {
			wait = keyCheckSoon
		}
		began := time.Now()
		calm := time.NewTimer(wait)
		select {
		case <-calm.C:
		case <-ch.suspicion:
		case <-ctx.Done():
		}
		calm.Stop()
		if backoff.Sleep(ctx, keyCheckSoon-time.Since(began)) != nil {
			return
		}
	}
}

func newChecks(s *server, x *indexer, lists func() []list) *checks {
	return &checks{server: s, indexer: x, lists: lists}
}

// advise warns of settings of the server that can lose messages. Managed servers often hide
// them; nothing depends on it.
func (ch *checks) advise(ctx context.Context) error {
	var info map[string]string
	err := ch.do(ctx, func(c redigo.Conn) error {
		text, err := redigo.String(c.Do("INFO"))
		if err != nil {
			return err
		}
		info = parseInfo(text)
		return nil
	})
	if conn.IsUnavailable(err) {
		ch.log.Info("connected to redis, which does not tell of itself", "redis", ch.addr.String(), "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	server := product.Of(info)
	if fault := server.Fault(); fault != "" {
		return ch.refuse(fault) // it is asked again: another one may have the address then
	}
	ch.unfit.Store(nil)
	if info["redis_mode"] == "cluster" && !ch.cfg.Cluster {
		ch.log.Warn("redis is a node of a cluster, and another node may get its keys: set REDIS_CLUSTER, or Cluster of the broker's configuration", "redis", ch.addr.String())
	}
	for _, warning := range warnings(info) {
		ch.log.Warn(warning, "redis", ch.addr.String())
	}
	ch.log.Info("connected to redis", "redis", ch.addr.String(), "server", server.String())
	return nil
}

// refuse has claims fail until the server is another one.
func (ch *checks) refuse(fault string) error {
	err := errors.New(fault)
	if ch.unfit.Swap(&err) == nil {
		ch.log.Error("redis is too old, no messages are claimed", "redis", ch.addr.String(), "fault", fault)
	}
	return err
}

// warnings returns a warning for each setting that can lose messages.
func warnings(info map[string]string) (ws []string) {
	if p := info["maxmemory_policy"]; p != "" && p != "noeviction" && info["maxmemory"] != "0" {
		ws = append(ws, "redis evicts keys when it is full ("+p+"), queues included: set maxmemory-policy noeviction")
	}
	if info["role"] == "slave" {
		ws = append(ws, "redis is a replica and refuses writes: give the address of the master")
	}
	if info["aof_enabled"] == "0" {
		ws = append(ws, "redis has no append-only file: a restart loses everything since its last snapshot")
	}
	return ws
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

const (
	// keyCheckCalm is the time between two checks of the types of keys while all are right.
	keyCheckCalm = 5 * time.Minute
	// keyCheckSoon is that time while one is wrong, or a reply suggests it.
	keyCheckSoon = 5 * time.Second
)

// keyCheckMost bounds the queues whose lists and bindings are checked.
const keyCheckMost = 250

// keyCheck is a key with the type that it must have, and with what fails while it has
// another type. The command reads something of that type.
type keyCheck struct {
	key, want, cost, command string
	args                     []any
}

// noMember is a field and a member that no key has. The commands only test the type.
const noMember = "?"

func hashCheck(key, cost string) keyCheck {
	return keyCheck{key, "hash", cost, "HEXISTS", []any{key, noMember}}
}

func zsetCheck(key, cost string) keyCheck {
	return keyCheck{key, "sorted set", cost, "ZSCORE", []any{key, noMember}}
}

func setCheck(key, cost string) keyCheck {
	return keyCheck{key, "set", cost, "SISMEMBER", []any{key, noMember}}
}

// keyChecks returns the keys to check.
func (ch *checks) keyChecks() []keyCheck {
	k := ch.keys
	const stopped, letters = "messages are neither claimed nor acknowledged", "dead letters wait in another key"
	const stay = "dead letters can be neither retried nor marked as dealt with"
	closed, times := ch.server.letters.Keys()
	checks := []keyCheck{
		hashCheck(k.unacked, stopped), zsetCheck(k.index, stopped),
		{k.mutex, "string", "Python workers give back no unacknowledged messages", "GET", []any{k.mutex}},
		hashCheck(k.dead, letters), hashCheck(k.deadMeta, letters), zsetCheck(k.deadIndex, letters),
		hashCheck(closed[0], stay), hashCheck(closed[1], stay), hashCheck(closed[2], "lost dead letters are not counted"),
		zsetCheck(times[0], stay), zsetCheck(times[1], "arguments of dead letters that expired are wiped an hour later"),
		{k.spare, "list", "dead letters have no second place", "LLEN", []any{k.spare}},
		zsetCheck(k.owners, "messages of crashed workers come back after the visibility timeout only"),
		zsetCheck(k.revoked, "workers that start do not know what was revoked"),
		zsetCheck(k.stamps, "workers that start do not know which stamps were revoked"),
		setCheck(k.binding(controlExchange), "no exchange knows this worker"),
		setCheck(k.binding("reply."+controlExchange), "remote control gets no answers"),
	}
	for _, name := range ch.outbox.Written() {
		checks = append(checks, keyCheck{k.stream(name), "stream", "what tasks record is dropped", "XLEN", []any{k.stream(name)}},
			hashCheck(k.losses(name), "what its stream loses is not counted"))
	}
	lists := ch.lists()
	if len(lists) > keyCheckMost*len(ch.cfg.PrioritySteps) {
		return checks
	}
	var queues []string
	for _, l := range lists {
		checks = append(checks, keyCheck{l.key, "list", "its messages are not consumed", "LLEN", []any{l.key}})
		if !slices.Contains(queues, l.queue) {
			queues = append(queues, l.queue)
			checks = append(checks, setCheck(k.binding(l.queue), "exchanges lead no messages to the queue"))
		}
	}
	return checks
}

// checkKeys finds keys of another type.
func (ch *checks) checkKeys(ctx context.Context) error {
	checks := ch.keyChecks()
	var faults []string
	err := ch.do(ctx, func(c redigo.Conn) error {
		for _, check := range checks {
			if err := c.Send(check.command, check.args...); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		for _, check := range checks {
			_, err := c.Receive()
			if c.Err() != nil {
				return err
			}
			if conn.IsWrongType(err) {
				faults = append(faults, ch.keyFault(check))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at the types of keys: %w", err)
	}
	ch.noteKeyFaults(faults)
	if err := ch.indexer.reindex(ctx); err != nil {
		return err
	}
	return ch.moveSpare(ctx)
}

// indexer enters unacknowledged messages that the index has lost.
type indexer struct {
	*server
	forbidden atomic.Bool // the user lacks the permissions
}

func (x *indexer) reindex(ctx context.Context) error {
	if x.forbidden.Load() {
		return nil
	}
	n, err := x.scriptInt(ctx, x.scripts.Reindex, 2, x.keys.unacked, x.keys.index)
	switch {
	case conn.IsWrongType(err):
		return nil // it is among the faults
	case conn.IsForbidden(err):
		x.forbidden.Store(true)
		x.log.Debug("lost index entries cannot be restored: this Redis user lacks permissions (see docs/operations.md)", "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("look for unacknowledged messages without an index: %w", err)
	case n > 0:
		x.log.Warn("unacknowledged messages were missing in their index", "key", x.keys.index, "messages", n)
	}
	return nil
}

// keyFault describes a key of another type, and how to mend it.
func (ch *checks) keyFault(c keyCheck) string {
	return fmt.Sprintf("the key %s is no %s, so that %s: move it away with redis-cli -n %d RENAME %s %s",
		shellQuote(c.key), c.want, c.cost, ch.addr.DB, shellQuote(c.key), shellQuote(c.key+".moved"))
}

// shellQuote quotes a key for a shell.
func shellQuote(key string) string {
	if strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return "$'" + strings.ReplaceAll(strings.Trim(fmt.Sprintf("%+q", key), `"`), "'", `\'`) + "'"
	}
	if strings.IndexFunc(key, func(r rune) bool { return !strings.ContainsRune("._-:/@", r) && !isWord(r) }) >= 0 {
		return "'" + strings.ReplaceAll(key, "'", `'\''`) + "'"
	}
	return key
}

func isWord(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// noteKeyFaults keeps the faults, and logs new ones.
func (ch *checks) noteKeyFaults(faults []string) {
	before := ch.note(&ch.faults, faults, "redis key has the wrong type")
	if len(before) > 0 && len(faults) == 0 {
		ch.log.Info("redis keys have the right types again")
	}
}

// checkStreams finds streams that lose entries.
func (ch *checks) checkStreams(ctx context.Context) error {
	losses, ofAnotherType, err := ch.outbox.Faults(ctx)
	if ofAnotherType {
		ch.suspectKeys()
	}
	if err == nil {
		ch.note(&ch.losses, losses, "entries of tasks are dropped")
	}
	return err
}

// note keeps faults in place of those of the last check, which it returns, and logs new ones.
func (ch *checks) note(kept *[]string, faults []string, message string) (before []string) {
	ch.mu.Lock()
	before, *kept = *kept, faults
	ch.mu.Unlock()
	for _, f := range faults {
		if !slices.Contains(before, f) {
			ch.log.Error(message, "fault", f)
		}
	}
	return before
}

// found returns the faults of the last check.
func (ch *checks) found() []string {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return slices.Concat(ch.faults, ch.losses)
}

// spareBatch bounds one script that moves dead letters.
const spareBatch = 50

// moveSpare moves dead letters from the spare list to their keys, once these are mended.
func (ch *checks) moveSpare(ctx context.Context) error {
	for {
		n, err := ch.scriptInt(ctx, ch.scripts.Spare, 4, ch.keys.dead, ch.keys.deadMeta, ch.keys.deadIndex, ch.keys.spare,
			ch.cfg.DeadLettersMax, ch.deadLettersAge(), spareBatch)
		if conn.IsWrongType(err) {
			return nil // checkKeys reports it
		}
		if err != nil {
			return fmt.Errorf("move dead letters to their keys: %w", err)
		}
		if n < spareBatch {
			return nil
		}
	}
}

// Refusal implements [broker.Faulter].
func (b *Broker) Refusal(err error) string { return conn.Refusal(err) }

// happened names the fault of a step for the log.
func happened(err error) string {
	if conn.IsReply(err) {
		return "redis refused, will try again"
	}
	return "redis unavailable, will try again"
}
