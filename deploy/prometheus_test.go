package deploy_test

import (
	"os/exec"
	"testing"
)

// TestAlerts lets Prometheus check its example configuration and the alerts, and run their tests.
func TestAlerts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatal("promtool is missing; run make setup")
	}
	for _, args := range [][]string{
		{"check", "config", "prometheus/prometheus.yaml"}, {"check", "rules", "prometheus/alerts.yaml"}, {"test", "rules", "prometheus/alerts_test.yaml"},
	} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
