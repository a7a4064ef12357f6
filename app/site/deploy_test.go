package site

import (
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/evently/workers/config"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// A command shows the overview with the settings of a monitor whose metrics have an address.
func TestOverviewOfACommand(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	b, err := redis.New(redis.Config{URL: "redis://127.0.0.1:1/0", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cfg, err := config.Load(func(name string) (string, bool) { return ":9808", name == "CELERY_METRICS_ADDR" })
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewOverview(Parts{Config: cfg, Broker: b, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	event := `{"type": "task-received", "uuid": "u", "name": "n", "hostname": "w@h", "timestamp": 1800000000, "clock": 1}`
	raw, err := protocol.AppendEvents(nil, "task.multi", "w@h", "tag", []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	o.Parts.Fleet.Take(raw)
	if n := len(o.Parts.Fleet.Workers()); n != 1 {
		t.Errorf("%d workers are known, want 1", n)
	}
}

// The monitor of the compose file starts without a change to that file.
func TestMonitorOfTheComposeFile(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, monitor, _ := strings.Cut(string(raw), "\n  monitor:\n")
	monitor, _, _ = strings.Cut(monitor, "\n    ports:")
	vars := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ +(MONITOR_[A-Z_]+): (?:\$\{[A-Z_]+:-(.*)\}|(\S+))`).FindAllStringSubmatch(monitor, -1) {
		vars[m[1]] = strings.ReplaceAll(m[2]+m[3], "$$", "$")
	}
	if vars["MONITOR_ADDR"] != "0.0.0.0:5555" || vars["MONITOR_ANONYMOUS_ROLE"] != "viewer" {
		t.Fatalf("the monitor of the compose file has the variables %v", vars)
	}
	cfg, err := config.Load(func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makeGuard(&Parts{Config: cfg, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Errorf("it does not start: %v", err)
	}
}
