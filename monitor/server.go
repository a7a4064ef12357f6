package monitor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// ServerConfig is what [Serve] needs.
type ServerConfig struct {
	Name     string       // for errors, such as "monitor"
	Listener net.Listener // Serve closes it
	Handler  http.Handler
	TLS      *tls.Config // with a certificate; nil: no TLS
	MaxConns int         // default: 128

	// ReadTimeout bounds the reading of a request, and WriteTimeout that of its answer. A
	// handler may set other deadlines with an http.ResponseController. Defaults: 15 s and 60 s.
	ReadTimeout, WriteTimeout time.Duration
	MaxHeader                 int // bytes; default: 64 KiB

	OnShutdown func() // ends answers that do not end by themselves; nil: there are none

	Logger *slog.Logger // default: slog.Default()
}

// Serve answers requests until ctx ends, and then returns nil. Requests in progress have two
// seconds to end. It holds up to MaxConns connections; a further one replaces the oldest that
// has no request in progress.
func Serve(ctx context.Context, cfg ServerConfig) error {
	g, ctx := errgroup.WithContext(ctx)
	server := &http.Server{
		Handler:           markBusy(cfg.Handler),
		ConnContext:       withConn,
		TLSConfig:         cfg.TLS,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       cmp.Or(cfg.ReadTimeout, 15*time.Second),
		WriteTimeout:      cmp.Or(cfg.WriteTimeout, time.Minute),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    cmp.Or(cfg.MaxHeader, 64<<10),
		ErrorLog:          slog.NewLogLogger(cmp.Or(cfg.Logger, slog.Default()).Handler(), slog.LevelDebug),
	}
	if cfg.OnShutdown != nil {
		server.RegisterOnShutdown(cfg.OnShutdown)
	}
	g.Go(func() error {
		l := newBoundedListener(cfg.Listener, cmp.Or(cfg.MaxConns, maxConns))
		serve := server.Serve
		if cfg.TLS != nil {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s on %s: %w", cfg.Name, cfg.Listener.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := server.Shutdown(end); err != nil {
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}
