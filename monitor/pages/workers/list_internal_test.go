package workers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

// unavailable is Redis that cannot be asked.
type unavailable struct{ Operator }

func (unavailable) Workers(context.Context) ([]inspect.Worker, error) {
	return nil, errors.New("connect to redis: connection refused")
}

// heard are the events of a silent worker.
type heard []fleet.Worker

func (h heard) Workers() []fleet.Worker { return h }

// While Redis is unavailable, the silence of workers says nothing about them.
func TestWorkersThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	r := newRoster(unavailable{}, heard{{Node: "go@h"}, {Node: "gone@h", Left: true}}, time.Now)
	all := r.collect(t.Context())
	for node, want := range map[string]web.Chip{"go@h": {Text: "not known", Tone: web.Wait}, "gone@h": {Text: "stopped", Tone: web.Calm}} {
		if w, ok := all.find(node); !ok || state(w) != want {
			t.Errorf("%s: %+v, want %+v", node, state(w), want)
		}
	}
	for _, tile := range tiles(all) {
		if tile.Value != "–" || tile.Tone == web.Bad {
			t.Errorf("%+v", tile)
		}
	}
}
