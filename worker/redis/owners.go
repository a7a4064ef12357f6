package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// recoverOwners gives back what dead siblings held: those whose processes on this
// machine have ended, and those that are silent for too long.
func (b *Broker) recoverOwners(ctx context.Context) error {
	dead, err := b.provenDead(ctx)
	if err != nil {
		return err
	}
	silent, err := b.silent(ctx)
	if err != nil {
		return err
	}
	done := map[string]bool{b.owner: true}
	for _, owner := range append(dead, silent...) {
		if done[owner] {
			continue
		}
		done[owner] = true
		if err := b.recoverOwner(ctx, owner, slices.Contains(dead, owner)); err != nil {
			return err
		}
	}
	return nil
}

// silent returns the owners whose heartbeat has stopped. After a silence that may
// have been everybody's nobody is judged for a while: when the server was away,
// the first one back would rob all others.
func (b *Broker) silent(ctx context.Context) ([]string, error) {
	owners := b.silentOwners.Load()
	if owners == nil || len(*owners) == 0 {
		return nil, nil
	}
	if at := b.judgeAfter.Load(); at != nil && time.Now().Before(*at) {
		return nil, nil
	}
	up, err := b.uptime(ctx)
	if err != nil || up < 2*b.cfg.OwnerTimeout {
		return nil, err
	}
	return *owners, nil
}

// uptime is that of the server; one that does not tell has been up for long.
func (b *Broker) uptime(ctx context.Context) (up time.Duration, err error) {
	up = 24 * time.Hour
	err = b.do(ctx, func(c redigo.Conn) error {
		text, err := redigo.String(c.Do("INFO", "server"))
		if err != nil && c.Err() != nil {
			return fmt.Errorf("ask how long the server is up: %w", err)
		}
		if s, err := strconv.Atoi(parseInfo(text)["uptime_in_seconds"]); err == nil {
			up = time.Duration(s) * time.Second
		}
		return nil
	})
	return up, err
}

// provenDead returns the owners whose processes, on this machine, have ended,
// and marks them so.
func (b *Broker) provenDead(ctx context.Context) ([]string, error) {
	self := thisProcess()
	if self.Boot == "" {
		return nil, nil
	}
	var dead []string
	err := b.do(ctx, func(c redigo.Conn) error {
		owners, err := redigo.Strings(c.Do("ZRANGE", b.keys.owners, 0, -1))
		if err != nil {
			return err
		}
		known := map[string]identity{}
		for _, owner := range owners {
			id, ok := b.siblings[owner]
			if !ok {
				text, err := redigo.String(c.Do("HGET", b.keys.owner(owner), "identity"))
				if err == redigo.ErrNil || wrongType(err) {
					continue // only its silence will tell
				}
				if err != nil {
					return err
				}
				id = decodeIdentity(text)
			}
			known[owner] = id
			if owner != b.owner && self.dead(id) {
				if _, err := c.Do("ZADD", b.keys.owners, "XX", 0, owner); err != nil {
					return err
				}
				dead = append(dead, owner)
			}
		}
		b.siblings = known
		return nil
	})
	return dead, err
}

// recoverOwner gives back what a dead worker of our kind held. One that is not
// proven dead may come back at any time, in the middle of it too.
func (b *Broker) recoverOwner(ctx context.Context, owner string, proven bool) error {
	locked, err := b.lockRecovery(ctx, owner, "NX")
	if err != nil || !locked {
		return err
	}
	if fenced, err := b.fence(ctx, owner); err != nil || !fenced {
		return err
	}
	if err := b.reindex(ctx); err != nil {
		return err
	}
	claims, err := b.claimsOf(ctx, owner)
	if err != nil {
		return err
	}
	moved := 0
	for chunk := range slices.Chunk(claims, recoverPage) {
		// One that takes long keeps others away for as long as it lives.
		if _, err := b.lockRecovery(ctx, owner, "XX"); err != nil {
			return err
		}
		es := make([]expired, len(chunk))
		for i, claim := range chunk {
			es[i].claim = claim
		}
		n, err := b.restore(ctx, owner, es)
		if err != nil {
			return err
		}
		moved += n
	}
	if len(claims) > 0 {
		b.log.Warn("a worker is gone, its messages are delivered again", "owner", owner, "messages", moved)
	}
	if moved < len(claims) {
		return nil // it came back to life, or is not done yet
	}
	return b.dismiss(ctx, owner, proven)
}

// fence sees to it that a silent owner claims no more under its epoch, so that what
// is listed after it is all. It reports whether the owner is still to be given up.
func (b *Broker) fence(ctx context.Context, owner string) (bool, error) {
	n, err := b.scriptInt(ctx, b.scripts.fence, 2, b.keys.owners, b.keys.owner(owner), owner, b.cfg.OwnerTimeout.Seconds())
	if err != nil {
		return false, fmt.Errorf("fence a silent worker: %w", err)
	}
	return n == 1, nil
}

// dismiss takes an owner off the list, unless it is back. What is known of one that
// is not proven dead stays until it expires.
func (b *Broker) dismiss(ctx context.Context, owner string, proven bool) error {
	forget := "0"
	if proven {
		forget = "1"
	}
	_, err := b.script(ctx, b.scripts.dismiss, 2, b.keys.owners, b.keys.owner(owner), owner, b.cfg.OwnerTimeout.Seconds(), forget)
	if err != nil {
		return fmt.Errorf("dismiss a silent worker: %w", err)
	}
	return nil
}

// lockRecovery takes the lock around a recovery, or extends it.
func (b *Broker) lockRecovery(ctx context.Context, owner, condition string) (locked bool, err error) {
	err = b.do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.String(c.Do("SET", b.keys.recovery(owner), b.owner, condition, "PX", 5000))
		locked = reply == "OK"
		if err == redigo.ErrNil {
			return nil
		}
		return err
	})
	return locked || err == nil && b.notALock(ctx, b.keys.recovery(owner)), err
}

// claimsOf returns what owner holds, the newest first.
func (b *Broker) claimsOf(ctx context.Context, owner string) ([]string, error) {
	var claims []string
	err := b.do(ctx, func(c redigo.Conn) error {
		cursor := "0"
		for {
			reply, err := redigo.Values(c.Do("ZSCAN", b.keys.index, cursor, "MATCH", owner+":*", "COUNT", 2*recoverPage))
			if err != nil {
				return err
			}
			var flat []string
			if _, err := redigo.Scan(reply, &cursor, &flat); err != nil {
				return err
			}
			for i := 0; i < len(flat); i += 2 {
				if o, ok := ownerOf(flat[i]); ok && o == owner {
					claims = append(claims, flat[i])
				}
			}
			if cursor == "0" {
				return nil
			}
		}
	})
	slices.Sort(claims) // a scan may name one twice
	claims = slices.Compact(claims)
	slices.Reverse(claims)
	return claims, err
}
