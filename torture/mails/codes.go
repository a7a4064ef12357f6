package mails

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// codes is R27.
var codes = harness.Row{
	ID:   "R27",
	Goal: "1,000 codes queued while no service runs: their keys of the auth service have expired, were used or have a newer code, a worker saw them more than 10 minutes ago, or their message has expired; 20 fresh ones behind them",
	Mark: "0 of the old ones sent, each result says why, the history agrees; the fresh ones are accepted < 2 s after the start of the process",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		old, fresh, rounds := harness.Size(r, 150, 1000), 20, harness.Size(r, 1, 5)
		before := 0
		s := newStage(r, binary, startRefusing(r, smtptest.Options{}).relay, 1)
		auth := testkit.StartRedis(r)
		var worst time.Duration
		wrong, other := 0, map[string]int{}
		for range rounds {
			stale := s.askOld(auth, old)
			valid := s.askFresh(auth, fresh)
			// The time of the process, with its start, counts.
			begin := time.Now()
			w := s.work("w", "CONCURRENCY=6", "OTP_CHECK_REDIS_URL="+auth.URL())
			testkit.Eventually(s, time.Minute, "the fresh codes are sent", func() bool { return len(s.relay.Mails()) >= before+len(valid) })
			worst = max(worst, s.accepted().Last().Sub(begin))
			s.Await(s.IDs, time.Minute)
			results, copies := s.Redis.Results(s.IDs), s.relay.copies()
			for _, c := range stale {
				said := string(results[c.id].Status) + " " + string(results[c.id].Result)
				other[c.why]++
				if len(copies[c.address]) > 0 || !strings.Contains(said, c.says) || strings.Contains(said, `"success": true`) {
					wrong++
					s.Logf("code that is %s: %d mails, result %s", c.why, len(copies[c.address]), said)
				}
			}
			for _, c := range valid {
				if len(copies[c.address]) != 1 || verdictOf(results[c.id]) != delivered {
					wrong++
					s.Logf("fresh code: %d mails, result %s", len(copies[c.address]), results[c.id].Result)
				}
			}
			if disagree := s.disagree(); disagree > 0 {
				wrong += disagree
			}
			w.Kill()
			before = len(s.relay.Mails())
		}
		r.Figure("%d starts with %d old and %d fresh codes: %d wrong of %v; fresh ones accepted at most %v after the start", rounds, old, fresh, wrong, other, worst.Round(time.Millisecond))
		r.Want(wrong == 0, "every code as it should be: %d are not", wrong)
		r.Want(worst < r.Mark(2*time.Second), "the fresh codes accepted within %v: %v", r.Mark(2*time.Second), worst)
	},
}

// code is a code that must not be sent.
type code struct {
	letter
	why, says string
}

// askOld publishes n codes that are of no use any more.
func (s *stage) askOld(auth *testkit.Redis, n int) (all []code) {
	s.Helper()
	for i := range n {
		address, value := fmt.Sprintf("old%d@example.com", len(s.IDs)), fmt.Sprintf("%06d", i)
		key, task, c := "otp:verification:"+address, harness.Task{}, code{why: "expired", says: `"error": "expired"`}
		switch i % 5 {
		case 0: // its key has expired
		case 1:
			c.why = "used" // the auth service deletes the key of a code that was used
			auth.Do("SET", key, value, "EX", 600)
			auth.Do("DEL", key)
		case 2:
			c.why, c.says = "superseded", `"error": "superseded"`
			auth.Do("SET", key, "999"+value[3:]+"7", "EX", 600)
		case 3: // the key is there, but it cannot be: clocks differ
			c.why = "too old"
			auth.Do("SET", key, value, "EX", 600)
			task.Headers = fmt.Sprintf(`"evently_first_seen": "%s"`, time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000000+00:00"))
		case 4:
			c.why, c.says = "expired by its message", "expired"
			auth.Do("SET", key, value, "EX", 600)
			task.Expires = time.Now().Add(-50 * time.Minute)
		}
		c.letter = s.askCode(address, value, task, i%5 != 4)
		all = append(all, c)
	}
	return all
}

// askFresh publishes n codes that must be sent.
func (s *stage) askFresh(auth *testkit.Redis, n int) (all []letter) {
	s.Helper()
	for i := range n {
		address, value := fmt.Sprintf("fresh%d@example.com", len(s.IDs)), fmt.Sprintf("%06d", 500000+i)
		auth.Do("SET", "otp:verification:"+address, value, "EX", 600)
		all = append(all, s.askCode(address, value, harness.Task{}, true))
	}
	return all
}

// askCode publishes a code. The history has nothing of a message that the engine revokes.
func (s *stage) askCode(address, value string, task harness.Task, inHistory bool) letter {
	s.Helper()
	task.Name = "email_workers.tasks.send_otp_verification_email"
	task.Args = []any{map[string]any{"email": address, "otp": value}}
	l := letter{address: address, urgent: true, id: s.Send(1, task)[0]}
	if inHistory {
		s.sent = append(s.sent, l)
	}
	return l
}
