package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// maxEntries is how many tasks are kept. The oldest are removed first.
const maxEntries = 300

// metaPrefix begins the key of a result, and the channel that announces it
// (Celery's Redis backend).
const metaPrefix = "celery-task-meta-"

// Entry is the state of one task for the page.
type Entry struct {
	ID      string
	Task    string // name in the message; "" until a worker has begun it
	Title   string
	About   string // recipient, when the form sent it
	ByForm  bool   // sent by the form, not by another producer
	Seen    time.Time
	ETA     time.Time // zero: at once
	State   string    // Celery's: PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED
	Done    time.Time // zero: not done
	Retries int

	reference string // what the Message-ID of its mail begins with; "" until a worker has begun it

	Result json.RawMessage // "result" of the stored meta
	Meta   json.RawMessage // all of celery-task-meta-<id>
}

// wrote reports whether the mail with that Message-ID is of this task.
func (e Entry) wrote(messageID string) bool {
	return e.reference != "" && strings.HasPrefix(messageID, "<"+e.reference+"@")
}

// Refused reports whether the task ended with an answer that says no.
func (e Entry) Refused() bool {
	var answer struct {
		Success *bool  `json:"success"`
		Status  string `json:"status"`
	}
	if e.State != "SUCCESS" || json.Unmarshal(e.Result, &answer) != nil {
		return false
	}
	return (answer.Success != nil && !*answer.Success) || answer.Status == "unhealthy"
}

// tasklog keeps the tasks of this run, from the form and from other producers. It is safe
// for concurrent use.
type tasklog struct {
	changed *pulse
	now     func() time.Time
	titles  map[string]string // by short name

	mu      sync.Mutex
	entries []*Entry // newest last
}

func newTasklog(changed *pulse, now func() time.Time) *tasklog {
	l := &tasklog{changed: changed, now: now, titles: map[string]string{}}
	for _, f := range forms(now()) {
		l.titles[f.Task] = f.Title
	}
	return l
}

// update changes the entry of a task. It adds the entry if there is none.
func (l *tasklog) update(id string, change func(*Entry)) {
	l.mu.Lock()
	var e *Entry
	for _, known := range l.entries {
		if known.ID == id {
			e = known
			break
		}
	}
	if e == nil {
		e = &Entry{ID: id, State: "PENDING", Seen: l.now(), Title: "Task"}
		l.entries = append(l.entries, e)
		if len(l.entries) > maxEntries {
			l.entries[0] = nil
			l.entries = l.entries[1:]
		}
	}
	change(e)
	if title, ok := l.titles[strings.TrimPrefix(e.Task, module)]; ok {
		e.Title = title
	} else if e.Task != "" {
		e.Title = e.Task
	}
	l.mu.Unlock()
	l.changed.beat()
}

// sent adds a task of the form. It is called before the task is sent, because the answer
// may be quick.
func (l *tasklog) sent(id string, o Order) {
	l.update(id, func(e *Entry) {
		e.Task, e.About, e.ETA, e.ByForm = o.Task, o.About, o.ETA, true
	})
}

// forget removes a task that could not be sent.
func (l *tasklog) forget(id string) {
	l.mu.Lock()
	for i, e := range l.entries {
		if e.ID == id {
			l.entries = append(l.entries[:i], l.entries[i+1:]...)
			break
		}
	}
	l.mu.Unlock()
	l.changed.beat()
}

// began notes that the worker runs a task. The name of a task that another producer sent
// is known from here only, because a result does not have it.
// reference is what the Message-ID of its mail begins with.
func (l *tasklog) began(id, name, reference string, retries int) {
	l.update(id, func(e *Entry) { e.Task, e.reference, e.Retries = name, reference, retries })
}

// stored notes the result that the backend has.
func (l *tasklog) stored(id string, meta []byte) error {
	var m struct {
		Status string          `json:"status"`
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(meta, &m); err != nil {
		return fmt.Errorf("read the result of task %s: %w", id, err)
	}
	l.update(id, func(e *Entry) {
		e.State, e.Result, e.Meta = m.Status, m.Result, meta
		switch m.Status {
		case "SUCCESS", "FAILURE", "REVOKED":
			e.Done = l.now()
		}
	})
	return nil
}

// all returns the tasks, the newest first.
func (l *tasklog) all() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Entry, 0, len(l.entries))
	for i := len(l.entries) - 1; i >= 0; i-- {
		list = append(list, *l.entries[i])
	}
	return list
}

