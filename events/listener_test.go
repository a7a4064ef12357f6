package events_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/events"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/redis"
)

// platform is a feed, a dictionary and a sender in memory. The sender fails at first.
type platform struct {
	events [][2]string

	mu    sync.Mutex
	names map[string]string
	fails int
	sent  map[string]*canvas.Signature
}

func (p *platform) Subscribe(ctx context.Context, s redis.Subscription) error {
	s.Joined()
	for _, e := range p.events {
		s.Message(e[0], []byte(e[1]))
	}
	s.Heard(redis.Heard{New: true, Gaps: 1, From: time.Unix(10, 0), To: time.Unix(13, 0)})
	<-ctx.Done()
	return nil
}

func (p *platform) Get(_ context.Context, key string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[key], nil
}

func (p *platform) Set(_ context.Context, key, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[key] = text
	return nil
}

func (p *platform) Age(context.Context, string) error { return nil }

func (p *platform) SendOnce(_ context.Context, name string, s *canvas.Signature) (*worker.AsyncResult, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails--; p.fails >= 0 {
		return nil, errors.New("redis is unavailable")
	}
	if p.sent[name] != nil {
		return nil, worker.ErrRepeated
	}
	p.sent[name] = s
	return nil, nil
}

// Events become tasks once, with the names that were learned before, and hostile ones nothing.
// Nothing of an event is logged.
func TestListener(t *testing.T) {
	t.Parallel()
	const channel = "evently:bookings:confirmed"
	p := &platform{names: map[string]string{}, sent: map[string]*canvas.Signature{}, fails: 2, events: [][2]string{
		{"evently:events:created", `{"type": "EventCreated", "event_id": 5, "event_data": {"id": 5, "name": " Jazz\nNight ", "title": "x"}}`},
		{"evently:events:deleted", `{"type": "EventDeleted", "event_id": 5}`},
		{channel, confirmed}, {channel, confirmed}, {channel, `{"secret": "canary"}`}, {channel, strings.Repeat("canary", events.MaxSize)},
		{"evently:events:updated", `{"type": "EventUpdated", "event_id": 5, "event_data": {"name": {"canary": 1}}}`},
	}}
	var log strings.Builder
	l, err := events.New(events.Config{
		Channels: []events.Channel{channelOf(t)}, Feed: p, Names: p, Sender: p, Queue: "q", Delay: time.Second,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	for end := time.Now().Add(20 * time.Second); l.Status().Refused < 3 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	s := l.Status()
	if s.Queued != 1 || s.Known != 1 || s.Learned != 2 || s.Refused != 3 || s.Dropped != 0 || s.Gaps != 1 || !s.Found {
		t.Errorf("status %+v", s)
	}
	for _, task := range p.sent {
		raw, err := task.Raw()
		if err != nil || !strings.Contains(string(raw), `"event_name": "Jazz Night"`) || !strings.Contains(string(raw), "send_booking_confirmation") {
			t.Errorf("task %s, %v", raw, err)
		}
	}
	if text := log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "reason=too_large") || !strings.Contains(text, "gap=3") {
		t.Errorf("log:\n%s", text)
	}
}

func channelOf(t *testing.T) events.Channel { return channel(t, "bookings:confirmed") }
