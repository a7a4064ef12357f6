package worker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/internal/events"
	"github.com/evently/workers/worker/internal/fnmatch"
	"github.com/evently/workers/worker/internal/present"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redact"
)

// Publishing configures how tasks are published: by a [Client], and by a [Worker] for its
// handlers and for the consequences of a task, such as callbacks. Zero fields mean Celery's
// defaults.
type Publishing struct {
	// Routes select the queue of tasks whose options name none (task_routes). The first
	// match counts.
	Routes []Route

	// DefaultQueue is the queue of tasks that no route matches (task_default_queue).
	// Default: "celery".
	DefaultQueue string

	// InheritParentPriority gives tasks the priority of the task that publishes them
	// (task_inherit_parent_priority).
	InheritParentPriority bool

	// ErrorCallbacksOnChordHeader links error callbacks of a chord to the members
	// of its header too (task_allow_error_cb_on_chord_header).
	ErrorCallbacksOnChordHeader bool

	// Encoding is the encoding of messages whose options and route select none
	// (task_serializer, task_compression). Default: JSON, not compressed.
	Encoding protocol.EncodeOptions

	// SendSentEvent sends an event for every publication (task_send_sent_event).
	SendSentEvent bool

	// BeforePublish, when set, is called for each message that is about to be published: by
	// Send, as a retry, or as the consequence of a task, such as a callback, the rest of a
	// chain, or the body of a chord. It may set custom headers with
	// [protocol.Message.SetHeader], such as a tenant or a trace (see worker/oteltrace). It
	// must not change the rest of the message.
	//
	// ctx is the context of Send. For a consequence of a task it has the values of the
	// context that the handler ran in, as the innermost Middleware saw it, so that TaskFrom
	// returns the task. Many goroutines call the hook, and the settlement of a task waits
	// for it, so it must return quickly. A panic keeps the message from being published.
	BeforePublish func(ctx context.Context, m *protocol.Message)

	// CanvasLimits bound the tasks that a signature may unfold to.
	CanvasLimits canvas.Limits
}

// Route selects the queue of some tasks (task_routes). The options of a signature take
// precedence.
type Route struct {
	// Task is a task name, or a pattern of names with * and ? and [...], as in
	// "feeds.tasks.*".
	Task string
	// Regexp, when not nil, matches names instead of Task, at their beginning.
	Regexp *regexp.Regexp

	// Queue, or Exchange and RoutingKey, is the destination.
	Queue, Exchange, RoutingKey string
	Priority                    *int
	Encoding                    protocol.EncodeOptions
}

// RouteError reports a message that no queue would receive.
type RouteError = broker.RouteError

// publisherConfig describes a publisher.
type publisherConfig struct {
	Publishing
	reads *protocol.Decoder                         // of the worker; nil: a client reads no messages
	clock *events.Clock                             // of the events
	show  func(*protocol.Message) present.Arguments // arguments, as others may see them
}

// publisher makes messages out of the plans of canvas.
type publisher struct {
	cfg     publisherConfig
	routes  []route
	origin  string // header "origin" of what this process publishes
	replyTo string
	now     func() time.Time
}

func newPublisher(cfg publisherConfig) *publisher {
	cfg.DefaultQueue = cmp.Or(cfg.DefaultQueue, "celery")
	return &publisher{
		cfg: cfg, routes: prepare(cfg.Routes), origin: fmt.Sprintf("gen%d@%s", os.Getpid(), nodeName("%h")),
		replyTo: uuid.NewString(), now: time.Now,
	}
}

// hideUsual shows the arguments of tasks whose definitions are not known, in events.
func hideUsual() func(*protocol.Message) present.Arguments {
	redactor := redact.New().Bounded(present.InEvent)
	return func(m *protocol.Message) present.Arguments { return present.Hide(redactor, m, nil) }
}

// context returns what canvas has to know; m is the running task, or nil.
func (p *publisher) context(m *protocol.Message) canvas.Context {
	c := canvas.Context{
		NewID: uuid.NewString, Now: p.now(), Origin: p.origin, ReplyTo: p.replyTo,
		ErrbacksOnHeader: p.cfg.ErrorCallbacksOnChordHeader, Limits: p.cfg.CanvasLimits,
	}
	if m != nil {
		c.ParentID, c.RootID = m.ID, m.RootID
		if p.cfg.InheritParentPriority {
			c.Priority = &m.Priority
		}
	}
	return c
}

