package mails

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/events"
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
	Goal: "5,000 mails asked for by a task and by an event, in any order and up to 2 s apart, one event in ten published twice; 3 workers listen, and each is killed with -9, or stopped, and started again in turn",
	Mark: "no mail is sent twice; each is sent, and its task answers so, or a killed worker held it and it is a dead letter \"delivery unsure\"; mails of an event alone and of a task alone, too; the gaps that are told are the last 2 s of killed workers at most, which are not proven",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		n := harness.Size(r, 200, 5000)
		s := newStage(r, binary, startRefusing(r, smtptest.Options{}).relay, n)
		var names []string
		for _, p := range paired {
			names = append(names, p.channel)
		}
		// Both ask at once: nothing prefers the task.
		env := []string{"EVENT_CHANNELS=" + strings.Join(names, ","), "EVENT_DELAY=0", "CONCURRENCY=8",
			"OWNER_TIMEOUT=2", "SMTP_REPLY_TIMEOUT=1", "MAX_REDELIVERIES=50"}
		var ws []*testkit.Process
		for i := range 3 {
			ws = append(ws, s.work(fmt.Sprint("w", i), env...))
		}
		for _, w := range ws {
			s.listening(w)
		}
		kills := 0
		pauses := rand.New(rand.NewPCG(r.Seed, 3)) // chance of the stage is for the goroutine that asks
		p := s.askPairs(n, func(part int) {        // restarts in each part of the load
			for range harness.Size(r, 1, 3) {
				k := len(s.workers) - len(ws)
				i := k % len(ws)
				if (k+k/len(ws))%3 == 2 { // of three restarts one, of another worker each time
					ws[i].SignalMain(syscall.SIGTERM)
					ws[i].Wait(time.Minute)
				} else {
					testkit.Pause(s, time.Duration(pauses.IntN(500))*time.Millisecond)
					ws[i].Kill()
					kills++
				}
				ws[i] = s.work(fmt.Sprint("w", i), env...)
				s.listening(ws[i])
			}
		})
		// The short form does not wait for the outcome of mails that a killed worker held, which takes
		// eleven seconds, and twice as long for the other task.
		testkit.Poll(harness.Size(r, time.Minute, 3*time.Minute), func() bool { return p.open(s) == 0 })
		if r.Long {
			s.Settled(time.Minute)
		}
		wrong, unsure, arrived := p.judge(s)
		gaps, longest := s.gaps()
		r.Figure("%d mails, %d of them by task and event: %d wrong, %d unsure (%d of them arrived); %d kills and %d stops, %d gaps of %v at most",
			n, n*9/10, wrong, unsure, arrived, kills, len(s.workers)-len(ws)-kills, gaps, longest)
		r.Want(wrong == 0, "each mail once: %d are wrong", wrong)
		r.Want(unsure <= 8*kills, "unsure mails of killed workers alone: %d", unsure)
		r.Want(longest <= 2*time.Second, "no gap beyond the last 2 s of a killed worker: %v", longest)
	},
}

// pairing holds the mails that were asked for, by user.
type pairing struct {
	how    []string // when its task and its event were sent
	tasks  []string // ids of the tasks of the producer, "" for none
	events []string // ids of the tasks of the events
}

// gaps returns the number and the length of the periods that no worker has listened in, as they say.
func (s *stage) gaps() (n int, longest time.Duration) {
	for _, w := range s.workers {
		for line := range strings.Lines(w.Out.String()) {
			told := struct {
				Msg string
				Gap float64
			}{}
			if err := json.Unmarshal([]byte(line), &told); err == nil && strings.HasPrefix(told.Msg, "no worker has listened") {
				n++
				longest = max(longest, time.Duration(told.Gap*float64(time.Second)))
			}
		}
	}
	return n, longest
}

// held returns the users whose mail a task is sending, or was when its worker was killed.
func (s *stage) held() map[string]bool {
	s.Helper()
	users := map[string]bool{}
	for _, key := range s.Redis.Strings("KEYS", "_goworker.1.mark.once.*") {
		if text, err := redigo.String(s.Redis.Try("GET", key)); err == nil && strings.Contains(text, "sending ") {
			users[key[strings.LastIndex(key, ".")+1:]] = true
		}
	}
	return users
}

