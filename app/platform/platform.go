// Package platform has a worker listen to the events of the platform.
package platform

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evently/workers/config"
	"github.com/evently/workers/events"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
)

// Parts are the parts of a worker that it needs.
type Parts struct {
	Feed       *redis.Broker // whose connections follow the master
	Publisher  *redis.Broker // open until Run has ended
	Publishing worker.Publishing
	Logger     *slog.Logger
}

// Platform listens to the events of the platform. nil listens to none.
type Platform struct {
	channels []events.Channel
	listener *events.Listener
}

// Check returns the mistakes in the channels of the configuration.
func Check(cfg config.Config) []config.Problem {
	_, errs := events.ParseChannels(cfg.Events.Channels)
	if len(errs) == 0 {
		return nil
	}
	var wrong []string
	for _, e := range errs {
		wrong = append(wrong, e.Error())
	}
	return []config.Problem{{
		Variable: "EVENT_CHANNELS", Wrong: strings.Join(wrong, "; "), Right: "write some of " + strings.Join(events.Names(events.Channels()), ", "),
	}}
}

// Kinds returns the kinds of mails that events may ask for.
func Kinds(cfg config.Config) []templates.Kind {
	channels, _ := events.ParseChannels(cfg.Events.Channels)
	return events.Kinds(channels)
}

// Open returns what listens to the channels of the configuration, nil if there are none. It
// connects to nothing.
func Open(cfg config.Config, p Parts) (*Platform, error) {
	channels, errs := events.ParseChannels(cfg.Events.Channels)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	if len(channels) == 0 {
		return nil, nil
	}
	client, err := worker.NewClient(worker.ClientConfig{Backend: p.Publisher, Publishing: p.Publishing})
	if err != nil {
		return nil, err
	}
	queue := tasks.Queue
	if !slices.Contains(cfg.Worker.Queues, queue) {
		queue = cfg.Worker.Queues[0]
	}
	l, err := events.New(events.Config{
		Channels: channels, Feed: p.Feed, Names: p.Publisher.Dictionary(events.DictionaryName, events.NamesMax), Sender: client,
		Queue: queue, Delay: cfg.Events.Delay, Logger: p.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Platform{channels: channels, listener: l}, nil
}

// Run listens until ctx ends.
func (p *Platform) Run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	return p.listener.Run(ctx)
}

// Collectors returns the metrics.
func (p *Platform) Collectors() []prometheus.Collector {
	if p == nil {
		return nil
	}
	return []prometheus.Collector{p.listener.Metrics()}
}

// State returns the state for the health server.
func (p *Platform) State() monitor.EventsState {
	if p == nil {
		return monitor.EventsState{}
	}
	s := p.listener.Status()
	return monitor.EventsState{
		Channels: events.Names(p.channels), Listening: s.Listening, Since: s.Since, Reason: reasonOf(s.Reason), Waiting: s.Waiting,
		Queued: s.Queued, Known: s.Known, Refused: s.Refused, Dropped: s.Dropped,
		GapFrom: s.LastGap.From, GapTo: s.LastGap.To, Gaps: s.Gaps, Found: s.Found,
	}
}

// reasonOf returns the reason of a connection that broke, in words that all may read.
func reasonOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, redis.ErrForbidden):
		return "the Redis user may not subscribe to these channels"
	case errors.Is(err, context.DeadlineExceeded):
		return "Redis does not answer"
	}
	return "no connection to Redis"
}
