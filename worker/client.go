package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/fallback"
	"github.com/evently/workers/worker/internal/revoked"
	"github.com/evently/workers/worker/protocol"
)

// ClientConfig describes a Client.
type ClientConfig struct {
	// Backend carries the messages and keeps the results, such as a Broker of
	// worker/redis. Required.
	Backend broker.Backend
	Publishing
}

// Client publishes tasks for workers in any language and waits for their results. Many
// goroutines may use it. Inside of a handler use [Task.Send], so that the tasks know their
// parent.
type Client struct {
	backend  broker.Backend
	emitter  broker.Emitter
	pub      *publisher
	exchange *revoked.Exchange
}

// NewClient checks cfg and makes a Client. Its error names every fault.
func NewClient(cfg ClientConfig) (*Client, error) {
	var fs faults = cfg.check()
	if isNil(cfg.Backend) {
		fs.add("Backend is missing: take a Broker from worker/redis")
	}
	if err := errors.Join(fs...); err != nil {
		return nil, fmt.Errorf("client configuration: %w", err)
	}
	can, clock := fallback.Capabilities(cfg.Backend), &events.Clock{}
	return &Client{
		backend: cfg.Backend, emitter: can.Emitter,
		pub:      newPublisher(publisherConfig{Publishing: cfg.Publishing, clock: clock, show: hideUsual()}),
		exchange: revoked.NewExchange(can, clock, slog.Default()),
	}, nil
}

// Send publishes a signature, as its apply_async does in Python: a task, or a
// chain, group or chord of them. Make one with [canvas.New] and its companions.
//
// An error may leave open whether the message was published, when the connection broke
// before the answer came. A task with a chosen id (canvas.Options) can be sent again
// without harm if its work can be repeated.
func (c *Client) Send(ctx context.Context, s *canvas.Signature) (*AsyncResult, error) {
	return c.send(ctx, s, "")
}

// SendOnce publishes a signature as Send does, unless one was published under that name within
// the last day, by whichever client: then the error is [ErrRepeated]. A task with a chosen id
// (canvas.Options) can be found by all of them.
func (c *Client) SendOnce(ctx context.Context, name string, s *canvas.Signature) (*AsyncResult, error) {
	if name == "" {
		return nil, errors.New("send once: the name is empty")
	}
	return c.send(ctx, s, name)
}

// ErrRepeated is the error of [Client.SendOnce] for a name that was used before.
var ErrRepeated = broker.ErrRepeated

func (c *Client) send(ctx context.Context, s *canvas.Signature, once string) (*AsyncResult, error) {
	plan, err := canvas.Apply(s, nil, nil, c.pub.context(nil))
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	changes, err := c.pub.changes(ctx, plan)
	if err != nil {
		return nil, err
	}
	changes.Once = once
	if err := c.backend.Publish(ctx, changes); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	if es := sentEvents(changes.Publish); len(es) > 0 {
		_ = c.emitter.Emit(ctx, es...) // the task is published in any case
	}
	return c.handle(plan.Handle)
}

// Result returns the handle of a task that was sent elsewhere.
func (c *Client) Result(id string) *AsyncResult { return &AsyncResult{ID: id, backend: c.backend} }

// Group returns the handle of a group that was saved, by [AsyncResult.Save] or by
// GroupResult.save in Python; nil when there is none.
func (c *Client) Group(ctx context.Context, id string) (*AsyncResult, error) {
	saved, err := c.backend.Group(ctx, id)
	if err != nil || saved == nil {
		return nil, err
	}
	var outer struct{ Result protocol.Raw }
	if err := protocol.Unmarshal(saved, &outer); err != nil {
		return nil, fmt.Errorf("read the group %s: %w", id, err)
	}
	return c.handle(outer.Result)
}

// Revoke keeps tasks from running, in all workers. One that runs already goes on.
func (c *Client) Revoke(ctx context.Context, ids ...string) error {
	return c.exchange.Publish(ctx, broker.Revocation{IDs: ids}, false)
}

// Terminate keeps tasks from running, and ends running tasks: a worker of this kind ends
// their contexts, a Python worker the process.
func (c *Client) Terminate(ctx context.Context, ids ...string) error {
	return c.exchange.Publish(ctx, broker.Revocation{IDs: ids}, true)
}

// RevokeByStamps keeps all tasks from running that carry one of the values under
// the name of a stamped header.
func (c *Client) RevokeByStamps(ctx context.Context, stamps map[string][]any) error {
	r := broker.Revocation{Stamps: map[string][]protocol.Raw{}}
	for name, values := range stamps {
		for _, v := range values {
			raw, err := protocol.Marshal(v)
			if err != nil {
				return fmt.Errorf("revoke by the stamp %s: %w", name, err)
			}
			r.Stamps[name] = append(r.Stamps[name], raw)
		}
	}
	return c.exchange.Publish(ctx, r, false)
}

func (c *Client) handle(tuple protocol.Raw) (*AsyncResult, error) {
	return parseHandle(c.backend, tuple)
}
