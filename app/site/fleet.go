package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/exporter"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/flower"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redact"
)

// params returns the names of the positional parameters of a task of ours.
func params(task string) []string {
	m, _ := tasks.MailTaskOf(task)
	return m.Params
}

// makeFleet makes what listens to the events of all workers, once for all pages and metrics.
func makeFleet(p *Parts) (*Module, error) {
	p.FlowerMetrics = flower.NewMetrics(nil)
	observers := []fleet.Observer{p.FlowerMetrics}
	if p.Config.Service.MetricsAddr != "" {
		if err := newExporter(p); err != nil {
			return nil, err
		}
		observers = append(observers, p.Exporter)
	}
	state, err := fleet.New(fleet.Config{
		Remote: p.Broker, Redactor: redact.New(p.Config.Worker.Redact...), Params: params, Observers: observers, Logger: p.Log,
	})
	if err != nil {
		return nil, err
	}
	p.Fleet = state
	return &Module{Run: state.Run}, nil
}

// newExporter makes the metrics of celery-exporter. They read parts that are made later.
func newExporter(p *Parts) (err error) {
	var consumed queueNames
	p.Exporter, err = exporter.New(exporter.Config{
		Queue: p.Config.Worker.Queues[0],
		Depths: func(context.Context) (map[string]int, error) {
			state := p.Watch.State()
			if err := fresh(state); err != nil {
				return nil, err
			}
			depths := map[string]int{}
			for _, q := range state.Queues {
				if q.Configured || consumed.seen(q.Name, len(q.Consumers) > 0) {
					depths[q.Name] = q.Messages
				}
			}
			return depths, nil
		},
		Consumers: func() []exporter.Consumer { return p.Flower.Consumers() },
		Healthy:   func(context.Context) error { return fresh(p.Watch.State()) },
	})
	return err
}

// staleLook is the age of a look at the queues from which it tells nothing.
const staleLook = 15 * time.Second

// fresh returns an error if the queues were not seen of late.
func fresh(s *watch.State) error {
	if s.At.IsZero() || time.Since(s.At) > staleLook {
		return errors.New("the broker does not answer")
	}
	return nil
}

// queueNames remembers which queues had consumers, because a queue without one is the queue to
// look at.
type queueNames struct {
	mu    sync.Mutex
	names map[string]bool
}

func (n *queueNames) seen(name string, now bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now && !n.names[name] {
		if n.names == nil {
			n.names = map[string]bool{}
		}
		n.names[name] = true
	}
	return n.names[name]
}

// makeFlower makes the interface of Flower.
func makeFlower(p *Parts) (*Module, error) {
	client, err := worker.NewClient(worker.ClientConfig{Backend: p.Broker, Publishing: worker.Publishing{DefaultQueue: p.Config.Worker.Queues[0]}})
	if err != nil {
		return nil, err
	}
	cfg := flower.Config{
		Fleet: p.Fleet, Metrics: p.FlowerMetrics, Remote: p.Broker, Backend: p.Broker, Client: client, Queue: p.Config.Worker.Queues[0],
		Redactor: redact.New(p.Config.Worker.Redact...), Params: params, ReadOnly: p.Config.Guard.ReadOnly, Logger: p.Log,
		Depths: func(_ context.Context, queues []string) (map[string]int, error) {
			state := p.Watch.State()
			if err := fresh(state); err != nil {
				return nil, err
			}
			depths := map[string]int{}
			for _, q := range state.Queues {
				if slices.Contains(queues, q.Name) {
					depths[q.Name] = q.Messages
				}
			}
			return depths, nil
		},
	}
	if p.Trail != nil {
		cfg.Audit = audited(p.Trail)
	}
	if p.Flower, err = flower.New(cfg); err != nil {
		return nil, err
	}
	p.WorkersJSON = http.HandlerFunc(p.Flower.ServeWorkers)
	return &Module{Group: p.Flower, Run: p.Flower.Run}, nil
}

// exporterConns bounds the connections to the metrics of celery-exporter.
const exporterConns = 32

// makeExporter serves the metrics of celery-exporter on an address of their own, as that does.
func makeExporter(p *Parts) (*Module, error) {
	if p.Exporter == nil {
		return nil, nil
	}
	addr, log := p.Config.Service.MetricsAddr, p.Log
	return &Module{Run: func(ctx context.Context) error {
		var listen net.ListenConfig
		l, err := listen.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("listen on CELERY_METRICS_ADDR %s: %w", addr, err)
		}
		log.Info("serving the metrics of celery-exporter", "address", l.Addr().String())
		return monitor.Serve(ctx, monitor.ServerConfig{Name: "metrics of celery-exporter", Listener: l, Handler: p.Exporter.Handler(), MaxConns: exporterConns, Logger: log})
	}}, nil
}
