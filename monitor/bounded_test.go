package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/monitor"
)

// Connections that send nothing, or a request without an end, keep no probe from
// its answer, and no profile from its end.
func TestSlowConnections(t *testing.T) {
	t.Parallel()
	w := new(world)
	w.setWorker(consuming())
	l := listen(t)
	cfg := w.config(l)
	cfg.Profiles = monitor.ProfilesAll
	h := newHealth(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	get := func(path string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			return err
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s, %w", resp.Status, errors.Join(err))
		}
		return nil
	}
	profile := make(chan error, 1)
	go func() { profile <- get("/debug/pprof/trace?seconds=3") }()

	var slow []net.Conn
	defer func() {
		for _, c := range slow {
			c.Close()
		}
	}()
	for n := range 1000 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		slow = append(slow, c)
		if n%2 == 0 {
			_, _ = io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: ") // or it is closed already
		}
		if n%200 == 199 {
			if err := get("/livez"); err != nil {
				t.Errorf("with %d slow connections: %v", n+1, err)
			}
		}
	}
	if err := <-profile; err != nil {
		t.Errorf("trace: %v", err)
	}
	// The server may not have seen the last ones yet.
	testkit.Eventually(t, 30*time.Second, "up to 128 slow connections are open", func() bool {
		open := 0
		for _, c := range slow {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); isTimeout(err) {
				open++
			}
		}
		return open <= 128
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}
