package redis

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/identity"
	redigo "github.com/gomodule/redigo/redis"
)

// recoverOwners reclaims the messages of dead owners. An owner is dead when its process on
// this machine has ended, or when it is silent for too long.
func (rec *recovery) recoverOwners(ctx context.Context) error {
	dead, err := rec.provenDead(ctx)
	if err != nil {
		return err
	}
	silent, err := rec.silent(ctx)
	if err != nil {
		return err
	}
	done := map[string]bool{rec.consumer.id: true}
	for _, owner := range append(dead, silent...) {
		if done[owner] {
			continue
		}
		done[owner] = true
		if err := rec.recoverOwner(ctx, owner, slices.Contains(dead, owner)); err != nil {
			return err
		}
	}
	return nil
}

// silent returns the owners whose heartbeat has stopped, once the server is up for long
// enough to know.
func (rec *recovery) silent(ctx context.Context) ([]string, error) {
	owners := rec.leases.silent()
	if len(owners) == 0 {
		return nil, nil
	}
	up, err := rec.uptime(ctx)
	if err != nil || up < 2*rec.cfg.OwnerTimeout {
		return nil, err
	}
	return owners, nil
}

// uptime returns the uptime of the server, or a long one where the server does not report it.
func (rec *recovery) uptime(ctx context.Context) (up time.Duration, err error) {
	up = 24 * time.Hour
	err = rec.do(ctx, func(c redigo.Conn) error {
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

// provenDead returns the owners whose processes on this machine have ended, and marks them
// as dead.
func (rec *recovery) provenDead(ctx context.Context) ([]string, error) {
	self := identity.This()
	if self.Boot == "" {
		return nil, nil
	}
	var dead []string
	err := rec.do(ctx, func(c redigo.Conn) error {
		owners, err := redigo.Strings(c.Do("ZRANGE", rec.keys.owners, 0, -1))
		if err != nil {
			return err
		}
		known := map[string]identity.Process{}
		for _, owner := range owners {
			id, ok := rec.siblings[owner]
			if !ok {
				text, err := redigo.String(c.Do("HGET", rec.keys.owner(owner), "identity"))
				if err == redigo.ErrNil || conn.IsWrongType(err) {
					continue // only its silence can prove it
				}
				if err != nil {
					return err
				}
				id = identity.Decode(text)
			}
			known[owner] = id
			if owner != rec.consumer.id && self.ProvesDead(id) {
				if _, err := c.Do("ZADD", rec.keys.owners, "XX", 0, owner); err != nil {
					return err
				}
				dead = append(dead, owner)
			}
		}
		rec.siblings = known
		return nil
	})
	return dead, err
}

// recoverOwner reclaims the messages of a dead owner. An owner that is not proven dead may
// come back at any time, even meanwhile.
func (rec *recovery) recoverOwner(ctx context.Context, owner string, proven bool) error {
	locked, err := rec.lockRecovery(ctx, owner, "NX")
	if err != nil || !locked {
		return err
	}
	if fenced, err := rec.fence(ctx, owner); err != nil || !fenced {
		return err
	}
	if err := rec.indexer.reindex(ctx); err != nil {
		return err
	}
	claims, err := rec.claimsOf(ctx, owner)
	if err != nil {
		return err
	}
	moved := 0
	for chunk := range slices.Chunk(claims, recoverPage) {
		// A long recovery keeps the lock for as long as this worker lives.
		if _, err := rec.lockRecovery(ctx, owner, "XX"); err != nil {
			return err
		}
		es := make([]expired, len(chunk))
		for i, claim := range chunk {
			es[i].claim = claim
		}
		n, err := rec.restore(ctx, owner, es)
		if err != nil {
			return err
		}
		moved += n
	}
	if len(claims) > 0 {
		rec.log.Warn("worker is gone, its messages are delivered again", "owner", owner, "messages", moved)
	}
	if moved < len(claims) {
		return nil // it came back, or some messages remain
	}
	return rec.dismiss(ctx, owner, proven)
}

// fence ends the epoch of a silent owner: its claims are refused from then on, and a list of
// its claims is complete. It reports whether the owner is still dead.
func (rec *recovery) fence(ctx context.Context, owner string) (bool, error) {
	n, err := rec.scriptInt(ctx, rec.scripts.Fence, 2, rec.keys.owners, rec.keys.owner(owner), owner, rec.cfg.OwnerTimeout.Seconds())
	if err != nil {
		return false, fmt.Errorf("fence a silent worker: %w", err)
	}
	return n == 1, nil
}

// dismiss removes an owner from the owners, unless it is back. The hash of an owner that is
// not proven dead stays until it expires.
func (rec *recovery) dismiss(ctx context.Context, owner string, proven bool) error {
	_, err := rec.script(ctx, rec.scripts.Dismiss, 2, rec.keys.owners, rec.keys.owner(owner), owner, rec.cfg.OwnerTimeout.Seconds(), flag(proven))
	if err != nil {
		return fmt.Errorf("dismiss a silent worker: %w", err)
	}
	return nil
}

// lockRecovery takes the lock around a recovery, or extends it.
func (rec *recovery) lockRecovery(ctx context.Context, owner, condition string) (locked bool, err error) {
	err = rec.do(ctx, func(c redigo.Conn) error {
		reply, err := redigo.String(c.Do("SET", rec.keys.recovery(owner), rec.consumer.id, condition, "PX", 5000))
		locked = reply == "OK"
		if err == redigo.ErrNil {
			return nil
		}
		return err
	})
	return locked || err == nil && rec.notALock(ctx, rec.keys.recovery(owner)), err
}

// claimsOf returns the claims of an owner, the newest first.
func (rec *recovery) claimsOf(ctx context.Context, owner string) ([]string, error) {
	var claims []string
	err := rec.do(ctx, func(c redigo.Conn) error {
		cursor := "0"
		for {
			reply, err := redigo.Values(c.Do("ZSCAN", rec.keys.index, cursor, "MATCH", owner+":*", "COUNT", 2*recoverPage))
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
	sort.Strings(claims) // a scan may return one twice
	claims = slices.Compact(claims)
	slices.Reverse(claims)
	return claims, err
}
