package mails

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// paired are the mails that tasks and events ask for.
var paired = []struct {
	channel, typ, id, data string // of the event
	task                   string
	key                    string // of the id in the data of the task
}{
	{"bookings:confirmed", "BookingConfirmed", "booking_id", "booking_data", "send_booking_confirmation", "booking_id"},
	{"bookings:cancelled", "BookingCancelled", "booking_id", "booking_data", "send_booking_cancellation", "booking_id"},
	{"bookings:waitlist_joined", "WaitlistJoined", "waitlist_entry_id", "waitlist_data", "send_waitlist_joined", "waitlist_id"},
	{"bookings:waitlist_cancelled", "WaitlistCancelled", "waitlist_entry_id", "waitlist_data", "send_waitlist_cancellation", "waitlist_id"},
}

// pairs is R28.
var pairs = harness.Row{
	ID:   "R28",
	Goal: "5,000 mails asked for by a task and by an event, in any order and up to 2 s apart, one event in ten published twice; 3 workers listen, and each is stopped and started again in turn",
	Mark: "each mail is sent exactly once, each task answers that it was sent; mails of an event alone and of a task alone are sent once, too; no gap is told",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		n := harness.Size(r, 200, 5000)
		s := newStage(r, binary, startRefusing(r, smtptest.Options{}).relay, n)
		var names []string
		for _, p := range paired {
			names = append(names, p.channel)
		}
		// Both ask at once: nothing prefers the task.
		env := []string{"EVENT_CHANNELS=" + strings.Join(names, ","), "EVENT_DELAY=0", "CONCURRENCY=8"}
		var ws []*testkit.Process
		for i := range 3 {
			ws = append(ws, s.work(fmt.Sprint("w", i), env...))
		}
		for _, w := range ws {
			s.listening(w)
		}
		what := s.askPairs(n, func(part int) { // a restart in each part of the load
			i := part % len(ws)
			ws[i].SignalMain(syscall.SIGTERM)
			ws[i].Wait(time.Minute)
			ws[i] = s.work(fmt.Sprint("w", i), env...)
			s.listening(ws[i])
		})
		s.Await(s.IDs, time.Minute)
		testkit.Eventually(s, time.Minute, "a mail to each user", func() bool { return len(s.relay.copies()) >= n })
		s.Settled(time.Minute)
		wrong, gaps := 0, s.logged("no worker has listened")
		copies, results := s.relay.copies(), s.Redis.Results(s.IDs)
		for user := 1; user <= n; user++ {
			if mails := len(copies[fmt.Sprintf("m%d@example.com", user)]); mails != 1 {
				wrong++
				s.Logf("user %d: %d mails, %s", user, mails, what[user])
			}
		}
		for _, id := range s.IDs {
			if verdict := verdictOf(results[id]); verdict != delivered {
				wrong++
				s.Logf("task %s: %s", id, verdict)
			}
		}
		r.Figure("%d mails, %d of them by task and event: %d wrong; %d restarts, %d gaps, %d dead letters", n, n*9/10, wrong, len(s.workers)-3, gaps, len(s.dead()))
		r.Want(wrong == 0, "each mail once: %d are wrong", wrong)
		r.Want(gaps == 0 && len(s.dead()) == 0, "no gap and no dead letter: %d, %d", gaps, len(s.dead()))
	},
}

// listening waits until a worker listens to events.
func (s *stage) listening(proc *testkit.Process) {
	s.Helper()
	s.healthy(proc)
	testkit.Eventually(s, time.Minute, "the service listens to events", func() bool {
		_, text := health(proc)
		var report struct {
			Events struct{ Text string } `json:"events"`
		}
		return json.Unmarshal([]byte(text), &report) == nil && strings.HasPrefix(report.Events.Text, "listening")
	})
}

// askPairs asks for n mails, each to a user, in parts, beside each of which it calls restart. It
// tells how each was asked for.
func (s *stage) askPairs(n int, restart func(part int)) (what []string) {
	s.Helper()
	what = make([]string, n+1)
	type step struct {
		at  time.Duration
		ask func()
	}
	parts := harness.Size(s.Run, 3, 12)
	for part := range parts {
		var steps []step
		for user := part*n/parts + 1; user <= (part+1)*n/parts; user++ {
			p, at := paired[user%len(paired)], s.apart()
			task := step{at, func() {
				s.Send(1, harness.Task{Name: "email_workers.tasks." + p.task, Args: []any{user, map[string]any{"event_name": "Jazz", p.key: user}}})
			}}
			at = s.apart()
			event := step{at, func() { s.publish(p.channel, p.typ, p.id, p.data, user) }}
			what[user] = fmt.Sprintf("task at %v, event at %v", task.at, event.at)
			switch {
			case user%20 == 0:
				steps, what[user] = append(steps, event), "event alone"
			case user%20 == 10:
				steps, what[user] = append(steps, task), "task alone"
			case user%10 == 1:
				steps = append(steps, task, event, step{event.at + 50*time.Millisecond, event.ask})
			default:
				steps = append(steps, task, event)
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			began := time.Now()
			slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
			for _, st := range steps {
				time.Sleep(time.Until(began.Add(st.at)))
				st.ask()
			}
		}()
		restart(part)
		<-done
	}
	return what
}

// apart returns a time within a part.
func (s *stage) apart() time.Duration {
	return time.Duration(s.Chance.IntN(harness.Size(s.Run, 700, 2000))) * time.Millisecond
}

// publish publishes an event about a user, of a booking or waitlist entry with the same number.
func (s *stage) publish(channel, typ, id, data string, user int) {
	s.Redis.Do("PUBLISH", "evently:"+channel, fmt.Sprintf(
		`{"type": %q, %q: %d, "event_id": 5, "user_id": %d, %q: {"id": %d, "event_id": 5, "user_id": %d, "booking_reference": "BK-%d", "quantity": 1}}`,
		typ, id, user, user, data, user, user, user))
}
