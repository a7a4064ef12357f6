package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// Names of the exchanges of remote control and of events, with kombu's defaults.
const (
	controlExchange = "celery.pidbox"
	eventExchange   = "celeryev"
)

// pingEvery is the longest pause between two pings of a connection that listens, and silenceMost
// how long the server may be silent.
const pingEvery, silenceMost = 10 * time.Second, 25 * time.Second

// replyLife is how long an answer waits to be fetched.
const replyLife = time.Minute

// control carries remote control and events: kombu's fanout exchanges over PUBLISH.
type control struct {
	*server
}

// channel returns the channel of a fanout exchange. It has the number of the database,
// because channels belong to no database.
func (ctl *control) channel(exchange, routingKey string) string {
	name := fmt.Sprintf("%s/%d.%s", ctl.cfg.KeyPrefix, ctl.addr.DB, exchange)
	if routingKey != "" {
		name += "/" + routingKey
	}
	return name
}

// literalPattern escapes the characters that have a meaning in PSUBSCRIBE.
var literalPattern = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, `\`, `\\`)

// listen calls back for everything that arrives, until ctx ends.
func (ctl *control) listen(ctx context.Context, l broker.Listening) error {
	var pause backoff.Backoff
	var idle conn.Idle
	refused := false
	for ctx.Err() == nil {
		began := time.Now()
		err := ctl.listenOnce(ctx, l, &idle)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > time.Minute {
			pause.Reset()
		}
		if conn.HasCode(err, "NOPERM") && !refused {
			refused = true
			ctl.log.Warn("remote control unavailable: this Redis user lacks permissions (see docs/operations.md)", "error", err)
		} else {
			ctl.log.Debug("listening for remote control ended, will try again", "error", err)
		}
		pause.Wait(ctx)
	}
	ctl.unbind(l)
	return nil
}

// listenOnce listens over one connection until it breaks.
func (ctl *control) listenOnce(ctx context.Context, l broker.Listening, idle *conn.Idle) error {
	rc, err := ctl.conns.Dial(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var pinger sync.WaitGroup
	defer func() {
		cancel()
		rc.Close()
		pinger.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { rc.Close() })
	defer stop()

	ps := redigo.PubSubConn{Conn: rc}
	control := ctl.channel(controlExchange, "")
	subscriptions := 0
	if l.Request != nil {
		if err := ps.Subscribe(control); err != nil {
			return err
		}
		subscriptions++
	}
	if l.Event != nil {
		kind := "worker."
		if l.TaskEvents {
			kind = "" // the slash is part of the pattern
		}
		if err := ps.PSubscribe(ctl.eventPattern(kind)); err != nil {
			return err
		}
		subscriptions++
	}
	every := idle.Most(pingEvery)
	pinger.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if ps.Ping("") != nil {
				return // the reader sees it too
			}
		}
	})
	for {
		began := time.Now()
		switch v := ps.ReceiveWithTimeout(silenceMost).(type) {
		case error:
			idle.IsCut(v, time.Since(began), every)
			return v
		case redigo.Message:
			if v.Pattern != "" {
				l.Event(v.Data)
			} else {
				l.Request(v.Data)
			}
		case redigo.Subscription:
			if subscriptions--; subscriptions == 0 {
				if err := ctl.bind(ctx, l); err != nil {
					return err
				}
				l.Joined()
			}
		}
	}
}

// bind enters the node into the routing table of the exchange, as kombu does.
func (ctl *control) bind(ctx context.Context, l broker.Listening) error {
	if l.Request == nil {
		return nil
	}
	return ctl.do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("SADD", ctl.keys.binding(controlExchange), ctl.controlBinding(l.Node))
		if conn.IsWrongType(err) {
			return nil
		}
		return err
	})
}

// unbind takes the node out of it again.
func (ctl *control) unbind(l broker.Listening) {
	if l.Request == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second/2)
	defer cancel()
	_ = ctl.do(ctx, func(c redigo.Conn) error {
		_, err := redigo.DoContext(c, ctx, "SREM", ctl.keys.binding(controlExchange), ctl.controlBinding(l.Node))
		return err
	})
}

func (ctl *control) controlBinding(node string) string {
	return ctl.cfg.Separator + ctl.cfg.Separator + node + "." + controlExchange
}

// reply sends an answer to the caller of a request.
func (ctl *control) reply(ctx context.Context, to protocol.ReplyTo, raw []byte) error {
	// A stranger's request must not put answers into a queue of tasks.
	if !strings.HasPrefix(to.Exchange, "reply.") || !strings.HasSuffix(to.Exchange, ".pidbox") {
		return errors.New("reply: the exchange is none for answers")
	}
	queues, err := ctl.bound(ctx, to.Exchange, to.RoutingKey)
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	queues = slices.DeleteFunc(queues, func(q string) bool { return !strings.HasSuffix(q, "."+to.Exchange) })
	err = ctl.do(ctx, func(c redigo.Conn) error {
		for _, q := range queues { // none: the caller is gone
			key := ctl.listKey(q, 0)
			// One step, because a list without expiry would stay for ever.
			if err := ctl.scripts.Reply().SendHash(c, 1, key, raw, int(replyLife.Seconds())); err != nil {
				return err
			}
		}
		return firstError(redigo.DoContext(c, ctx, ""))
	})
	if conn.HasCode(err, "NOSCRIPT") {
		err = ctl.do(ctx, func(c redigo.Conn) error {
			for _, q := range queues {
				if _, err := ctl.scripts.Reply().DoContext(ctx, c, 1, ctl.listKey(q, 0), raw, int(replyLife.Seconds())); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// emit publishes events.
func (ctl *control) emit(ctx context.Context, es ...broker.Emission) error {
	err := ctl.do(ctx, func(c redigo.Conn) error {
		for _, e := range es {
			if err := c.Send("PUBLISH", ctl.channel(eventExchange, e.RoutingKey), e.Raw); err != nil {
				return err
			}
		}
		return firstError(redigo.DoContext(c, ctx, ""))
	})
	if err != nil {
		return fmt.Errorf("publish events: %w", err)
	}
	return nil
}

// firstError returns the first error among the replies to commands that were sent together.
func firstError(reply any, err error) error {
	all, err := redigo.Values(reply, err)
	if err == redigo.ErrNil {
		return nil // nothing was sent
	}
	for _, one := range all {
		if e, ok := one.(redigo.Error); ok {
			return e
		}
	}
	return err
}

// broadcast publishes a request and returns the number of its receivers.
func (ctl *control) broadcast(ctx context.Context, request []byte) (receivers int, err error) {
	err = ctl.do(ctx, func(c redigo.Conn) (err error) {
		receivers, err = redigo.Int(redigo.DoContext(c, ctx, "PUBLISH", ctl.channel(controlExchange, ""), request))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("broadcast a request: %w", err)
	}
	return receivers, nil
}

// ask broadcasts a request and calls receive for each answer to the routing key.
func (ctl *control) ask(ctx context.Context, request []byte, routingKey string, receive func(raw []byte)) error {
	const exchange = "reply.celery.pidbox"
	queue := routingKey + "." + exchange
	key, member := ctl.listKey(queue, 0), routingKey+ctl.cfg.Separator+ctl.cfg.Separator+queue
	err := ctl.do(ctx, func(c redigo.Conn) error {
		_, err := redigo.DoContext(c, ctx, "SADD", ctl.keys.binding(exchange), member)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask other workers: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = ctl.do(ctx, func(c redigo.Conn) error {
			// In this order: a late answer finds no queue.
			if _, err := redigo.DoContext(c, ctx, "SREM", ctl.keys.binding(exchange), member); err != nil {
				return err
			}
			_, err := redigo.DoContext(c, ctx, "DEL", key)
			return err
		})
	}()
	n, err := ctl.broadcast(ctx, request)
	if err != nil || n == 0 {
		return err
	}
	rc, err := ctl.conns.Dial(ctx)
	if err != nil {
		return fmt.Errorf("ask other workers: %w", err)
	}
	defer rc.Close()
	stop := context.AfterFunc(ctx, func() { rc.Close() })
	defer stop()
	for range n {
		reply, err := redigo.ByteSlices(redigo.DoWithTimeout(rc, 3*time.Second, "BRPOP", key, 2))
		if err != nil {
			if ctx.Err() != nil || err == redigo.ErrNil {
				return nil // some receivers do not answer
			}
			return fmt.Errorf("ask other workers: %w", err)
		}
		if len(reply) == 2 {
			receive(reply[1])
		}
	}
	return nil
}

// revokesLife and revokesMax bound the stored revocations, as a Python worker bounds those
// in its memory (CELERY_WORKER_REVOKE_EXPIRES, CELERY_WORKER_REVOKES_MAX).
const (
	revokesLife = 3 * time.Hour
	revokesMax  = 50_000
)

// revocations stores revocations for all workers.
type revocations struct {
	*server
}

// revoke stores a revocation.
func (rv *revocations) revoke(ctx context.Context, r broker.Revocation) error {
	args := []any{int(revokesLife.Seconds()), revokesMax, rv.resultExpires(), len(r.IDs)}
	for _, id := range r.IDs {
		value, err := protocol.EncodeResult(&protocol.Result{
			TaskID: id, Status: protocol.StateRevoked, Children: protocol.Raw("null"), DateDone: time.Now(),
			Exception: &protocol.Exception{Type: "TaskRevokedError", Module: "celery.exceptions", Args: []any{"revoked"}},
		})
		if err != nil {
			return fmt.Errorf("revoke %s: %w", id, err)
		}
		args = append(args, id, rv.keys.result(id), value)
	}
	for name, values := range r.Stamps {
		for _, v := range values {
			text, err := protocol.Marshal([]any{name, v})
			if err != nil {
				return fmt.Errorf("revoke by the stamp %s: %w", name, err)
			}
			args = append(args, text)
		}
	}
	if _, err := rv.script(ctx, rv.scripts.Revoke, 2, append([]any{rv.keys.revoked, rv.keys.stamps}, args...)...); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// since returns the revocations after a moment. The moment is the greatest score seen of
// each set. Revocations with that very score are returned again.
func (rv *revocations) since(ctx context.Context, since string) (r broker.Revocation, next string, err error) {
	idsSince, stampsSince, _ := strings.Cut(since, " ")
	oldest := strconv.FormatFloat(float64(time.Now().Add(-revokesLife).Unix()), 'f', 0, 64)
	if idsSince == "" {
		idsSince = oldest
	}
	if stampsSince == "" {
		stampsSince = oldest
	}
	var ids, stamps []string
	err = rv.do(ctx, func(c redigo.Conn) error {
		// A key of another type only costs its purpose: a worker that starts revokes nothing.
		if ids, err = redigo.Strings(c.Do("ZRANGEBYSCORE", rv.keys.revoked, idsSince, "+inf", "WITHSCORES")); err != nil && !conn.IsWrongType(err) {
			return err
		}
		if stamps, err = redigo.Strings(c.Do("ZRANGEBYSCORE", rv.keys.stamps, stampsSince, "+inf", "WITHSCORES")); conn.IsWrongType(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return r, since, fmt.Errorf("read what was revoked: %w", err)
	}
	for i := 0; i+1 < len(ids); i += 2 {
		r.IDs, idsSince = append(r.IDs, ids[i]), ids[i+1]
	}
	for i := 0; i+1 < len(stamps); i += 2 {
		stampsSince = stamps[i+1]
		var name string
		parts, err := protocol.Raw(stamps[i]).Elements()
		if err != nil || len(parts) != 2 || protocol.Unmarshal(parts[0], &name) != nil {
			continue // written by another version
		}
		if r.Stamps == nil {
			r.Stamps = map[string][]protocol.Raw{}
		}
		r.Stamps[name] = append(r.Stamps[name], parts[1])
	}
	return r, idsSince + " " + stampsSince, nil
}
