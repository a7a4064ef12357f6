package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
)

// Names of the exchanges of remote control and of events, with kombu's defaults.
const (
	controlExchange = "celery.pidbox"
	eventExchange   = "celeryev"
)

// replyLife is how long an answer waits for the one that asked; who is gone
// leaves it behind.
const replyLife = time.Minute

// channel is the channel of a fanout exchange: the number of the database is in
// it, as channels belong to no database.
func (b *Broker) channel(exchange, routingKey string) string {
	name := fmt.Sprintf("%s/%d.%s", b.cfg.KeyPrefix, b.addr.db, exchange)
	if routingKey != "" {
		name += "/" + routingKey
	}
	return name
}

// literalPattern escapes what PSUBSCRIBE would take for more than a letter.
var literalPattern = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, `\`, `\\`)

// Listen implements [broker.Remote].
func (b *Broker) Listen(ctx context.Context, l broker.Listening) error {
	var pause backoff.Backoff
	refused := false
	for ctx.Err() == nil {
		began := time.Now()
		err := b.listen(ctx, l)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > time.Minute {
			pause.Reset()
		}
		if hasCode(err, "NOPERM") && !refused {
			refused = true
			b.log.Warn("remote control unavailable: this Redis user lacks permissions (see docs/operations.md)", "error", err)
		} else {
			b.log.Debug("listening for remote control ended, will try again", "error", err)
		}
		pause.Wait(ctx)
	}
	b.unbind(l)
	return nil
}

// listen does so over one connection, until it breaks.
func (b *Broker) listen(ctx context.Context, l broker.Listening) error {
	conn, err := b.dial(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var pinger sync.WaitGroup
	defer func() {
		cancel()
		conn.Close()
		pinger.Wait()
	}()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	ps := redigo.PubSubConn{Conn: conn}
	control := b.channel(controlExchange, "")
	subscriptions := 0
	if l.Request != nil {
		if err := ps.Subscribe(control); err != nil {
			return err
		}
		subscriptions++
	}
	if l.Event != nil {
		if err := ps.PSubscribe(literalPattern.Replace(b.channel(eventExchange, "worker.")) + "*"); err != nil {
			return err
		}
		subscriptions++
	}
	pinger.Go(func() {
		tick := time.NewTicker(10 * time.Second)
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
		switch v := ps.ReceiveWithTimeout(25 * time.Second).(type) {
		case error:
			return v
		case redigo.Message:
			if v.Pattern != "" {
				l.Event(v.Data)
			} else {
				l.Request(v.Data)
			}
		case redigo.Subscription:
			if subscriptions--; subscriptions == 0 {
				if err := b.bind(ctx, l); err != nil {
					return err
				}
				l.Joined()
			}
		}
	}
}

// bind makes the node known among those that listen, as kombu does. Nobody reads
// it for a fanout exchange.
func (b *Broker) bind(ctx context.Context, l broker.Listening) error {
	if l.Request == nil {
		return nil
	}
	return b.do(ctx, func(c redigo.Conn) error {
		_, err := c.Do("SADD", b.keys.binding(controlExchange), b.controlBinding(l.Node))
		if wrongType(err) {
			return nil
		}
		return err
	})
}

func (b *Broker) unbind(l broker.Listening) {
	if l.Request == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second/2)
	defer cancel()
	_ = b.do(ctx, func(c redigo.Conn) error {
		_, err := redigo.DoContext(c, ctx, "SREM", b.keys.binding(controlExchange), b.controlBinding(l.Node))
		return err
	})
}

func (b *Broker) controlBinding(node string) string {
	return b.cfg.Separator + b.cfg.Separator + node + "." + controlExchange
}

// Reply implements [broker.Remote].
func (b *Broker) Reply(ctx context.Context, to protocol.ReplyTo, raw []byte) error {
	// What is asked by a stranger must not end in a queue of tasks.
	if !strings.HasPrefix(to.Exchange, "reply.") || !strings.HasSuffix(to.Exchange, ".pidbox") {
		return errors.New("reply: the exchange is none for answers")
	}
	queues, err := b.bound(ctx, to.Exchange, to.RoutingKey)
	if err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	queues = slices.DeleteFunc(queues, func(q string) bool { return !strings.HasSuffix(q, "."+to.Exchange) })
	err = b.do(ctx, func(c redigo.Conn) error {
		for _, q := range queues { // none: the one that asked is gone
			key := b.listKey(q, 0)
			// One step: a list without a life would stay for ever.
			if err := b.scripts.reply().SendHash(c, 1, key, raw, int(replyLife.Seconds())); err != nil {
				return err
			}
		}
		return answers(redigo.DoContext(c, ctx, ""))
	})
	if hasCode(err, "NOSCRIPT") {
		err = b.do(ctx, func(c redigo.Conn) error {
			for _, q := range queues {
				if _, err := b.scripts.reply().DoContext(ctx, c, 1, b.listKey(q, 0), raw, int(replyLife.Seconds())); err != nil {
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

// Emit implements [broker.Emitter].
func (b *Broker) Emit(ctx context.Context, es ...broker.Emission) error {
	err := b.do(ctx, func(c redigo.Conn) error {
		for _, e := range es {
			if err := c.Send("PUBLISH", b.channel(eventExchange, e.RoutingKey), e.Raw); err != nil {
				return err
			}
		}
		return answers(redigo.DoContext(c, ctx, ""))
	})
	if err != nil {
		return fmt.Errorf("publish events: %w", err)
	}
	return nil
}

// answers returns the first error among the answers to commands that were sent
// together.
func answers(reply any, err error) error {
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

// Broadcast implements [broker.Remote].
func (b *Broker) Broadcast(ctx context.Context, request []byte) error {
	_, err := b.broadcast(ctx, request)
	return err
}

func (b *Broker) broadcast(ctx context.Context, request []byte) (receivers int, err error) {
	err = b.do(ctx, func(c redigo.Conn) (err error) {
		receivers, err = redigo.Int(redigo.DoContext(c, ctx, "PUBLISH", b.channel(controlExchange, ""), request))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("broadcast a request: %w", err)
	}
	return receivers, nil
}

// Ask implements [broker.Remote].
func (b *Broker) Ask(ctx context.Context, request []byte, routingKey string, receive func(raw []byte)) error {
	const exchange = "reply.celery.pidbox"
	queue := routingKey + "." + exchange
	key, member := b.listKey(queue, 0), routingKey+b.cfg.Separator+b.cfg.Separator+queue
	err := b.do(ctx, func(c redigo.Conn) error {
		_, err := redigo.DoContext(c, ctx, "SADD", b.keys.binding(exchange), member)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask other workers: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = b.do(ctx, func(c redigo.Conn) error {
			// In this order: who answers after the first finds nobody to answer.
			if _, err := redigo.DoContext(c, ctx, "SREM", b.keys.binding(exchange), member); err != nil {
				return err
			}
			_, err := redigo.DoContext(c, ctx, "DEL", key)
			return err
		})
	}()
	n, err := b.broadcast(ctx, request)
	if err != nil || n == 0 {
		return err
	}
	conn, err := b.dial(ctx)
	if err != nil {
		return fmt.Errorf("ask other workers: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for range n {
		reply, err := redigo.ByteSlices(redigo.DoWithTimeout(conn, 3*time.Second, "BRPOP", key, 2))
		if err != nil {
			if ctx.Err() != nil || err == redigo.ErrNil {
				return nil // not all of them answer
			}
			return fmt.Errorf("ask other workers: %w", err)
		}
		if len(reply) == 2 {
			receive(reply[1])
		}
	}
	return nil
}

// Depth implements [broker.Depther].
func (b *Broker) Depth(ctx context.Context) (int, error) {
	depth := 0
	lists := b.consumed()
	err := b.do(ctx, func(c redigo.Conn) error {
		depth = 0
		for chunk := range slices.Chunk(lists, manyLists) {
			for _, l := range chunk {
				if err := c.Send("LLEN", l.key); err != nil {
					return err
				}
			}
			replies, err := redigo.Values(c.Do(""))
			if err != nil {
				return err
			}
			for _, r := range replies {
				if n, err := redigo.Int(r, nil); err == nil { // a key of another type has no depth
					depth += n
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the depth of the queues: %w", err)
	}
	return depth, nil
}

// Info implements [broker.Describer].
func (b *Broker) Info() broker.Info {
	info := broker.Info{
		Transport: "redis", VirtualHost: strconv.Itoa(b.addr.db), UserID: b.addr.username, TLS: b.addr.tls,
		ConnectTimeout: dialTimeout,
	}
	scheme, host := "redis", b.addr.host
	switch {
	case len(b.addr.sentinels) > 0:
		info.Transport, scheme, host = "sentinel", "sentinel", b.addr.sentinels[0]
	case b.addr.network == "unix":
		scheme = "redis+socket"
	case b.addr.tls:
		scheme = "rediss"
	}
	info.Hostname = host
	if name, port, err := net.SplitHostPort(host); err == nil {
		info.Hostname = name
		info.Port, _ = strconv.Atoi(port)
	}
	user := ""
	if b.addr.password != "" {
		user = url.User(b.addr.username).String() + ":********@"
	}
	info.URL = fmt.Sprintf("%s://%s%s/%d", scheme, user, host, b.addr.db)
	return info
}
