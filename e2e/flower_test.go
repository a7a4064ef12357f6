package e2e_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
)

var screenshots = flag.String("screenshots", os.Getenv("E2E_SCREENSHOTS"), "write PNGs of what Flower shows to this folder (default $E2E_SCREENSHOTS)")

// flower is a real Flower.
type flower struct {
	t    testing.TB
	base string
}

func startFlower(t testing.TB, r *redisServer) *flower {
	t.Helper()
	port := freePort(t)
	env := append(pythonEnv(), "FLOWER_UNAUTHENTICATED_API=true")
	p := start(t, "flower", env, python(t, celeryNew), "-m", "celery", "--workdir", "testdata", "-A", "flowerapp", "--broker", r.url(), "--result-backend", r.url(),
		"flower", "--address=127.0.0.1", "--port="+port, "--persistent=False")
	f := &flower{t, "http://127.0.0.1:" + port}
	eventually(t, 60*time.Second, "Flower answers", func() bool {
		if p.ended() {
			t.Fatalf("Flower has ended:\n%s", last(p.out.String(), 3000))
		}
		reply, err := http.Get(f.base + "/healthcheck")
		if err != nil {
			return false
		}
		reply.Body.Close()
		return reply.StatusCode == http.StatusOK
	})
	return f
}

// get returns what Flower answers, as JSON.
func (f *flower) get(path string, v any) (status int) {
	f.t.Helper()
	return f.do("GET", path, nil, v)
}

func (f *flower) post(path string, form url.Values) (status int, answer string) {
	f.t.Helper()
	var v struct{ Message string }
	status = f.do("POST", path, form, &v)
	return status, v.Message
}

func (f *flower) do(method, path string, form url.Values, v any) int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, f.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatalf("flower: %v", err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		f.t.Fatalf("flower: %v", err)
	}
	if reply.StatusCode == http.StatusOK && v != nil {
		if err := json.Unmarshal(body, v); err != nil {
			f.t.Fatalf("flower answers %s with %s", path, clip(string(body), 500))
		}
	}
	return reply.StatusCode
}

// flowerWorker is a worker as Flower knows it.
type flowerWorker struct {
	Registered []string
	Active     []map[string]any
	Queues     []struct {
		Name string `json:"name"`
	} `json:"active_queues"`
	Stats struct {
		PID           int
		PrefetchCount int `json:"prefetch_count"`
		Total         map[string]int
		Pool          struct {
			MaxConcurrency int `json:"max-concurrency"`
		}
	}
	Conf map[string]any
}

func (f *flower) worker(node string) (w flowerWorker, ok bool) {
	f.t.Helper()
	var all map[string]flowerWorker
	if status := f.get("/api/workers?refresh=true&workername="+url.QueryEscape(node), &all); status != http.StatusOK {
		return w, false // not known yet
	}
	w, ok = all[node]
	return w, ok
}

func (f *flower) online(node string) bool {
	f.t.Helper()
	var all map[string]bool
	f.get("/api/workers?status=true", &all)
	return all[node]
}

type flowerTask struct {
	Name, State, Args, Kwargs, Result, Exception, Worker string
	Runtime                                              float64
}

func (f *flower) task(id string) (t flowerTask, ok bool) {
	f.t.Helper()
	return t, f.get("/api/task/info/"+id, &t) == http.StatusOK
}

