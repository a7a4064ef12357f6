package vitals

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/evently/workers/monitor"
)

// PartStatus is the part of changes of the status of a whole process, which is their text.
const PartStatus = "status"

// PartProcess is the part of changes that tell of the start and the end of a process.
const PartProcess = "process"

// breakerPart begins the names of parts that are circuit breakers.
const breakerPart = "breaker "

// part is a part of a report at one moment.
type part struct {
	name string
	ok   bool
	text string
}

// Parts lists the parts of a report by their names in [Change], in the order of pages.
func Parts(r monitor.Report) (names []string, states map[string]monitor.State) {
	states = map[string]monitor.State{}
	for _, p := range parts(r) {
		names = append(names, p.name)
		states[p.name] = monitor.State{OK: p.ok, Text: p.text}
	}
	return names, states
}

// PartName returns the name of a part for people.
func PartName(part string) string {
	if part == "held" {
		return "held tasks"
	}
	return strings.ReplaceAll(part, "_", " ")
}

// Trouble names the parts of a report that are not well, "" if all are.
func Trouble(r monitor.Report) string {
	var names []string
	for _, p := range parts(r) {
		if p.name != PartStatus && !p.ok {
			names = append(names, PartName(p.name))
		}
	}
	return strings.Join(names, ", ")
}

func parts(r monitor.Report) []part {
	all := []part{{PartStatus, r.Status != monitor.StatusUnhealthy, r.Status}}
	for _, p := range []struct {
		name  string
		state monitor.State
	}{
		{"worker", r.Worker.State}, {"queue", r.Queue.State}, {"keys", r.Keys.State}, {"database", r.Database.State},
		{"mail", r.Mail.State}, {"held", r.Held.State}, {"history", r.History.State}, {"dead_letters", r.DeadLetters.State},
		{"bounces", r.Bounces.State}, {"events", r.Events.State}, {"configuration", r.Configuration.State},
	} {
		if p.state == (monitor.State{}) {
			continue // an earlier version has no such part
		}
		all = append(all, part{p.name, p.state.OK, p.state.Text})
	}
	for _, b := range r.Brokers {
		all = append(all, part{"broker " + b.Name, b.Status == monitor.StatusHealthy, b.Queue.Text})
	}
	for _, b := range r.Breakers {
		text := b.State
		if b.Reason != "" {
			text += ": " + b.Reason
		}
		all = append(all, part{breakerPart + b.Name, b.State == "closed", text})
	}
	return all
}

// changes returns the parts whose state differs from that of before. Texts with numbers in
// them change all the time, so only the state counts, and the word of a status or a breaker.
func changes(before, now []part) (changed []part) {
	for _, p := range now {
		i := slices.IndexFunc(before, func(q part) bool { return q.name == p.name })
		switch {
		case i < 0 && p.ok:
		case i < 0, before[i].ok != p.ok, p.worded() && firstWord(before[i].text) != firstWord(p.text):
			changed = append(changed, p)
		}
	}
	return changed
}

// worded reports whether the first word of the text is a state.
func (p part) worded() bool { return p.name == PartStatus || strings.HasPrefix(p.name, breakerPart) }

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, ":")
	return word
}

// mostText bounds the text of a change, in bytes.
const mostText = 500

// clip shortens a text.
func clip(text string) string {
	if len(text) <= mostText {
		return text
	}
	return strings.ToValidUTF8(text[:mostText], "") + "…"
}

// missed tells of changes that were not noted.
func missed(n int) part {
	return part{PartProcess, false, fmt.Sprintf("changes came faster than they are noted; not noted: %d", n)}
}

// personal are variables in which processes may differ.
var personal = []string{
	"WORKER_NAME", "HEALTH_ADDR", "HEALTH_PPROF", "MONITOR", "MONITOR_ADDR", "MONITOR_BROKER", "CONCURRENCY", "AUTOSCALE", "LOG_LEVEL", "LOG_FORMAT", "BOUNCE_LISTEN",
	"WEBHOOK_ADDR", "QUEUES", "SMTP_HELLO_NAME",
}

// Differences returns the variables in which processes of the fleet differ, although they
// should not. Variables that a process does not tell of do not count.
func Differences(processes []Process) (names []string) {
	digests := map[string]string{}
	for _, p := range processes {
		for _, s := range p.Settings {
			before, known := digests[s.Variable]
			switch {
			case !known:
				digests[s.Variable] = s.Digest
			case !SameDigest(before, s.Digest) && !slices.Contains(personal, s.Variable) && !slices.Contains(names, s.Variable):
				names = append(names, s.Variable)
			}
		}
	}
	sort.Strings(names)
	return names
}
