package redis

import (
	"context"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/identity"
)

// register enters this broker as an owner of claims, under a new epoch. Claim scripts of
// older epochs that are still on their way, in a connection that hangs, are refused from
// then on. Messages that such scripts have claimed go back to their queues. cl.mu must be
// held.
func (cl *claimer) register(ctx context.Context) error {
	next := cl.consumer.epoch.Load() + 1
	if err := cl.enrol(ctx, next); err != nil {
		return err
	}
	if err := cl.leases.beat(ctx); err != nil {
		return err
	}
	if cl.suspect {
		if err := cl.returnOrphans(ctx); err != nil {
			return err
		}
	}
	cl.registeredAs(next)
	return nil
}

// registeredAs notes the end of a registration. cl.mu must be held.
func (cl *claimer) registeredAs(epoch int64) {
	cl.consumer.epoch.Store(epoch)
	cl.registered, cl.suspect = true, false
}

// enrol writes the owner with an epoch to Redis.
func (cl *claimer) enrol(ctx context.Context, epoch int64) error {
	info, err := identity.This().Encode()
	if err != nil {
		return err
	}
	return cl.do(ctx, func(c redigo.Conn) error {
		key := cl.keys.owner(cl.consumer.id)
		fields := []any{key, "epoch", epoch, "identity", info, "node", cl.consumer.node(), "timeout", cl.cfg.OwnerTimeout.Seconds()}
		_, err := c.Do("HSET", fields...)
		if conn.IsWrongType(err) { // the key belongs to this process only
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
		return cl.bindQueues(c, cl.queues)
	})
}

// returnOrphans requeues the messages of claims whose replies got lost.
func (cl *claimer) returnOrphans(ctx context.Context) error {
	claims, err := cl.recovery.claimsOf(ctx, cl.consumer.id)
	if err != nil {
		return err
	}
	orphans := cl.held.without(claims)
	back := 0
	for _, claim := range orphans {
		n, err := cl.returnOrphan(ctx, claim)
		if err != nil {
			return err
		}
		back += n
	}
	if len(orphans) > 0 {
		cl.log.Warn("requeued messages of a claim whose reply was lost", "messages", back)
	}
	return nil
}

// returnOrphan requeues a message unchanged, because no worker has seen it.
func (cl *claimer) returnOrphan(ctx context.Context, claim string) (int, error) {
	entries, err := cl.recovery.entries(ctx, []string{claim})
	if err != nil || entries[0] == nil {
		return 0, err
	}
	e, err := protocol.ParseEntry(entries[0])
	if err == nil {
		var env protocol.Envelope
		if env, err = protocol.ParseEnvelope(e.Raw); err == nil {
			return cl.recovery.giveBack(ctx, []returned{{claim: claim, raw: e.Raw, queue: e.RoutingKey, priority: env.Priority}})
		}
	}
	// It was readable when it was claimed. A person must look at it.
	_, err = cl.recovery.restore(ctx, "", []expired{{claim: claim}})
	return 0, err
}

// inDoubt reports whether Redis may have carried out a claim whose reply got lost.
func (cl *claimer) inDoubt() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.suspect
}
