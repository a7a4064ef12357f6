package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// A real Prometheus scrapes the program and evaluates the alerts. The metrics of alerts and
// dashboard are there, and their expressions give answers.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	w := startHistoryWorld(t, "LEDGER_KEY=k3y-of-the-operator", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9", "MAIL_RATE_PER_DOMAIN=mail.example=50/s")
	w.start(t)
	flood(t, celeryNew, w.redis, queue, 3, prefix+"send_otp_verification_email", otpTo("otp@mail.example"), nil)
	flood(t, celeryNew, w.redis, queue, 1, prefix+"send_otp_verification_email", otpTo("refused@mail.example"), nil)

	p := startPrometheus(t, "127.0.0.1:"+w.port)
	eventually(t, 60*time.Second, "Prometheus has scraped the mails", func() bool {
		return len(p.query(t, `evently_worker_mails_total{state="accepted"} >= 3`)) > 0 && len(p.query(t, "evently_worker_suppressions_active or evently_worker_ledger_written_events_total > 0")) > 0
	})
	// It begins with its first event, which this test does not cause.
	rare := []string{"evently_worker_bounces_total"}
	absent := func(expression string) (names []string) {
		known := p.names(t)
		for _, name := range regexp.MustCompile(`\bevently_\w+`).FindAllString(expression, -1) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !slices.Contains(known, name) && !slices.Contains(rare, base) {
				names = append(names, name)
			}
		}
		return names
	}
	for where, expressions := range map[string][]string{"alerts": p.alerts(t), "dashboard": dashboardQueries(t)} {
		for _, e := range expressions {
			// Some begin when they are first read, and then with the next scrape.
			if !testkit.Poll(30*time.Second, func() bool { return len(absent(e)) == 0 }) {
				t.Errorf("%s: %v are not there", where, absent(e))
			}
			p.query(t, e)
		}
	}
	if down := p.query(t, "up == 0"); len(down) > 0 {
		t.Errorf("down: %v", down)
	}
	if firing := p.query(t, `ALERTS{alertstate="firing"}`); len(firing) > 0 {
		t.Errorf("alerts of a service that is well: %s", firing)
	}
}

// dashboardQueries returns the expressions of the dashboard.
func dashboardQueries(t *testing.T) (all []string) {
	t.Helper()
	raw, err := os.ReadFile("../deploy/grafana/evently-workers.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*").Replace(target.Expr))
		}
	}
	return all
}

// prometheus is a server of the system's package.
type prometheus struct{ base string }

// startPrometheus starts one with the example configuration and the alerts of deploy/. It
// scrapes target each second.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("%v; run make setup", err)
	}
	dir := t.TempDir()
	for _, name := range []string{"prometheus.yaml", "alerts.yaml"} {
		raw, err := os.ReadFile("../deploy/prometheus/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("127.0.0.1:8004 ", target+" ", "interval: 15s", "interval: 1s").Replace(string(raw))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen := "127.0.0.1:" + freePort(t)
	start(t, "prometheus", os.Environ(), program, "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen, "--log.level=warn")
	p := &prometheus{base: "http://" + listen}
	eventually(t, 30*time.Second, "Prometheus is ready", func() bool {
		reply, err := http.Get(p.base + "/-/ready")
		if err != nil {
			return false
		}
		reply.Body.Close()
		return reply.StatusCode == http.StatusOK
	})
	return p
}

// ask asks the API, and decodes its data.
func (p *prometheus) ask(t *testing.T, path string, data any) {
	t.Helper()
	reply, err := http.Get(p.base + path)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(reply.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v, %s", path, err, answer.Error)
	}
}

// query returns the series of an expression.
func (p *prometheus) query(t *testing.T, expression string) []json.RawMessage {
	t.Helper()
	var data struct{ Result []json.RawMessage }
	p.ask(t, "/api/v1/query?query="+url.QueryEscape(expression), &data)
	return data.Result
}

// names returns the names of all metrics.
func (p *prometheus) names(t *testing.T) (all []string) {
	t.Helper()
	p.ask(t, "/api/v1/label/__name__/values", &all)
	return all
}

// alerts returns the expressions of the alerts, which have all been evaluated without an error.
func (p *prometheus) alerts(t *testing.T) (all []string) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	eventually(t, 30*time.Second, "all rules are evaluated", func() bool {
		p.ask(t, "/api/v1/rules", &data)
		all = all[:0]
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					if r.LastError != "" {
						t.Fatalf("%s: %s", r.Name, r.LastError)
					}
					return false
				}
				all = append(all, r.Query)
			}
		}
		return len(all) > 0
	})
	return all
}
