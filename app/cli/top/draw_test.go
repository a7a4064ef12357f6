package top

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/summary"
)

var update = flag.Bool("update", false, "write the golden files")

var at = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

// busy is a fleet in trouble, with names that want to steer the terminal.
func busy() *summary.Summary {
	s := &summary.Summary{
		At:      at,
		Rates:   summary.Rates{Known: true, Received: 123.4, Succeeded: 98.7, Retried: 0.4, Failed: 1.2},
		Latency: summary.Latency{Known: true, P50: 0.012, P95: 0.41, P99: 12.3},
		Queues: summary.Queues{
			Known: true, Messages: 12345, Unacked: 8, All: []summary.Queue{
				{Name: "bulk\x1b[31m", Messages: 3, Oldest: summary.Age{Known: true, Seconds: 4}, Paused: true},
				{Name: "email_notifications", Messages: 12342, Oldest: summary.Age{Known: true, Seconds: 95, AtLeast: true}, In: 12.5, Out: 140, Empty: 96},
				{Name: "漢字漢字", Broken: true},
			},
		},
		Breakers: []summary.Breaker{{Name: "database", Phase: "closed"}, {Name: "relay smtp.example.com:587", Phase: "open"}},
		Codes:    summary.Codes{Known: true, Ended: 2000, InTime: 1990, Expired: 2, P95: 3.2, Objective: 0.99, Budget: 0.5, Waiting: 42, Number: 3},
		Failures: []summary.Failure{{Class: "greylisted", N: 31}, {Class: "account", N: 2}},
		Letters:  summary.Letters{Known: true, Open: 17, Grown: 4},
		Workers: []summary.Worker{
			{Node: "celery@python-1", Python: true, Version: "py-celery 5.5.3", Active: 2, Processed: 77},
			{Node: "email-worker@mail-1.example.com", Process: "1", Version: "v1.4.0 (commit abc, go1.26)", Status: "degraded", Active: 4, Concurrency: 4, Processed: 12345, Trouble: "mail, history"},
			{Node: "email-worker@mail-2.example.com", Process: "2", Version: "v1.4.0 (commit abc, go1.26)", Status: "healthy", Concurrency: 8},
		},
		Findings: []attention.Finding{
			{Level: attention.Urgent, Text: "The relay smtp.example.com:587 takes no mails of email-worker@mail-1.example.com: 421 4.7.0 try again later.", Advice: "Ask the operator of the relay; mails wait meanwhile.", Since: at.Add(-3 * time.Minute)},
			{Level: attention.Warning, Text: "Dead letters grow: 4 more in the last 10 min, 17 open.", Advice: "Look at them by cause. Mend the cause, then retry all of it.", Since: at.Add(-10 * time.Minute)},
			{Level: attention.Notice, Text: "The workers differ in SMTP_PASSWORD.\nx", Since: at},
		},
	}
	for i := range uint32(100) {
		s.Rates.Series.Received = append(s.Rates.Series.Received, i*i%977)
	}
	return s
}

// away is the same fleet while Redis does not answer.
// lost is a summary after Redis has lost its data.
func lost() *summary.Summary {
	s := away()
	s.Queues.Fault, s.Findings, s.Queues.Known = "", nil, true
	s.Unknown = []string{"the dead letters", "the health of email-worker@a"}
	return s
}

func away() *summary.Summary {
	s := busy()
	s.Rates, s.Latency, s.Letters = summary.Rates{Series: s.Rates.Series}, summary.Latency{}, summary.Letters{}
	s.Queues = summary.Queues{Fault: "dial tcp 127.0.0.1:6379: connect: connection refused", Unacked: -1, All: []summary.Queue{}}
	for i := range s.Breakers {
		s.Breakers[i].Phase = summary.NotKnown
	}
	for i := range s.Workers {
		s.Workers[i].Status, s.Workers[i].Active, s.Workers[i].Trouble = summary.NotKnown, 0, ""
	}
	return s
}

// never is what a top knows that Redis has not answered yet.
func never() *summary.Summary {
	return &summary.Summary{At: at, Queues: summary.Queues{Fault: "dial tcp 127.0.0.1:6379: connect: connection refused", Unacked: -1, All: []summary.Queue{}}}
}

// Screens of several sizes, in golden files. No line is wider than its screen, and no name
// steers the terminal.
func TestDraw(t *testing.T) {
	for name, test := range map[string]struct {
		summary *summary.Summary
		screen  screen
	}{
		"80x24":  {busy(), screen{width: 80, height: 24, keys: true}},
		"120x40": {busy(), screen{width: 120, height: 40, keys: true, sort: byName, paused: true}},
		"40x12":  {busy(), screen{width: 40, height: 12, keys: true}},
		"once":   {busy(), screen{width: 80}},
		"empty":  {&summary.Summary{At: at, Queues: summary.Queues{Unacked: -1}}, screen{width: 80, height: 24, keys: true}},
		"away":   {away(), screen{width: 80, height: 24, keys: true}},
		"lost":   {lost(), screen{width: 80, height: 24, keys: true}},
		"never":  {never(), screen{width: 80}},
		"colour": {busy(), screen{width: 100, height: 30, colour: true, keys: true}},
	} {
		t.Run(name, func(t *testing.T) {
			test.screen.source = "127.0.0.1:6379/0"
			lines := draw(test.summary, test.screen)
			if h := test.screen.height; h > 0 && len(lines) != h {
				t.Errorf("%d lines, want %d", len(lines), h)
			}
			for _, l := range lines {
				if n := term.Cells(plain(l)); n > test.screen.width {
					t.Errorf("%d cells, of %d: %q", n, test.screen.width, l)
				}
				if strings.ContainsAny(plain(l), "\x1b\n\r") || !test.screen.colour && strings.Contains(l, "\x1b") {
					t.Errorf("a line steers the terminal: %q", l)
				}
			}
			golden(t, name, strings.Join(lines, "\n")+"\n")
		})
	}
}

// plain removes the colours of paint.
func plain(text string) string {
	for _, code := range []string{bold, dim, red, green, yellow, cyan, "0"} {
		text = strings.ReplaceAll(text, "\x1b["+code+"m", "")
	}
	return text
}

func TestKeys(t *testing.T) {
	var d display
	for _, test := range []struct {
		keys         string
		on           bool
		paused, name bool
	}{{"", true, false, false}, {"p", true, true, false}, {"s", true, true, true}, {" s", true, false, false}, {"\x1b[A", true, false, false}, {"xq", false, false, false}, {"\x03", false, false, false}} {
		if on := d.press([]byte(test.keys)); on != test.on || d.paused != test.paused || (d.sort == byName) != test.name {
			t.Errorf("%q: goes on: %t, %+v", test.keys, on, d)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
