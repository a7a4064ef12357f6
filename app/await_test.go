package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/config"
)

// A process that waits for Zero asks at once when it is told to, and ends when it is stopped.
func TestWaitForConfig(t *testing.T) {
	var asked, works atomic.Int64
	zero := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if works.Load() == 0 {
			w.Header().Set("Retry-After", "300")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"data":{"secrets":[{"name":"evently","fields":[{"name":"from-name","value":"Of Zero"}]}]}}`))
	}))
	defer zero.Close()
	for _, s := range config.Table() {
		t.Setenv(s.Variable, "")
	}
	t.Setenv("ZERO_TOKEN", "token")
	t.Setenv("ZERO_URL", zero.URL+"/graphql")
	output, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	again, told := make(chan struct{}), make(chan string, 10)
	type outcome struct {
		cfg config.Config
		err error
	}
	wait := func(ctx context.Context) <-chan outcome {
		done := make(chan outcome, 1)
		go func() {
			cfg, err := waitForConfig(ctx, output, again, func(reason string) { told <- reason })
			done <- outcome{cfg, err}
		}()
		return done
	}

	done := wait(t.Context())
	<-told
	works.Store(1)
	before := asked.Load()
	select {
	case again <- struct{}{}:
	case got := <-done:
		t.Fatalf("it did not wait: %v", got.err)
	}
	select {
	case got := <-done:
		if got.err != nil || got.cfg.Mail.FromName != "Of Zero" || asked.Load() != before+1 {
			t.Errorf("%v, from %q, asked %d times more", got.err, got.cfg.Mail.FromName, asked.Load()-before)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("told to ask, it waited on")
	}

	works.Store(0)
	ctx, stop := context.WithCancel(t.Context())
	done = wait(ctx)
	<-told
	stop()
	if got := <-done; !errors.Is(got.err, errStopped) {
		t.Errorf("stopped: %v", got.err)
	}
}
