package monitor

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SecretState describes a secret of the configuration, without the secret.
type SecretState struct {
	Name  string    // of its variable
	Since time.Time // when its value was first seen, or its file written; zero: not known
}

// text describes a secret in words.
func (s *SecretState) text(now time.Time) string {
	if s.Since.IsZero() {
		return "set"
	}
	const day = 24 * time.Hour
	age := now.Sub(s.Since)
	if age < 2*day {
		return "set, known for " + span(age)
	}
	return fmt.Sprintf("set, known for %d days", age/day)
}

func (h *Health) secrets() []SecretState {
	if h.cfg.Secrets == nil {
		return nil
	}
	return h.cfg.Secrets()
}

// secretCollector makes metrics of the ages of secrets.
type secretCollector struct {
	health *Health
	age    *prometheus.Desc
}

func newSecretCollector(h *Health) *secretCollector {
	return &secretCollector{health: h, age: prometheus.NewDesc("evently_secret_age_seconds",
		"Time since the value of the secret was first seen by a worker, or since its file was written.", []string{"secret"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *secretCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.age }

// Collect implements [prometheus.Collector].
func (c *secretCollector) Collect(ch chan<- prometheus.Metric) {
	now := c.health.cfg.Now()
	for _, s := range c.health.secrets() {
		if !s.Since.IsZero() {
			ch <- prometheus.MustNewConstMetric(c.age, prometheus.GaugeValue, max(0, now.Sub(s.Since).Seconds()), s.Name)
		}
	}
}
