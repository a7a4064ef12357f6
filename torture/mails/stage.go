package mails

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/torture/harness"
)

// service is the package of the program.
const service = "./cmd/evently-workers"

// kinds are the tasks of mails in turn. Codes and offers are urgent: their readers wait, so they
// are sent once more when it is unknown whether they arrived.
var kinds = []struct {
	name   string
	urgent bool
	args   func(user int, address string) []any
}{
	{"send_otp_verification_email", true, func(_ int, address string) []any {
		return []any{map[string]any{"email": address, "otp": "048213"}}
	}},
	{"send_welcome_email", false, func(_ int, address string) []any {
		return []any{map[string]any{"email": address, "username": "ann"}}
	}},
	{"send_booking_confirmation", false, func(user int, _ string) []any {
		return []any{user, map[string]any{"event_name": "Nordic Jazz Night", "booking_id": fmt.Sprintf("BK-%d", user)}}
	}},
	{"send_booking_cancellation", false, func(user int, _ string) []any {
		return []any{user, map[string]any{"event_name": "Nordic Jazz Night", "reason": "Rain"}}
	}},
	{"send_waitlist_joined", false, func(user int, _ string) []any {
		return []any{user, map[string]any{"event_name": "Nordic Jazz Night", "position": 3}}
	}},
	{"send_waitlist_notification", true, func(user int, _ string) []any {
		return []any{user, map[string]any{"event_name": "Nordic Jazz Night"}}
	}},
}

// stage is a platform with the service on it.
type stage struct {
	*harness.Stage
	users   *storetest.Server
	relay   *relay
	binary  string
	sent    []letter
	workers []*testkit.Process // all that were started
}

// letter is a mail that a task asks for.
type letter struct {
	id      string // of the task
	address string // of the recipient, who gets no other mail
	urgent  bool
}

// newStage starts the servers. most is the number of mails that are sent at most.
func newStage(r *harness.Run, binary string, relay *relay, most int) *stage {
	r.Helper()
	s := &stage{Stage: harness.NewStage(r), users: storetest.Postgres(r), relay: relay, binary: binary}
	s.users.Exec(storetest.Database, `INSERT INTO users (id, email, username, is_active, is_verified)
		SELECT n, 'm' || n || '@example.com', 'u' || n, true, true FROM generate_series(1, $1) AS n`, most)
	return s
}

// work starts a worker.
func (s *stage) work(name string, env ...string) *testkit.Process {
	s.Helper()
	port := testkit.FreePort(s)
	proc := testkit.Start(s, "evently-workers "+name, append([]string{
		"REDIS_URL=" + s.Redis.URL(), "DATABASE_URL=" + s.users.URL(),
		"SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", s.relay.Port()), "SMTP_TLS_MODE=none",
		"SMTP_HELLO_NAME=" + name + ".example", "WORKER_NAME=" + name + "@%h",
		"SITE_URL=https://evently.example", "HEALTH_ADDR=127.0.0.1:" + port,
		"MONITOR_ADDR=127.0.0.1:" + testkit.FreePort(s), "RETRY_DELAY=1",
	}, env...), s.binary, "run")
	s.workers = append(s.workers, proc)
	return proc
}

// healthy waits until a worker works.
func (s *stage) healthy(proc *testkit.Process) {
	s.Helper()
	testkit.Eventually(s, time.Minute, "the service is healthy", func() bool {
		if proc.Ended() {
			s.Fatalf("the service ended at its start\n%s", testkit.Last(proc.Out.String(), 2000))
		}
		ok, _ := health(proc)
		return ok
	})
}

// health returns the verdict and the text of the health page of a worker.
func health(proc *testkit.Process) (ok bool, text string) {
	address := ""
	for _, v := range proc.Cmd.Env {
		if a, ok := strings.CutPrefix(v, "HEALTH_ADDR="); ok {
			address = a
		}
	}
	client := &http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get("http://" + address + "/health")
	if err != nil {
		return false, err.Error()
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return false, err.Error()
	}
	return reply.StatusCode == http.StatusOK, string(body)
}