// TestFlower lets a real Flower watch and control our worker.
func TestFlower(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	ours := startWorker(t, r, "ours", "-concurrency", "2")
	f := startFlower(t, r)
	name := node(t, "ours")
	eventually(t, 60*time.Second, "Flower shows our worker online", func() bool { return f.online(name) })

	eventually(t, 30*time.Second, "Flower has enabled our events", func() bool {
		return strings.Contains(ours.out.String(), "task events enabled by remote control")
	})
	ids := flood(t, celeryNew, r, queue, 20, "e2e.add", []any{1, "%d"}, nil)
	awaitEnds(t, r, ids)
	failing := flood(t, celeryNew, r, queue, 1, "e2e.add", []any{"x", "%d"}, nil)[0]
	eventually(t, 30*time.Second, "Flower knows how all ended", func() bool {
		for _, id := range ids {
			if task, ok := f.task(id); !ok || task.State != "SUCCESS" {
				return false
			}
		}
		task, ok := f.task(failing)
		return ok && task.State == "FAILURE"
	})
	if task, _ := f.task(ids[7]); task.Name != "e2e.add" || task.Result != "8" || task.Runtime <= 0 || task.Args != "(1, 7)" && task.Args != "[1, 7]" {
		t.Errorf("a task is shown as %+v", task)
	}
	if task, _ := f.task(failing); !strings.HasPrefix(task.Exception, "TypeError(") {
		t.Errorf("a failed task is shown as %+v", task)
	}

	// Flower waits a second for an answer of a worker, which a busy machine may outlast.
	var w flowerWorker
	if !testkit.Poll(30*time.Second, func() (ok bool) {
		w, ok = f.worker(name)
		return ok && w.Stats.Pool.MaxConcurrency == 2 && w.Stats.Total["e2e.add"] == 21 && len(w.Queues) == 1 && w.Queues[0].Name == queue && slices.Contains(w.Registered, "e2e.add")
	}) {
		t.Errorf("our worker is shown as %+v", w)
	}
	answer := func(path string, form url.Values, want string) {
		t.Helper()
		var status int
		var got string
		if !testkit.Poll(30*time.Second, func() bool {
			status, got = f.post(path, form)
			return status == http.StatusOK && strings.Contains(got, want)
		}) {
			t.Errorf("%s: status %d, %q; want %q", path, status, got, want)
		}
	}
	once := func(path string, form url.Values, want string) { // it would do more when it is asked again
		t.Helper()
		if status, got := f.post(path, form); status == http.StatusOK && !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q", path, got, want)
		}
	}
	escaped := url.PathEscape(name)
	once("/api/worker/pool/grow/"+escaped, url.Values{"n": {"3"}}, "Growing")
	eventually(t, 30*time.Second, "the pool has grown", func() bool { w, _ := f.worker(name); return w.Stats.Pool.MaxConcurrency == 5 })
	once("/api/worker/pool/shrink/"+escaped, url.Values{"n": {"1"}}, "Shrinking")
	eventually(t, 30*time.Second, "the pool has shrunk", func() bool { w, _ := f.worker(name); return w.Stats.Pool.MaxConcurrency == 4 })
	answer("/api/worker/queue/add-consumer/"+escaped, url.Values{"queue": {"more"}}, "more")
	eventually(t, 30*time.Second, "the queue is there", func() bool { w, _ := f.worker(name); return len(w.Queues) == 2 })
	answer("/api/worker/queue/cancel-consumer/"+escaped, url.Values{"queue": {"more"}}, "more")
	eventually(t, 30*time.Second, "the queue is gone", func() bool { w, _ := f.worker(name); return len(w.Queues) == 1 })
	answer("/api/task/rate-limit/e2e.work", url.Values{"workername": {name}, "ratelimit": {"50/s"}}, "new rate limit set successfully")
	answer("/api/task/timeout/e2e.work", url.Values{"workername": {name}, "hard": {"60"}, "soft": {"50"}}, "time limits set successfully")
	long := flood(t, celeryNew, r, queue, 1, "e2e.work", []any{300, "%d"}, nil)[0]
	eventually(t, 30*time.Second, "a long task runs", func() bool { task, _ := f.task(long); return task.State == "STARTED" })
	answer("/api/task/revoke/"+long, url.Values{"terminate": {"true"}}, "Revoked")
	eventually(t, 30*time.Second, "it is revoked", func() bool { task, _ := f.task(long); return task.State == "REVOKED" })

	pages(t, f, name, ids[7])

	ours.kill()
	eventually(t, 60*time.Second, "Flower shows that it is offline", func() bool { return !f.online(name) })
	again := startWorker(t, r, "ours", "-concurrency", "2")
	eventually(t, 60*time.Second, "Flower shows it online again", func() bool { return f.online(name) })
	answer("/api/worker/shutdown/"+escaped, nil, "Shutting down")
	if code := again.wait(30 * time.Second); code != 0 {
		t.Errorf("shut down by Flower: exit code %d", code)
	}
	eventually(t, 30*time.Second, "Flower shows that it is offline", func() bool { return !f.online(name) })
}

// awaitEnds waits until all have ended, however.
func awaitEnds(t testing.TB, r *redisServer, ids []string) {
	t.Helper()
	eventually(t, time.Minute, "all have ended", func() bool { c := countResults(r, ids); return c.missing == 0 })
}

// pages looks at what Flower shows in a browser.
func pages(t *testing.T, f *flower, node, task string) {
	t.Helper()
	tab := browser.Open(t, 5*time.Minute)
	for _, page := range []struct {
		name, path string
		texts      []string
	}{
		{"workers", "/workers", []string{node, "Online"}},
		{"worker", "/worker/" + url.PathEscape(node), []string{node, "goroutines", "Max concurrency"}},
		{"tasks", "/tasks", []string{"e2e.add", "SUCCESS", "FAILURE"}},
		{"task", "/task/" + task, []string{"e2e.add", "SUCCESS", node}},
	} {
		var text string
		eventually(t, 60*time.Second, "Flower's page of "+page.name+" shows our worker", func() bool {
			ctx, cancel := context.WithTimeout(tab, 30*time.Second)
			defer cancel()
			if _, err := chromedp.Run(ctx, chromedp.Navigate(f.base+page.path)); err != nil {
				t.Fatalf("%s: %v", page.path, err)
			}
			// Its tables are filled by scripts; what they show stays as it is until the
			// page is loaded again.
			for range 20 {
				var err error
				if text, err = chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText")); err != nil {
					t.Fatalf("%s: %v", page.path, err)
				}
				if !slices.ContainsFunc(page.texts, func(want string) bool { return !strings.Contains(strings.ToLower(text), strings.ToLower(want)) }) {
					return true
				}
				time.Sleep(50 * time.Millisecond)
			}
			return false
		})
		if *screenshots != "" {
			shoot(t, tab, page.name)
		}
	}
}

func shoot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, 30*time.Second)
	defer cancel()
	_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 1400, Height: 900, DeviceScaleFactor: 1})
	if err != nil {
		t.Fatalf("size of the page: %v", err)
	}
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatalf("screenshot: %v", err)
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, "flower-"+name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}
