package verdict_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/store/ledger"
)

// A task that was published twice under one id has two mails. The answer names the time and the
// queue id of the first together, and tells of the second.
func TestTwoCopies(t *testing.T) {
	first := time.Date(2026, 11, 30, 1, 41, 43, 0, time.UTC)
	second := first.Add(time.Minute)
	h := ledger.History{
		Mail: ledger.Mail{TaskID: "t", Kind: "welcome", State: ledger.Accepted, StateAt: second, AcceptedAt: &first, Attempts: 2},
		Events: []ledger.Record{
			{At: first.Add(-time.Second), State: ledger.Sending},
			{At: first, State: ledger.Accepted, Endpoint: "relay:25", QueueID: "AAA"},
			{At: second, State: ledger.Accepted, Endpoint: "relay:25", QueueID: "BBB"},
		},
	}
	sent, text := verdict.Judge(h, second.Add(time.Hour))
	one, two, found := strings.Cut(text, " It was accepted 2 times")
	if sent != verdict.Yes || !found || !strings.Contains(one, "41:43") || !strings.Contains(one, "AAA") || !strings.Contains(two, "42:43") || !strings.Contains(two, "BBB") {
		t.Errorf("%s: %s", sent, text)
	}
	h.Events = h.Events[:2]
	if _, text := verdict.Judge(h, second); strings.Contains(text, "times") || !strings.Contains(text, "AAA") {
		t.Errorf("one copy: %s", text)
	}
}
