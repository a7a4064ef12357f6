package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestUnit lets systemd verify the unit, and judge how well it confines the process.
func TestUnit(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("evently-workers.service")
	if err != nil {
		t.Fatal(err)
	}
	// The program need not be installed here.
	unit := strings.Replace(string(raw), "/usr/local/bin/evently-workers", "/bin/true", 1)
	verify := func(unit string) (string, error) {
		file := filepath.Join(t.TempDir(), "evently-workers.service")
		if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", file).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(unit); err != nil || strings.Contains(out, "evently-workers.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := verify(unit + "\n[Service]\nTypo=1\n"); err == nil && !strings.Contains(out, "Typo") {
		t.Errorf("an unknown setting passes:\n%s", out)
	}

	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "evently-workers.service").CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	const most = 2.0 // of 10
	m := regexp.MustCompile(`exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("no exposure level in:\n%s", out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > most {
		t.Errorf("exposure level %s, want at most %v", m[1], most)
	}
}
