package system

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
)

// A change of the status has the colour of the status: "degraded" is not green.
func TestStatusInTheHistory(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := healthOf(vitals.State{At: now, Changes: []vitals.Change{{At: now, Node: "w@h", Part: vitals.PartStatus, OK: true, Text: monitor.StatusDegraded}}}, now, "", "")
	if want := (web.Chip{Text: "degraded", Tone: web.Wait}); len(h.History) != 1 || h.History[0].Chip != want {
		t.Errorf("%+v, want %+v", h.History, want)
	}
	if h.Stale != "" {
		t.Errorf("fresh, and yet %q", h.Stale)
	}
}

// A part that works in part says why, once.
func TestReasonOfAPart(t *testing.T) {
	t.Parallel()
	var r monitor.Report
	r.DeadLetters = monitor.Part{State: monitor.State{OK: true, Text: "open: 10"}, Status: monitor.PartDegraded, Reason: "10 more dead letters than 600 s ago", Advice: "look"}
	r.Mail = monitor.Part{State: monitor.State{OK: true, Text: "sent a mail 2 s ago; tried again after an outage"}, Status: monitor.PartDegraded, Reason: "tried again after an outage"}
	r.Held = monitor.Part{State: monitor.State{Text: "mail tasks are held: 5 waiting"}, Status: monitor.PartDegraded, Reason: "mail tasks are held because of an outage"}
	h := healthOf(vitals.State{At: time.Now(), Processes: []vitals.Process{{Node: "w@h", Report: r}}}, time.Now(), "", "")
	says := map[string]string{}
	for _, p := range h.Processes[0].Parts {
		if p.Name == "dead letters" && (p.Href != "/dead-letters" || !strings.Contains(p.Advice, "by cause")) {
			t.Errorf("dead letters lead to %q: %q", p.Href, p.Advice)
		}
		says[p.Name] = p.Text
	}
	for name, want := range map[string]string{
		"dead letters": "open: 10; 10 more dead letters than 600 s ago", "mail": "sent a mail 2 s ago; tried again after an outage", "held tasks": "mail tasks are held: 5 waiting",
	} {
		if says[name] != want {
			t.Errorf("%s says %q, want %q", name, says[name], want)
		}
	}
}

// The page says when it shows answers from before Redis became unavailable.
func TestOldHealth(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := healthOf(vitals.State{At: now.Add(-20 * time.Second), Processes: []vitals.Process{{Node: "w@h"}}}, now, "", "")
	if !strings.Contains(h.Stale, "Redis does not answer") || len(h.Processes) != 1 {
		t.Errorf("%q, %+v", h.Stale, h.Processes)
	}
}
