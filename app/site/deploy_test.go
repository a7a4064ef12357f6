package site

import (
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/evently/workers/config"
)

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
