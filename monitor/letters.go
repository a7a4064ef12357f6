package monitor

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evently/workers/worker/broker"
)

// lettersPart tells how many dead letters wait for a person, and whether some were lost. It
// decides neither the readiness nor the status of the worker.
func (b *brokerHealth) lettersPart(now time.Time) Part {
	if b.cfg.Letters == nil {
		return newPart(State{OK: true, Text: "not counted"})
	}
	c, at, known := b.cfg.Letters()
	switch {
	case at.IsZero() && !known:
		return newPart(State{OK: true, Text: "not counted yet"})
	case !known:
		p := newPart(State{OK: true, Text: fmt.Sprintf("not known; %s ago %d were open", span(now.Sub(at)), c.Open)})
		return p.degraded(p.Text, "see /health/queue; they are counted as soon as Redis answers").answered(at, now)
	}
	grown := b.grown.note(c.Open, now)
	text := fmt.Sprintf("open: %d", c.Open)
	if c.Dropped > 0 {
		text += fmt.Sprintf("; lost because there were more than DEAD_LETTERS_MAX: %d", c.Dropped)
	}
	if c.Aged > 0 {
		text += fmt.Sprintf("; lost because they were too old: %d", c.Aged)
	}
	p := newPart(State{OK: true, Text: text})
	isLosing := !c.LastDropped.IsZero() && now.Sub(c.LastDropped) < lossPeriod
	switch {
	case isLosing:
		p = p.degraded(fmt.Sprintf("dead letters were lost %s ago", span(now.Sub(c.LastDropped))), "deal with the open ones, or raise DEAD_LETTERS_MAX").from(c.LastDropped)
	case grown >= manyLetters:
		p = p.degraded(fmt.Sprintf("%d more dead letters than %s ago", grown, span(growthPeriod)), "run dead-letters causes; see Dead letters in docs/operations.md")
	}
	p.check("growth", statusOf(grown < manyLetters, PartDegraded), fmt.Sprintf("%+d within %s", grown, span(growthPeriod)))
	p.check("losses", statusOf(!isLosing, PartDegraded), fmt.Sprintf("lost: %d", c.Dropped+c.Aged))
	return p.answered(at, now)
}

const (
	// manyLetters is the growth of the open dead letters within growthPeriod from which they
	// need a person now.
	manyLetters = 10
	// lossPeriod is the time for which the loss of a dead letter is told.
	lossPeriod = 24 * time.Hour
)

// letterCollector makes metrics of the dead letters. They are absent until the letters are counted:
// after a zero the first number would look like new letters, and like new losses. They are absent
// while Redis does not answer, too.
func letterCollector(counts func() (broker.LetterCounts, time.Time, bool)) []prometheus.Collector {
	known := func() bool { _, _, known := counts(); return known }
	current := func() broker.LetterCounts { c, _, _ := counts(); return c }
	gauge := func(name, help string, value func(broker.LetterCounts) int) prometheus.Collector {
		return conditional{prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, func() float64 { return float64(value(current())) }), known}
	}
	counter := func(name, help string, value func(broker.LetterCounts) int64) prometheus.Collector {
		return conditional{prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, func() float64 { return float64(value(current())) }), known}
	}
	return []prometheus.Collector{
		gauge("dead_letters_open", "Dead letters that wait for a person; the same number in all workers.", func(c broker.LetterCounts) int { return c.Open }),
		gauge("dead_letters_closed", "Dead letters that were retried, replaced or dealt with; the same number in all workers.", func(c broker.LetterCounts) int { return c.Closed }),
		counter("dead_letters_dropped_total", "Open dead letters that were lost because there were too many, since the first; the same number in all workers.", func(c broker.LetterCounts) int64 { return c.Dropped }),
		counter("dead_letters_aged_total", "Open dead letters that were lost because they were too old, since the first; the same number in all workers.", func(c broker.LetterCounts) int64 { return c.Aged }),
	}
}

// conditional is a collector whose metrics are absent until their values are known.
type conditional struct {
	prometheus.Collector
	known func() bool
}

// Collect implements [prometheus.Collector].
func (c conditional) Collect(metrics chan<- prometheus.Metric) {
	if c.known() {
		c.Collector.Collect(metrics)
	}
}