// get returns the task with that id.
func (l *tasklog) get(id string) (Entry, bool) {
	for _, e := range l.all() {
		if e.ID == id {
			return e, true
		}
	}
	return Entry{}, false
}

// sender returns the task that sent the mail with that Message-ID.
func (l *tasklog) sender(messageID string) (Entry, bool) {
	for _, e := range l.all() {
		if e.wrote(messageID) {
			return e, true
		}
	}
	return Entry{}, false
}

// clear removes all tasks.
func (l *tasklog) clear() {
	l.mu.Lock()
	l.entries = nil
	l.mu.Unlock()
	l.changed.beat()
}

// watch follows the results in the Redis at address until ctx ends.
func (l *tasklog) watch(ctx context.Context, address string, pool *redis.Pool, logger *slog.Logger) {
	for ctx.Err() == nil {
		err := l.follow(ctx, address, pool, logger)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		logger.Warn("results not followed, subscribing again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// follow subscribes to all results and reads each one that is announced. An announcement
// says that there is a result; the key has it, as for all Celery clients.
func (l *tasklog) follow(ctx context.Context, address string, pool *redis.Pool, logger *slog.Logger) error {
	dialer := net.Dialer{Timeout: callTimeout}
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("subscribe to results: %w", err)
	}
	// A read of redigo cannot be cancelled, but its connection can be closed.
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	sub := redis.PubSubConn{Conn: redis.NewConn(nc, callTimeout, callTimeout)}
	defer sub.Close()
	if err := sub.PSubscribe(metaPrefix + "*"); err != nil {
		return fmt.Errorf("subscribe to results: %w", err)
	}
	for {
		switch msg := sub.ReceiveWithTimeout(idle).(type) {
		case redis.Subscription:
			// Results that were announced before the subscription.
			for _, e := range l.all() {
				if e.Done.IsZero() {
					l.read(ctx, pool, logger, e.ID)
				}
			}
		case redis.Message:
			l.read(ctx, pool, logger, strings.TrimPrefix(msg.Channel, metaPrefix))
		case error:
			if nerr, ok := errors.AsType[net.Error](msg); ok && nerr.Timeout() {
				return nil // no result for a while; the caller subscribes again
			}
			return fmt.Errorf("receive results: %w", msg)
		}
	}
}

func (l *tasklog) read(ctx context.Context, pool *redis.Pool, logger *slog.Logger, id string) {
	meta, err := redis.Bytes(do(ctx, pool, "GET", metaPrefix+id))
	if errors.Is(err, redis.ErrNil) {
		return // expired or deleted by now
	}
	if err == nil {
		err = l.stored(id, meta)
	}
	if err != nil && ctx.Err() == nil {
		logger.Warn("result not read", "task_id", id, "error", err)
	}
}

const (
	callTimeout = 5 * time.Second // of one call to the embedded Redis
	idle        = time.Minute     // without any result, before we subscribe again
)

// newPool returns a pool of connections to the embedded Redis. All calls have deadlines.
func newPool(address string) *redis.Pool {
	return &redis.Pool{
		MaxIdle:     2,
		IdleTimeout: time.Minute,
		TestOnBorrow: func(c redis.Conn, used time.Time) error {
			if time.Since(used) < time.Second {
				return nil
			}
			_, err := c.Do("PING") // Redis may have been switched off meanwhile
			return err
		},
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", address,
				redis.DialConnectTimeout(callTimeout), redis.DialReadTimeout(callTimeout), redis.DialWriteTimeout(callTimeout))
		},
	}
}

// do runs one command.
func do(ctx context.Context, pool *redis.Pool, command string, args ...any) (any, error) {
	c, err := pool.GetContext(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return redis.DoContext(c, ctx, command, args...)
}
