package flower_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/monitor/exporter"
	"github.com/evently/workers/monitor/flower"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// appearing is a Remote with workers of this kind that answer when they are asked by name.
type appearing struct {
	broker.Remote
	mu    sync.Mutex
	asked []string
}

func (a *appearing) Ask(_ context.Context, request []byte, _ string, receive func([]byte)) error {
	r, err := (&protocol.Decoder{}).DecodeControl(request)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.asked = append(a.asked, r.Method+" "+strings.Join(r.Destination, ","))
	a.mu.Unlock()
	values := map[string]string{
		"stats":         `{"pid": 7, "pool": {"processes": [7], "max-concurrency": 4}, "software": "evently-workers v1"}`,
		"active_queues": `[{"name": "mails"}]`, "registered": `[]`, "conf": `{}`,
	}
	for _, node := range r.Destination {
		raw, err := protocol.EncodeReply(r, protocol.ControlReply{Ticket: r.Ticket, Node: node, Value: protocol.Raw(values[r.Method])}, "tag")
		if err != nil {
			return err
		}
		receive(raw)
	}
	return nil
}

// take returns the questions since the last call.
func (a *appearing) take() (asked []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked, a.asked = a.asked, nil
	return asked
}

// A new worker is asked for its queues within a second, alone: the metrics of its tasks need them.
// Its slots count as processes.
func TestNewWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &appearing{Remote: broker.CapabilitiesOf(workertest.NewBroker()).Remote}
		state := newFleet(t)
		api, err := flower.New(flower.Config{Fleet: state, Remote: remote, Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- api.Run(ctx) }()
		time.Sleep(2100 * time.Millisecond)
		remote.take()
		take(t, state, event{"type": "worker-heartbeat", "hostname": "new@h", "freq": 2})
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := remote.take(), []string{"active_queues new@h", "stats new@h", "registered new@h", "conf new@h"}; !slices.Equal(got, want) {
			t.Errorf("asked %q, want %q", got, want)
		}
		want := exporter.Consumer{Node: "new@h", Queues: []string{"mails"}, Processes: 4}
		if got := api.Consumers(); len(got) != 1 || got[0].Node != want.Node || !slices.Equal(got[0].Queues, want.Queues) || got[0].Processes != want.Processes || got[0].Silent {
			t.Errorf("consumers %+v, want %+v", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