// changes turns a plan into changes for a broker.
func (p *publisher) changes(ctx context.Context, plan *canvas.Plan) (broker.Changes, error) {
	c := broker.Changes{
		Sizes: plan.Sizes, Groups: plan.Groups, Joins: plan.Joins, Results: plan.Results, Members: plan.ChordParts,
	}
	for _, out := range plan.Messages {
		one, err := p.publication(ctx, out)
		if err != nil {
			return broker.Changes{}, err
		}
		c.Publish = append(c.Publish, one)
	}
	return c, nil
}

func (p *publisher) publication(ctx context.Context, out canvas.Outgoing) (broker.Publication, error) {
	m := out.Message
	m.Properties = out.Properties
	pub := broker.Publication{Queue: out.Queue, Exchange: out.Exchange, RoutingKey: out.RoutingKey}
	encoding := protocol.EncodeOptions{Serializer: out.Serializer, Compression: out.Compression}
	if r, ok := p.route(out.RouteName); ok {
		if pub.Queue == "" && pub.Exchange == "" && pub.RoutingKey == "" {
			pub.Queue, pub.Exchange, pub.RoutingKey = r.Queue, r.Exchange, r.RoutingKey
		}
		if r.Priority != nil && m.Priority == 0 {
			m.Priority = *r.Priority
		}
		encoding = orEncoding(encoding, r.Encoding)
	}
	if pub.Queue == "" && pub.Exchange == "" {
		// A routing key alone names a queue in Celery's usual topology.
		pub.Queue = cmp.Or(pub.RoutingKey, p.cfg.DefaultQueue)
	}
	if pub.Queue != "" {
		pub.Exchange, pub.RoutingKey = "", pub.Queue
	}
	m.Exchange, m.RoutingKey = pub.Exchange, pub.RoutingKey
	if err := p.prepare(ctx, m); err != nil {
		return broker.Publication{}, err
	}
	encoding = orEncoding(encoding, p.cfg.Encoding)
	raw, err := protocol.EncodeAs(m, encoding)
	if err == nil {
		err = p.readable(m, encoding, raw)
	}
	if err != nil {
		return broker.Publication{}, fmt.Errorf("publish %s: %w", m.Task, err)
	}
	pub.Priority, pub.Raw = m.Priority, raw
	if p.cfg.SendSentEvent {
		if pub.Sent, err = p.sentEvent(m, pub); err != nil {
			return broker.Publication{}, fmt.Errorf("publish %s: %w", m.Task, err)
		}
	}
	return pub, nil
}

// readable refuses to publish a message of a serializer that this worker reads, and that
// it could not read for its size or depth. The caller of the task would be told later, and
// by other workers never.
func (p *publisher) readable(m *protocol.Message, encoding protocol.EncodeOptions, raw []byte) error {
	if p.cfg.reads == nil || encoding.Serializer != "" && encoding.Serializer != "json" || p.small(m, raw) {
		return nil
	}
	_, err := p.cfg.reads.Decode(raw)
	e, ok := errors.AsType[*protocol.DecodeError](err)
	if !ok {
		return nil
	}
	switch e.Reason {
	case protocol.ReasonTooLarge, protocol.ReasonTooDeep, protocol.ReasonTooManyElements:
		return fmt.Errorf("this worker could not read its message of %d bytes: %w; raise the limits of messages, or pass less", len(raw), err)
	}
	return nil
}

// small reports whether no limit can be exceeded, without a look at the values. Each of
// these has a byte at least, each level a bracket.
func (p *publisher) small(m *protocol.Message, raw []byte) bool {
	lim := p.cfg.reads.Limits
	if m.Size() > lim.Size/4 || len(raw) > lim.Size || len(raw) > lim.Elements {
		return false
	}
	brackets := 0
	for _, r := range []protocol.Raw{m.Args, m.Kwargs, m.Callbacks, m.Errbacks, m.Chain, m.Chord, m.Stamps} {
		brackets += bytes.Count(r, []byte("[")) + bytes.Count(r, []byte("{"))
	}
	return brackets+4 < lim.Depth
}

