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

// The page says when it shows answers from before Redis became unavailable.
func TestOldHealth(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := healthOf(vitals.State{At: now.Add(-20 * time.Second), Processes: []vitals.Process{{Node: "w@h"}}}, now, "", "")
	if !strings.Contains(h.Stale, "Redis does not answer") || len(h.Processes) != 1 {
		t.Errorf("%q, %+v", h.Stale, h.Processes)
	}
}
