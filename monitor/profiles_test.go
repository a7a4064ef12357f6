package monitor_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/evently/workers/monitor"
)

// profiling returns the handler of a health server with profiles.
func profiling(t *testing.T, p monitor.Profiles) http.Handler {
	t.Helper()
	w := new(world)
	w.setWorker(consuming())
	cfg := w.config(listen(t))
	cfg.Profiles = p
	return newHealth(t, cfg).Handler()
}

func TestWhoMayProfile(t *testing.T) {
	t.Parallel()
	const stranger, stranger6, here, here6, mapped = "192.0.2.1:1234", "[2001:db8::1]:1234", "127.0.0.1:1234", "[::1]:1234", "[::ffff:127.0.0.1]:1234"
	for _, test := range []struct {
		profiles monitor.Profiles
		from     string
		code     int
	}{
		{"", here, 404}, {"", stranger, 404}, {monitor.ProfilesOff, here, 404},
		{monitor.ProfilesLocal, here, 200}, {monitor.ProfilesLocal, here6, 200}, {monitor.ProfilesLocal, mapped, 200},
		{monitor.ProfilesLocal, stranger, 403}, {monitor.ProfilesLocal, stranger6, 403}, {monitor.ProfilesLocal, "@", 403},
		{monitor.ProfilesAll, here, 200}, {monitor.ProfilesAll, stranger, 200},
	} {
		h := profiling(t, test.profiles)
		for _, name := range []string{"heap", "allocs", "goroutine"} {
			req := httptest.NewRequest(http.MethodGet, "/debug/pprof/"+name, nil)
			req.RemoteAddr = test.from
			// A header alone proves nothing about the origin.
			req.Header.Set("X-Forwarded-For", "127.0.0.1")
			r := httptest.NewRecorder()
			h.ServeHTTP(r, req)
			if r.Code != test.code {
				t.Errorf("profiles %q: GET %s from %s: %d, want %d", test.profiles, name, test.from, r.Code, test.code)
			}
		}
	}
}

func TestProfilesHaveBounds(t *testing.T) {
	t.Parallel()
	h := profiling(t, monitor.ProfilesAll)
	for path, code := range map[string]int{
		"profile?seconds=61": 400, "profile?seconds=1e9": 400, "profile?seconds=-1": 400, "profile?seconds=NaN": 400, "profile?seconds=x": 400,
		"trace?seconds=61": 400, "heap?seconds=61": 400,
		"": 404, "cmdline": 404, "block": 404, "symbol": 404,
	} {
		if r := get(h, http.MethodGet, "/debug/pprof/"+path); r.Code != code {
			t.Errorf("GET %s: %d, want %d", path, r.Code, code)
		}
	}
	if r := get(h, http.MethodPost, "/debug/pprof/heap"); r.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.Code)
	}
}

// Over TCP, by the tool that people use: a profile that takes longer than the
// server gives other answers, and one of the heap.
func TestProfilesAreRead(t *testing.T) {
	t.Parallel()
	w := new(world)
	w.setWorker(consuming())
	l := listen(t)
	cfg := w.config(l)
	cfg.Profiles = monitor.ProfilesLocal
	h := newHealth(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{"profile?seconds=6": "Type: cpu", "heap": "Type: inuse_space"} {
		resp, err := client.Get("http://" + l.Addr().String() + "/debug/pprof/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s, %v", path, resp.Status, err)
			continue
		}
		file := filepath.Join(t.TempDir(), "profile")
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
		pprof := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-top", "-symbolize=none", file)
		pprof.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath") // Go builds the tool
		out, err := pprof.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(want)) {
			t.Errorf("go tool pprof of %s: %v\n%s", path, err, out)
		}
	}
}
