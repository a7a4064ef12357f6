package dev_test

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/dev"
)

// absent has the metrics of dashboard and alerts that the development mode lacks, with the
// reasons.
var absent = map[string]string{
	"evently_secret_age_seconds":   "its configuration has no secret",
	"evently_worker_bounces_total": "it takes no bounces in",
}

// The metrics of the development mode are those of the worker: it has each one that the dashboard
// and the alerts use.
func TestMetricsOfDashboardAndAlerts(t *testing.T) {
	r := start(t, dev.Options{})
	used := regexp.MustCompile(`\bevently_\w+`)
	var names []string
	for _, file := range []string{"../deploy/grafana/evently-workers.json", "../deploy/prometheus/alerts.yaml"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, used.FindAllString(string(raw), -1)...)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) < 30 {
		t.Fatalf("only %d metrics are used: %v", len(names), names)
	}
	post(t, r.Page, url.Values{"task": {"send_welcome_email"}, "send_welcome_email.task_data.email": {"ada@evently.test"}})
	var missing []string
	eventuallyOr(t, "all metrics", func() bool {
		has := map[string]bool{}
		for line := range strings.Lines(get(t, strings.TrimSuffix(r.Health, "/health")+"/metrics")) {
			has[used.FindString(line)] = true
		}
		missing = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return has[name] || absent[name] != "" })
		return len(missing) == 0
	}, func() any { return missing })
}
