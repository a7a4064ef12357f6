package tasks

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/store/ledger"
)

// Runs that follow each other within a second have each their own events of the mail.
func TestTimelineOfQuickRuns(t *testing.T) {
	t.Parallel()
	at := time.Unix(1796003172, 0)
	seconds := func(ms int) fleet.Seconds {
		return fleet.Seconds(float64(at.Add(time.Duration(ms)*time.Millisecond).UnixMicro()) / 1e6)
	}
	f := &fleet.Family{Task: fleet.Task{Attempts: []fleet.Attempt{
		{Number: 1, Received: seconds(2), Started: seconds(1), Ended: seconds(4), State: fleet.Retry},
		{Number: 1, Received: seconds(902), Started: seconds(901), State: fleet.Retry}, // its end was not heard
		{Number: 1, Received: seconds(1802), Started: seconds(1801), Ended: seconds(1804), State: fleet.Success},
	}}}
	var h ledger.History
	for _, ms := range []int{3, 903, 1803} {
		h.Events = append(h.Events, ledger.Record{At: at.Add(time.Duration(ms) * time.Millisecond), State: ledger.Queued})
	}
	line := timeline(f, []ledger.History{h})
	if len(line) != 3 {
		t.Fatalf("%d entries: %+v", len(line), line)
	}
	for i, e := range line {
		n := 0
		for _, inner := range e.Events {
			if inner.Title != "Received" && inner.Title != "Started" && inner.Time.Equal(h.Events[i].At) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("run %d has %d of its events: %+v", i+1, n, e.Events)
		}
	}
}

// The event of the publisher may be later than those of a quick worker, and Celery's retry
// publishes once more.
func TestTimelinePublished(t *testing.T) {
	t.Parallel()
	const begin = 1796003172
	for _, test := range []struct {
		sent float64
		want string
	}{
		{begin - 1, "Published, Attempt 1, Attempt 2"},
		{begin + 0.1, "Published, Attempt 1, Attempt 2"},
		{begin + 1, "Attempt 1, Published again, Attempt 2"},
		{begin + 3.1, "Attempt 1, Published again, Attempt 2"},
		{begin + 9, "Attempt 1, Attempt 2, Published again"},
	} {
		f := &fleet.Family{Task: fleet.Task{Sent: fleet.Seconds(test.sent), Attempts: []fleet.Attempt{
			{Number: 1, Received: begin, Started: begin + 0.2, Ended: begin + 0.5, State: fleet.Retry},
			{Number: 2, Received: begin + 3, Started: begin + 3.2, Ended: begin + 3.5, State: fleet.Success},
		}}}
		var have []string
		for _, e := range timeline(f, nil) {
			have = append(have, e.Title)
			if e.After < 0 {
				t.Errorf("sent at %v: %s is %v after the first event", test.sent, e.Title, e.After)
			}
		}
		if got := strings.Join(have, ", "); got != test.want {
			t.Errorf("sent at %v: %s, want %s", test.sent, got, test.want)
		}
	}
}
