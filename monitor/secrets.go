package monitor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SecretState describes a secret of the configuration, without the secret.
type SecretState struct {
	Name  string    // of its variable
	Since time.Time // when its value was first seen, or its file written; zero: not known

	Source      string           // of its value, such as "file"
	Fingerprint string           // of its value, by a key of the process; "": not known
	Mark        string           // of its value, by a key of the fleet; "": not known
	Fault       string           // why a new value is not in use; "": there is none
	Advice      string           // what to do about the fault
	Reloads     map[string]int64 // looks at the source that found something, by result
}

// text describes a secret in words.
func (s *SecretState) text(now time.Time) string {
	text := "set"
	const day = 24 * time.Hour
	switch age := now.Sub(s.Since); {
	case s.Since.IsZero():
	case age < 2*day:
		text += ", known for " + span(age)
	default:
		text += fmt.Sprintf(", known for %d days", age/day)
	}
	if s.Source != "" {
		text += ", from " + s.Source
	}
	if s.Fingerprint != "" {
		text += ", fingerprint " + s.Fingerprint
	}
	if s.Fault != "" {
		text += ": " + s.Fault
	}
	return text
}

// secretsFault returns the reason and the advice of all faults of secrets; "": there are none.
// Secrets with the same fault, such as the logins of one variable, share a reason.
func secretsFault(all []SecretState) (reason, advice string) {
	var faults, advices []string
	names := map[string][]string{} // by fault
	for _, s := range all {
		if s.Fault == "" {
			continue
		}
		if names[s.Fault] == nil {
			faults = append(faults, s.Fault)
		}
		names[s.Fault] = append(names[s.Fault], s.Name)
		if !slices.Contains(advices, s.Advice) {
			advices = append(advices, s.Advice)
		}
	}
	for i, fault := range faults {
		faults[i] = strings.Join(names[fault], ", ") + ": " + fault
	}
	return strings.Join(faults, "; "), strings.Join(advices, "; ")
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
	reload *prometheus.Desc
}

func newSecretCollector(h *Health) *secretCollector {
	return &secretCollector{
		health: h,
		age: prometheus.NewDesc("evently_secret_age_seconds",
			"Time since the value of the secret was first seen by a worker, or since its file was written.", []string{"secret"}, nil),
		reload: prometheus.NewDesc("evently_secret_reloads_total",
			"Looks at the sources of secrets that found something: changed (a new value), accepted (by its server), behind (the server refuses the new value and takes the previous one) or failed (the new value cannot be used).",
			[]string{"secret", "result"}, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *secretCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.age
	ch <- c.reload
}

// Collect implements [prometheus.Collector].
func (c *secretCollector) Collect(ch chan<- prometheus.Metric) {
	now := c.health.cfg.Now()
	for _, s := range c.health.secrets() {
		for result, n := range s.Reloads {
			ch <- prometheus.MustNewConstMetric(c.reload, prometheus.CounterValue, float64(n), s.Name, result)
		}
		if !s.Since.IsZero() {
			ch <- prometheus.MustNewConstMetric(c.age, prometheus.GaugeValue, max(0, now.Sub(s.Since).Seconds()), s.Name)
		}
	}
}
