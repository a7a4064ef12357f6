package system_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/testkit/browser"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/incident"
	"github.com/evently/workers/monitor/pages/overview"
	"github.com/evently/workers/monitor/pages/system"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostile is a name that tries to break out of a page.
const hostile = `"><img src=x onerror=alert(1)>{{.}}'`

// Secrets that no page may show.
const canary = "cAnArY-smtp-1"

// health is the health of two workers in trouble.
type health struct{}

func (health) Refresh(context.Context) error { return nil }

func (health) State() vitals.State {
	now := time.Now()
	ok := monitor.Part{State: monitor.State{OK: true, Text: "fine"}, Status: monitor.PartOK}
	bad := monitor.Part{State: monitor.State{Text: "no mail gets out: " + hostile}, Status: monitor.PartFailed, Advice: "look at " + hostile, Since: now.Add(-time.Minute).UTC().Format(time.RFC3339)}
	r := monitor.Report{Status: monitor.StatusDegraded, Worker: ok, Queue: ok, Keys: ok, Database: ok, Mail: bad, Held: ok, History: ok, DeadLetters: ok, Bounces: ok, Events: ok, Configuration: ok,
		Breakers: []monitor.Breaker{{Name: "relay r.example:587", State: "open", Refused: true, Reason: "535 5.7.8 " + hostile, Since: now.Add(-time.Minute).UTC().Format(time.RFC3339)}, {Name: "database", State: "closed"}}}
	s := vitals.State{At: now}
	for i, node := range []string{"email-worker@a", "email-worker@a", hostile} {
		s.Processes = append(s.Processes, vitals.Process{
			ID: string(rune('A' + i)), Node: node, Host: hostile, Version: "1.2 (" + hostile, PID: 7, Started: now, At: now, Report: r, VisibilityTimeout: float64(3600 - 60*i),
			Settings: []vitals.Setting{{Variable: "SMTP_PASSWORD", Digest: []string{"001122", "002233", "002233"}[i], Secret: true, Since: now.AddDate(-2, 0, 0)}},
			Secrets:  []vitals.Secret{{Name: "REDIS_URLS[b]", Source: "file", Mark: "a1b2c3", Since: now.AddDate(0, -1, 0)}},
		})
		s.Changes = append(s.Changes, vitals.Change{At: now, Node: node, Part: "mail", Text: hostile}, vitals.Change{At: now, Node: node, Part: vitals.PartProcess, OK: true, Text: "started"})
	}
	return s
}

// sources are what the overview and bundles read.
func sources() (*summary.Keeper, incident.Sources) {
	letters := 0
	k := summary.New(summary.Config{
		Vitals: health{}, NoHistory: "there is none",
		Queues: func() summary.Queues {
			return summary.Queues{Known: true, Messages: 5, Unacked: 2, Oldest: summary.Age{Known: true, Seconds: 99}, All: []summary.Queue{
				{Name: hostile, Messages: 5, Oldest: summary.Age{Known: true, Seconds: 99, AtLeast: true}, In: 2, Out: 1, Consumers: 1}, {Name: "held", Paused: true, PausedBy: hostile, Consumers: -1},
			}}
		},
		Letters: func(context.Context) (broker.LetterCounts, error) {
			letters += 3
			return broker.LetterCounts{Open: letters}, nil
		},
	})
	k.Refresh(context.Background())
	k.Refresh(context.Background())
	return k, incident.Sources{Program: "test", Summary: k.Summary, Vitals: health{}.State, Secrets: func() []string { return []string{canary} }}
}

