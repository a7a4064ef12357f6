package site

import (
	"cmp"
	"context"
	"net"
	"slices"
	"time"

	"github.com/evently/workers/config"
	pages "github.com/evently/workers/monitor/pages/tasks"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/inspect"
)

// commandPatience is how long workers are waited for.
const commandPatience = 3 * time.Second

// ownURL returns the URL at which programs find the monitor.
func ownURL(cfg config.Config) string {
	if cfg.Guard.URL != "" {
		return cfg.Guard.URL
	}
	return LocalURL(cfg, cmp.Or(cfg.Service.MonitorAddr, ":5555"))
}

// LocalURL returns the URL, without a path, at which this host finds a monitor that listens on
// addr, host:port.
func LocalURL(cfg config.Config, addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if cfg.Guard.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// makeTasks makes the pages of the tasks.
func makeTasks(p *Parts) (*Module, error) {
	cfg := pages.Config{Off: p.NoHistory, Kinds: tasks.Kinds(), Letters: p.Broker.Letters(), Redis: traces(p), URL: ownURL(p.Config)}
	if p.Fleet != nil {
		cfg.Fleet = p.Fleet
	}
	if p.Deliveries != nil {
		cfg.History, cfg.Figures = p.Deliveries, p.Deliveries
	}
	schedule := p.schedule()
	cfg.Held = func(ctx context.Context, id string) (*inspect.Waiting, error) {
		s, err := schedule.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(s.Waiting, func(w inspect.Waiting) bool { return w.ID == id }); i >= 0 {
			return &s.Waiting[i], nil
		}
		return nil, nil
	}
	operator := inspect.NewOperator(p.Broker)
	cfg.Revoke = func(ctx context.Context, id string, terminate bool) error {
		ctx, cancel := context.WithTimeout(ctx, commandPatience)
		defer cancel()
		answers, err := operator.Revoke(ctx, inspect.Revocation{IDs: []string{id}, Terminate: terminate})
		schedule.Forget(ctx) // the page shows at once that the task is cancelled
		if err != nil {
			return err
		}
		return inspect.Failed(answers)
	}
	return &Module{Group: pages.New(cfg)}, nil
}
