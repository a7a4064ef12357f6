package app

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/worker/redis"
)

// newVitals returns what tells the fleet of a broker how this process is.
func (a *App) newVitals(cfg config.Config, b *redis.Broker, report func() monitor.Report, log *slog.Logger) (*vitals.Writer, error) {
	ages := a.secrets.list
	if b != a.shards[0].Aside {
		ages = a.secrets.listUnmarked
	}
	return vitals.NewWriter(vitals.WriterConfig{
		Report: report, Board: b, Journal: b.Journal(vitals.JournalName).Capped(vitals.JournalMax),
		Version: Version(), VisibilityTimeout: cfg.Redis.VisibilityTimeout, Ages: ages, SettingsVersion: a.keeper.Version, Logger: log,
		Settings: func(ctx context.Context) ([]vitals.Setting, error) {
			key, err := b.Secret(ctx)
			if err != nil {
				return nil, err
			}
			if !a.keeper.Idle() {
				return settingsOf(a.keeper.Config(), key), nil
			}
			return settingsOf(cfg, key), nil
		},
	})
}

// settingsOf returns the digests of the configuration. The workers share the key, so that
// equal values have equal digests.
func settingsOf(cfg config.Config, key []byte) (all []vitals.Setting) {
	for _, f := range cfg.Fingerprints(key) {
		all = append(all, vitals.Setting{Variable: f.Variable, Source: f.Source, Digest: f.Digest, Secret: f.Secret})
	}
	return all
}

// nowhere is the listener of a health server that is off: the health of the process is
// looked at all the same, because the monitor shows it.
type nowhere struct {
	close  sync.Once
	closed chan struct{}
}

func newNowhere() *nowhere { return &nowhere{closed: make(chan struct{})} }

// Accept implements [net.Listener]. It waits for Close.
func (n *nowhere) Accept() (net.Conn, error) {
	<-n.closed
	return nil, net.ErrClosed
}

// Close implements [net.Listener].
func (n *nowhere) Close() error {
	n.close.Do(func() { close(n.closed) })
	return nil
}

// Addr implements [net.Listener].
func (n *nowhere) Addr() net.Addr { return &net.UnixAddr{Name: "nowhere", Net: "unix"} }