// open counts the users whose mail is not known to be sent or unsure, or whose task has no answer.
func (p *pairing) open(s *stage) (n int) {
	s.Helper()
	copies, results, dead, held := s.relay.copies(), s.Redis.Results(s.IDs), s.dead(), map[string]bool{}
	if !s.Long {
		held = s.held()
	}
	for user := 1; user < len(p.how); user++ {
		task := p.tasks[user]
		ended := len(copies[addressOf(user)]) > 0 || dead[task] || dead[p.events[user]]
		if !held[strconv.Itoa(user)] && (!ended || task != "" && verdictOf(results[task]) == "") {
			n++
		}
	}
	return n
}

// judge compares the mails and the results with what was asked for. A mail is unsure if a task for
// it says so, or is held: the worker was killed that was sending it.
func (p *pairing) judge(s *stage) (wrong, unknown, arrived int) {
	s.Helper()
	copies, results, dead, held := s.relay.copies(), s.Redis.Results(s.IDs), s.dead(), s.held()
	for user := 1; user < len(p.how); user++ {
		mails, task := len(copies[addressOf(user)]), p.tasks[user]
		verdict := verdictOf(results[task])
		isHeld := !s.Long && held[strconv.Itoa(user)]
		isUnsure := dead[task] && verdict == unsure || dead[p.events[user]] || isHeld
		if isUnsure {
			unknown++
			arrived += min(mails, 1)
		}
		answered := task == "" || verdict == delivered && mails == 1 || isUnsure && (verdict == unsure || isHeld && verdict == "")
		if mails > 1 || mails == 0 && !isUnsure || !answered {
			wrong++
			s.Logf("user %d: %d mails, unsure %v, task %s: %q; %s", user, mails, isUnsure, task, verdict, p.how[user])
		}
	}
	return wrong, unknown, arrived
}

func addressOf(user int) string { return fmt.Sprintf("m%d@example.com", user) }

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

// askPairs asks for n mails, each to a user, in parts, beside each of which it calls restart.
func (s *stage) askPairs(n int, restart func(part int)) *pairing {
	s.Helper()
	asked := &pairing{how: make([]string, n+1), tasks: make([]string, n+1), events: make([]string, n+1)}
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
				asked.tasks[user] = s.Send(1, harness.Task{Name: "email_workers.tasks." + p.task, Args: []any{user, map[string]any{"event_name": "Jazz", p.key: user}}})[0]
			}}
			at = s.apart()
			event := step{at, func() { asked.events[user] = s.publish(user) }}
			how := fmt.Sprintf("task at %v, event at %v", task.at, event.at)
			switch {
			case user%20 == 0:
				steps, how = append(steps, event), "event alone"
			case user%20 == 10:
				steps, how = append(steps, task), "task alone"
			case user%10 == 1:
				steps = append(steps, task, event, step{event.at + 50*time.Millisecond, event.ask})
			default:
				steps = append(steps, task, event)
			}
			asked.how[user] = how
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
	return asked
}

// apart returns a time within a part.
func (s *stage) apart() time.Duration {
	return time.Duration(s.Chance.IntN(harness.Size(s.Run, 700, 2000))) * time.Millisecond
}

// publish publishes an event about a user, of a booking or waitlist entry with the same number. It
// returns the id of its task.
func (s *stage) publish(user int) string {
	s.Helper()
	p := paired[user%len(paired)]
	raw := fmt.Sprintf(`{"type": %q, %q: %d, "event_id": 5, "user_id": %d, %q: {"id": %d, "event_id": 5, "user_id": %d, "booking_reference": "BK-%d", "quantity": 1}}`,
		p.typ, p.id, user, user, p.data, user, user, user)
	s.Redis.Do("PUBLISH", "evently:"+p.channel, raw)
	channels, errs := events.ParseChannels([]string{p.channel})
	if len(errs) > 0 {
		s.Fatalf("%v", errs[0])
	}
	m, err := channels[0].Parse([]byte(raw))
	if err != nil {
		s.Fatalf("%v", err)
	}
	return m.ID
}
