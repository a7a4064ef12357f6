package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// sentinelTimeout bounds one question to one Sentinel. There are others to ask.
const sentinelTimeout = time.Second

// followInterval is the pause between two questions whether the master is
// still the same. A master that was replaced as planned goes on to take writes
// for seconds, and all of them are lost: whoever waits for its refusal is late.
const followInterval = 500 * time.Millisecond

// errNoMaster: a Sentinel does not know where the master is, or named a server
// that is not one.
var errNoMaster = errors.New("no master")

// masters is what is known of the Sentinels and of the master that they watch.
type masters struct {
	mu     sync.Mutex
	order  []string // Sentinels, the one that answered last first
	used   string   // address of the master that connections lead to
	asking sentinelConn
}

// sentinelConn is the open connection of follow; only that uses it.
type sentinelConn struct {
	host string
	conn redigo.Conn
}

// dialMaster asks one Sentinel after the other for the master, and connects to
// the first answer that is one.
func (b *Broker) dialMaster(ctx context.Context, nd netDialer) (redigo.Conn, error) {
	var faults []error
	for _, sentinel := range b.sentinelOrder() {
		master, err := b.askOnce(ctx, sentinel)
		if err == nil {
			var c redigo.Conn
			if c, err = b.dialNamed(ctx, master, nd); err == nil {
				b.preferSentinel(sentinel, master)
				return c, nil
			}
		}
		faults = append(faults, fmt.Errorf("sentinel %s: %w", sentinel, dialCause(err)))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("connect to redis %s: %w", b.addr, errors.Join(faults...))
}

// dialNamed connects to a server and makes sure that it is a master: Sentinels
// name the old one for a while after it has failed.
func (b *Broker) dialNamed(ctx context.Context, addr string, nd netDialer) (redigo.Conn, error) {
	c, err := b.dialServer(ctx, "tcp", addr, nd)
	if err != nil {
		return nil, err
	}
	role, err := redigo.Values(c.Do("ROLE"))
	name := ""
	if err == nil && len(role) > 0 {
		name, err = redigo.String(role[0], nil)
	}
	if err == nil && name != "master" {
		err = fmt.Errorf("%w: %s says that it is a %s", errNoMaster, addr, name)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (b *Broker) dialSentinel(ctx context.Context, sentinel string) (redigo.Conn, error) {
	opts := []redigo.DialOption{
		redigo.DialReadTimeout(sentinelTimeout),
		redigo.DialWriteTimeout(sentinelTimeout),
		redigo.DialContextFunc(b.netDial),
	}
	if b.cfg.SentinelPassword != "" {
		opts = append(opts, redigo.DialUsername(b.cfg.SentinelUsername), redigo.DialPassword(b.cfg.SentinelPassword))
	}
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	return redigo.DialContext(ctx, "tcp", sentinel, opts...)
}

func (b *Broker) askOnce(ctx context.Context, sentinel string) (master string, err error) {
	c, err := b.dialSentinel(ctx, sentinel)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return b.ask(c)
}

func (b *Broker) ask(c redigo.Conn) (master string, err error) {
	parts, err := redigo.Strings(c.Do("SENTINEL", "get-master-addr-by-name", b.cfg.SentinelMaster))
	if errors.Is(err, redigo.ErrNil) || err == nil && len(parts) != 2 {
		return "", fmt.Errorf("%w of the name %q is known", errNoMaster, b.cfg.SentinelMaster)
	}
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(parts[0], parts[1]), nil
}

// follow asks whether the master is still the one that our connections lead to,
// and gives them up when it is not.
func (b *Broker) follow(ctx context.Context) error {
	asking := &b.masters.asking
	if asking.conn == nil {
		asking.host = b.sentinelOrder()[0]
		c, err := b.dialSentinel(ctx, asking.host)
		if err != nil {
			b.deferSentinel(asking.host)
			return fmt.Errorf("sentinel %s: %w", asking.host, dialCause(err))
		}
		asking.conn = c
	}
	master, err := b.ask(asking.conn)
	if err != nil {
		b.unfollow()
		b.deferSentinel(asking.host)
		return fmt.Errorf("sentinel %s: %w", asking.host, dialCause(err))
	}
	b.masters.mu.Lock()
	used := b.masters.used
	b.masters.mu.Unlock()
	if used == "" || used == master {
		return nil
	}
	// A Sentinel that is cut off from the others names an old master for ever.
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := b.dialNamed(ctx, master, b.netDial)
	if err != nil {
		return fmt.Errorf("look at the new master: %w", err)
	}
	c.Close()
	b.preferSentinel(asking.host, master)
	b.log.Warn("redis has another master now", "master", master)
	b.Reset()
	return nil
}

func (b *Broker) unfollow() {
	if c := b.masters.asking.conn; c != nil {
		c.Close()
		b.masters.asking.conn = nil
	}
}

func (b *Broker) sentinelOrder() []string {
	b.masters.mu.Lock()
	defer b.masters.mu.Unlock()
	if b.masters.order == nil {
		b.masters.order = slices.Clone(b.addr.sentinels)
	}
	return slices.Clone(b.masters.order)
}

// preferSentinel puts a Sentinel to the front: it told the truth.
func (b *Broker) preferSentinel(sentinel, master string) {
	b.masters.mu.Lock()
	defer b.masters.mu.Unlock()
	b.masters.used = master
	b.masters.order = slices.DeleteFunc(b.masters.order, func(s string) bool { return s == sentinel })
	b.masters.order = slices.Insert(b.masters.order, 0, sentinel)
}

// deferSentinel puts a Sentinel to the end: it did not answer.
func (b *Broker) deferSentinel(sentinel string) {
	b.masters.mu.Lock()
	defer b.masters.mu.Unlock()
	b.masters.order = slices.DeleteFunc(b.masters.order, func(s string) bool { return s == sentinel })
	b.masters.order = append(b.masters.order, sentinel)
}