// serve serves the overview and the pages of the system.
func serve(t *testing.T) (base string) {
	t.Helper()
	cfg, err := config.Load(func(name string) (string, bool) {
		v, ok := map[string]string{"SMTP_PASSWORD": canary, "SMTP_USERNAME": "u", "REDIS_URL": "redis://:" + canary + "@h/0", "FROM_NAME": hostile}[name]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	k, bundle := sources()
	site, err := web.New(web.Config{
		Logger: slog.New(slog.DiscardHandler),
		Groups: []web.Group{
			overview.New(overview.Config{Summary: k.Summary}),
			system.New(system.Config{
				Vitals: health{}.State, Settings: cfg.Report(), Warnings: cfg.Warnings, Incident: bundle,
				Secrets: func() []monitor.SecretState {
					return []monitor.SecretState{{Name: "REDIS_URLS[b]", Source: "file", Mark: "d4e5f6", Fault: "/run/redis cannot be used: it is empty", Advice: "write the secret into the file"}}
				},
				Fingerprints: func(context.Context) ([]config.Fingerprint, error) { return cfg.Fingerprints([]byte("k")), nil },
			}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site)
	t.Cleanup(func() {
		site.EndStreams()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.URL
}

func get(t *testing.T, address string) (body string) {
	t.Helper()
	r, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v\n%s", address, r.StatusCode, err, raw)
	}
	if strings.Contains(string(raw), canary) || strings.Contains(string(raw), "<img src=x") {
		t.Errorf("%s shows a secret, or a name breaks out", address)
	}
	return string(raw)
}

// upload sends a file to be opened. It returns the page that answers.
func upload(t *testing.T, base string, file []byte) (address, body string, status int) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("bundle", hostile+".zip")
	_, err2 := part.Write(file)
	if err := errors.Join(err, err2, w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(base+"/incident", w.FormDataContentType(), &form)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.Request.URL.Path, string(raw), r.StatusCode
}

// Without a browser: what the pages say, with names that try to break out of them.
func TestPages(t *testing.T) {
	base := serve(t)
	for path, want := range map[string][]string{
		"/":                          {"cannot be used by", "workers have the node name email-worker@a", "visibility timeout", "Dead letters grow: 3 more", "is paused by", "The workers differ in SMTP_PASSWORD", "No codes: there is none"},
		"/health":                    {"email-worker@a", "no mail gets out", "started", "3</span>"},
		"/health?node=nobody&part=x": {"No change of this kind"},
		"/configuration":             {">set<", "has another value", "Secrets in use", "REDIS_URLS[b] of this monitor: /run/redis cannot be used: it is empty. Advice", "a1b2c3", "d4e5f6", "redis://:***@h/0"},
		"/configuration?show=set":    {"FROM_NAME"},
		"/incident":                  {"Download", "Open one"},
	} {
		body := get(t, base+path)
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s lacks %q", path, text)
			}
		}
	}
	bundle := get(t, base+"/incident/bundle.zip?hours=3")
	address, body, status := upload(t, base, []byte(bundle))
	if status != http.StatusOK || !regexp.MustCompile(`^/incident/[A-Z2-7]{26}$`).MatchString(address) || !strings.Contains(body, "What happened") || strings.Contains(body, "<img src=x") {
		t.Errorf("opened: %d at %s\n%s", status, address, body)
	}
	get(t, base+address)
	if _, body, status = upload(t, base, []byte("PK")); status != http.StatusUnprocessableEntity || !strings.Contains(body, "it is no zip") {
		t.Errorf("no zip: %d\n%s", status, body)
	}
	r, err := http.Get(base + "/incident/bundle.zip?hours=0")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("hours=0: %d", r.StatusCode)
	}
}

// In Chromium: no page complains, and a finding leads to the page where it is mended.
func TestInChromium(t *testing.T) {
	base := serve(t)
	address, _, _ := upload(t, base, []byte(get(t, base+"/incident/bundle.zip")))
	tab := browser.Open(t, 5*time.Minute)
	browser.Inspect(t, tab, browser.Inspection{
		Base: base, Paths: []string{"/", "/health", "/configuration?show=secrets", "/incident", address}, Shots: os.Getenv("MONITOR_SCREENSHOTS"),
	})
	browser.Resize(t, tab, 1280, "light")
	browser.Step(t, tab, "open", chromedp.Navigate(base+"/"))
	browser.Until(t, tab, "findings", `document.querySelectorAll('.overview-look li').length >= 6`)
	browser.Step(t, tab, "choose", chromedp.Evaluate[any](`[...document.querySelectorAll('.overview-look a')].find(a => a.textContent.includes("cannot be used by")).click()`))
	browser.Until(t, tab, "health", `location.pathname === '/health' && document.querySelector('h1')?.textContent.includes('Health')`)
}
