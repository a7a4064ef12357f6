package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// producer sends tasks as a Python process with Celery does, so that a task that works from
// the form works from Python.
type producer struct {
	pool    *redis.Pool
	log     *tasklog
	replyTo string // Celery's reply_to: one UUID for each producing thread
	origin  string // "gen<pid>@<host>"
}

func newProducer(pool *redis.Pool, log *tasklog) *producer {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return &producer{
		pool: pool, log: log,
		replyTo: uuid.NewString(),
		origin:  fmt.Sprintf("gen%d@%s", os.Getpid(), host),
	}
}

// send publishes the task and returns its id.
func (p *producer) send(ctx context.Context, o Order) (id string, err error) {
	m, err := p.message(o)
	if err != nil {
		return "", fmt.Errorf("build the message: %w", err)
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		return "", fmt.Errorf("build the message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	p.log.sent(m.ID, o)
	if err := p.publish(ctx, m, raw); err != nil {
		p.log.forget(m.ID)
		return "", fmt.Errorf("publish the task: %w", err)
	}
	return m.ID, nil
}

// sep is between the parts of a binding, and between a queue and a priority step, in
// kombu's Redis transport.
const sep = "\x06\x16"

func (p *producer) publish(ctx context.Context, m *protocol.Message, raw []byte) error {
	if _, err := do(ctx, p.pool, "SADD", "_kombu.binding."+queue, queue+sep+sep+queue); err != nil {
		return err
	}
	// The priority steps are 0, 3, 6 and 9; step 0 is the plain list.
	key := queue
	if step := m.Priority / 3 * 3; step > 0 {
		key += sep + strconv.Itoa(step)
	}
	_, err := do(ctx, p.pool, "LPUSH", key, raw)
	return err
}

func (p *producer) message(o Order) (*protocol.Message, error) {
	args := o.Args
	if args == nil {
		args = []any{}
	}
	rawArgs, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	rawKwargs, err := json.Marshal(o.Kwargs)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	ignore := false
	return &protocol.Message{
		Protocol: 2,
		ID:       id, Task: o.Task, RootID: id, Lang: "py", Origin: p.origin,
		ETA:      o.ETA.Truncate(time.Microsecond),
		ArgsRepr: repr(args), KwargsRepr: repr(o.Kwargs),
		IgnoreResult: &ignore,
		Stamps:       protocol.Raw("{}"),
		Args:         rawArgs, Kwargs: rawKwargs,
		CorrelationID: id, ReplyTo: p.replyTo, DeliveryTag: uuid.NewString(),
		RoutingKey: queue, Priority: o.Priority,
		ContentType: "application/json", ContentEncoding: "utf-8",
	}, nil
}

// repr writes v as Python's repr does. Celery puts this text into argsrepr and kwargsrepr.
func repr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		quote := "'"
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			quote = `"`
		}
		return quote + strings.NewReplacer(`\`, `\\`, quote, `\`+quote, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(v) + quote
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = repr(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case object:
		items := make([]string, len(v))
		for i, m := range v {
			items[i] = repr(m.Key) + ": " + repr(m.Value)
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(v)
}
