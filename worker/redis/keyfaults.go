package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// keyCheckInterval is the time between two looks at the types of keys.
const keyCheckInterval = 5 * time.Second

// keyCheckMost bounds the queues whose lists and bindings are looked at.
const keyCheckMost = 250

// wrongType reports whether a command or a script has met a key of another type.
func wrongType(err error) bool {
	var e redigo.Error
	return errors.As(err, &e) && strings.Contains(string(e), "WRONGTYPE")
}

// forbidden reports whether the user may not run a command of a script.
func forbidden(err error) bool {
	var e redigo.Error
	return errors.As(err, &e) && (strings.Contains(string(e), "can't run this command") || strings.HasPrefix(string(e), "NOPERM"))
}

// keyCheck is a key, the type that it must have, and what does not work while it has
// another one. The command reads something of that type.
type keyCheck struct {
	key, want, cost, command string
	args                     []any
}

// A field and a member that no key has: the commands only tell the type.
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

// keyChecks are the keys that are looked at.
func (b *Broker) keyChecks() []keyCheck {
	k := b.keys
	const stopped, letters = "messages are neither claimed nor acknowledged", "dead letters wait in another key"
	checks := []keyCheck{
		hashCheck(k.unacked, stopped), zsetCheck(k.index, stopped),
		{k.mutex, "string", "Python workers give back no unacknowledged messages", "GET", []any{k.mutex}},
		hashCheck(k.dead, letters), hashCheck(k.deadMeta, letters), zsetCheck(k.deadIndex, letters),
		{k.spare, "list", "dead letters have no second place", "LLEN", []any{k.spare}},
		zsetCheck(k.owners, "messages of crashed workers come back after the visibility timeout only"),
		zsetCheck(k.revoked, "workers that start do not know what was revoked"),
		zsetCheck(k.stamps, "workers that start do not know which stamps were revoked"),
		setCheck(k.binding(controlExchange), "no exchange knows this worker"),
		setCheck(k.binding("reply."+controlExchange), "remote control gets no answers"),
	}
	lists := b.consumed()
	if len(lists) > keyCheckMost*len(b.cfg.PrioritySteps) {
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

// checkKeys looks for keys of another type.
func (b *Broker) checkKeys(ctx context.Context) error {
	checks := b.keyChecks()
	var faults []string
	err := b.do(ctx, func(c redigo.Conn) error {
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
			if wrongType(err) {
				faults = append(faults, b.keyFault(check))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at the types of keys: %w", err)
	}
	b.noteKeyFaults(faults)
	if err := b.reindex(ctx); err != nil {
		return err
	}
	return b.moveSpare(ctx)
}

// reindex enters unacknowledged messages that the index has lost.
func (b *Broker) reindex(ctx context.Context) error {
	if b.noReindex.Load() {
		return nil
	}
	n, err := b.scriptInt(ctx, b.scripts.reindex, 2, b.keys.unacked, b.keys.index)
	switch {
	case wrongType(err):
		return nil // it is among the faults
	case forbidden(err):
		b.noReindex.Store(true)
		b.log.Debug("unacknowledged messages that the index has lost cannot be found: give this user of Redis the rights of docs/operations.md", "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("look for unacknowledged messages without an index: %w", err)
	case n > 0:
		b.log.Warn("unacknowledged messages were missing in their index", "key", b.keys.index, "messages", n)
	}
	return nil
}

// keyFault is what a person reads of a key of another type.
func (b *Broker) keyFault(c keyCheck) string {
	return fmt.Sprintf("the key %s is no %s, so that %s: move it away with redis-cli -n %d RENAME %s %s",
		shellQuote(c.key), c.want, c.cost, b.addr.db, shellQuote(c.key), shellQuote(c.key+".moved"))
}

// shellQuote writes a key as a shell takes it.
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

// noteKeyFaults keeps what was found, and logs what is new of it.
func (b *Broker) noteKeyFaults(faults []string) {
	b.faultsMu.Lock()
	before := b.keyFaults
	b.keyFaults = faults
	b.faultsMu.Unlock()
	for _, f := range faults {
		if !slices.Contains(before, f) {
			b.log.Error("a key of redis has the wrong type", "fault", f)
		}
	}
	if len(before) > 0 && len(faults) == 0 {
		b.log.Info("all keys of redis have the right types again")
	}
}

// Faults implements [broker.Faulter].
func (b *Broker) Faults() []string {
	b.faultsMu.Lock()
	defer b.faultsMu.Unlock()
	return slices.Clone(b.keyFaults)
}

// spareBatch bounds one script that moves dead letters.
const spareBatch = 50

// moveSpare moves the dead letters that had no place to go, once their keys are mended.
func (b *Broker) moveSpare(ctx context.Context) error {
	for {
		n, err := b.scriptInt(ctx, b.scripts.spare, 4, b.keys.dead, b.keys.deadMeta, b.keys.deadIndex, b.keys.spare,
			b.cfg.DeadLettersMax, int(b.cfg.DeadLettersAge.Seconds()), spareBatch)
		if wrongType(err) {
			return nil // checkKeys tells
		}
		if err != nil {
			return fmt.Errorf("move dead letters to their keys: %w", err)
		}
		if n < spareBatch {
			return nil
		}
	}
}