// sentEvent returns the event task-sent of a publication.
func (p *publisher) sentEvent(m *protocol.Message, pub broker.Publication) (*broker.Emission, error) {
	s := p.cfg.show(m)
	now := p.now()
	var e events.Members
	e.Text("uuid", m.ID)
	e.TextOrNull("root_id", cmp.Or(m.RootID, m.ID))
	e.TextOrNull("parent_id", m.ParentID)
	e.Text("name", m.Task)
	e.Text("args", s.ArgsRepr)
	e.Text("kwargs", s.KwargsRepr)
	e.Number("retries", m.Retries)
	e.Time("eta", m.ETA)
	e.Time("expires", m.Expires)
	e.TextOrNull("queue", pub.Queue)
	e.Text("exchange", pub.Exchange)
	e.Text("routing_key", pub.RoutingKey)
	body, err := protocol.AppendEvent(nil, &protocol.Event{
		Type: "task-sent", Hostname: p.origin, UTCOffset: events.HoursWest(now), PID: os.Getpid(), Clock: p.cfg.clock.Forward(), Timestamp: now,
		Members: e.Bytes(),
	})
	if err != nil {
		return nil, err
	}
	key := protocol.EventRoutingKey("task-sent")
	raw, err := protocol.EncodeEvents(key, p.origin, uuid.NewString(), body)
	if err != nil {
		return nil, err
	}
	return &broker.Emission{RoutingKey: key, Raw: raw}, nil
}

// sentEvents returns the events task-sent of publications.
func sentEvents(ps []broker.Publication) (es []broker.Emission) {
	for _, p := range ps {
		if p.Sent != nil {
			es = append(es, *p.Sent)
		}
	}
	return es
}

func (p *publisher) route(task string) (Route, bool) {
	for _, r := range p.routes {
		if r.matches(task) {
			return r.Route, true
		}
	}
	return Route{}, false
}

func orEncoding(o, otherwise protocol.EncodeOptions) protocol.EncodeOptions {
	return protocol.EncodeOptions{
		Serializer:  cmp.Or(o.Serializer, otherwise.Serializer),
		Compression: cmp.Or(o.Compression, otherwise.Compression),
	}
}

// route is a Route that is ready for use.
type route struct {
	Route
	pattern *regexp.Regexp // of the whole name; nil: only Task itself
}

func prepare(routes []Route) []route {
	prepared := make([]route, len(routes))
	for i, r := range routes {
		prepared[i].Route = r
		if re, err := fnmatch.Compile(r.Task); err == nil && r.Regexp == nil {
			prepared[i].pattern = re
		}
	}
	return prepared
}

func (r route) matches(task string) bool {
	if r.Regexp != nil {
		at := r.Regexp.FindStringIndex(task)
		return at != nil && at[0] == 0
	}
	return r.Task == task || r.pattern != nil && r.pattern.MatchString(task)
}

// prepare completes the headers of a message that is about to be published.
func (p *publisher) prepare(ctx context.Context, m *protocol.Message) (err error) {
	if t, ok := TaskFrom(ctx); ok && t.Message != nil {
		passTrace(t.Message, m)
	}
	if p.cfg.BeforePublish == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("publish %s: BeforePublish: %w", m.Task, &errPanic{value: v})
		}
	}()
	p.cfg.BeforePublish(ctx, m)
	return nil
}

// prepareRetry completes the headers of another attempt. It has the headers of the last
// one, with the trace.
func (p *publisher) prepareRetry(ctx context.Context, m *protocol.Message, o protocol.RetryOptions) error {
	if p.cfg.BeforePublish == nil {
		return nil
	}
	next := *m
	next.Retries, next.ETA, next.Exchange, next.RoutingKey = m.Retries+1, o.ETA, "", o.Queue
	if o.Retries != nil {
		next.Retries = *o.Retries
	}
	err := p.prepare(ctx, &next)
	m.Headers = next.Headers
	return err
}

// traceHeaders are the headers of the W3C recommendation Trace Context. The sizes bound the
// headers that are passed on, because one message may publish many thousands. A
// traceparent has 55 bytes today, and 512 bytes of a tracestate must be kept.
var traceHeaders = []struct {
	name string
	most int
}{{"traceparent", 128}, {"tracestate", 1024}}

// passTrace lets a message belong to the trace of the task that publishes it, so that a
// worker without tracing does not cut traces. A message that has a trace keeps it.
func passTrace(from, to *protocol.Message) {
	if !to.Header(traceHeaders[0].name).IsNull() {
		return
	}
	for i, h := range traceHeaders {
		value := from.Header(h.name)
		if len(value) > h.most+2 || len(value) < 2 || value[0] != '"' {
			if i == 0 {
				return // the state means nothing without the parent
			}
			continue
		}
		to.SetHeader(h.name, value)
	}
}