// ask publishes n tasks of mails, of all kinds in turn, or of the kinds with these numbers.
func (s *stage) ask(n int, numbers ...int) []letter {
	s.Helper()
	var asked []letter
	for range n {
		user := len(s.sent) + 1
		kind := kinds[user%len(kinds)]
		if len(numbers) > 0 {
			kind = kinds[numbers[user%len(numbers)]]
		}
		l := letter{address: fmt.Sprintf("m%d@example.com", user), urgent: kind.urgent}
		l.id = s.Send(1, harness.Task{Name: "email_workers.tasks." + kind.name, Args: kind.args(user, l.address)})[0]
		s.sent, asked = append(s.sent, l), append(asked, l)
	}
	return asked
}

// Verdicts about one mail.
const (
	expired   = "expired"
	delivered = "sent"                                            // says the result
	unsure    = "delivery unsure: no answer from the mail server" // says the result, and the message is a dead letter
)

// account is what became of all mails.
type account struct {
	mails, sent, unsure int
	arrived             int // of the unsure ones
	lost                int // have no result, or say that they were sent and were not
	other               int // have another result
	expired             int // of these, the ones that were too late
	strangers           int // mails to addresses that no task asked for
	again, againUrgent  int // second copies, of all and of codes and offers
	differ              int // second copies that a mail program does not recognise
}

func (a account) String() string {
	return fmt.Sprintf("%d mails: %d sent, %d unsure (%d of them arrived), %d lost, %d with another result, %d second copies (%d of codes and offers, %d with another Message-ID or Date)",
		a.mails, a.sent, a.unsure, a.arrived, a.lost, a.other, a.again, a.againUrgent, a.differ)
}

// account waits for all results and compares them with what lies in the relay.
func (s *stage) account(d time.Duration) account {
	s.Helper()
	s.Await(s.IDs, d)
	results, copies, dead := s.Redis.Results(s.IDs), s.relay.copies(), s.dead()
	a := account{mails: len(s.sent), strangers: len(copies)}
	for _, l := range s.sent {
		mails := copies[l.address]
		a.strangers -= min(1, len(mails))
		switch verdict := verdictOf(results[l.id]); {
		case verdict == "" || verdict == delivered && len(mails) == 0 || verdict == unsure && !dead[l.id]:
			a.lost++
			s.Logf("lost: task %s to %s, result %q, %d mails", l.id, l.address, verdict, len(mails))
		case verdict == delivered:
			a.sent++
		case verdict == unsure:
			a.unsure++
			a.arrived += min(1, len(mails))
		case verdict == expired && len(mails) == 0:
			a.expired++
			a.other++
		default:
			a.other++
			s.Logf("task %s: %s", l.id, verdict)
		}
		if len(mails) > 1 {
			a.again += len(mails) - 1
			if l.urgent {
				a.againUrgent += len(mails) - 1
			}
			if differ(mails) {
				a.differ++
			}
		}
	}
	return a
}

func (s *stage) dead() map[string]bool {
	ids := map[string]bool{}
	for raw := range s.DeadLetters() {
		if _, after, ok := strings.Cut(raw, `"id": "`); ok {
			id, _, _ := strings.Cut(after, `"`)
			ids[id] = true
		} else if _, after, ok := strings.Cut(raw, `"id":"`); ok {
			id, _, _ := strings.Cut(after, `"`)
			ids[id] = true
		}
	}
	return ids
}

// verdictOf returns what a result says; "" for none.
func verdictOf(r testkit.StoredResult) string {
	if !r.Final() {
		return ""
	}
	var result struct {
		Success bool   `json:"success"`
		Error   string `json:"error"`
	}
	if err := json.Unmarshal(r.Result, &result); err != nil || r.Status != "SUCCESS" {
		return r.Status + " " + string(r.Result)
	}
	if result.Success {
		return delivered
	}
	return result.Error
}

// logged counts the lines of all workers with these words, written or left out.
func (s *stage) logged(words string) (n int) {
	for _, w := range s.workers {
		for line := range strings.Lines(w.Out.String()) {
			if !strings.Contains(line, words) {
				continue
			}
			one := struct {
				LeftOut int `json:"left_out"`
			}{}
			_ = json.Unmarshal([]byte(line), &one) // a text of another kind has none
			n += max(1, one.LeftOut)
		}
	}
	return n
}
