package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/mail/smtptest"
)

// holdingRelay is a mail server that holds mails up at stages of the dialogue.
type holdingRelay struct {
	*smtptest.Server
	release chan struct{} // closed when nothing is held up any more

	mu     sync.Mutex
	stages []string // of the next connections with mails, one each in turn; nil: none is held up
	conns  map[int]string
	turns  int // stages that were given
	held   int // connections that wait
}

func startHoldingRelay(t testing.TB, stages ...string) *holdingRelay {
	t.Helper()
	r := &holdingRelay{release: make(chan struct{}), stages: stages, conns: map[int]string{}}
	r.Server = smtptest.New(t, smtptest.Options{Script: r.script})
	t.Cleanup(r.letGo) // before the server stops
	return r
}

func (r *holdingRelay) script(s smtptest.Step) smtptest.Action {
	r.mu.Lock()
	stage, known := r.conns[s.Conn]
	// The question of a worker at its start has no EHLO.
	if !known && (s.Command == "EHLO" || slices.Contains(r.stages, "CONNECT")) {
		if len(r.stages) > 0 {
			stage = r.stages[r.turns%len(r.stages)]
			r.turns++
		}
		r.conns[s.Conn] = stage
	}
	hold := stage == s.Command
	if hold {
		r.held++
	}
	r.mu.Unlock()
	if hold {
		<-r.release
	}
	return smtptest.Action{}
}

func (r *holdingRelay) holds() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// others lets the connections that come from now on pass.
func (r *holdingRelay) others() { r.hold() }

// hold holds up the connections that come from now on, in turn at one of these stages.
func (r *holdingRelay) hold(stages ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stages = stages
}

// letGo ends all delays.
func (r *holdingRelay) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.release:
	default:
		close(r.release)
	}
}

func (r *holdingRelay) port() string { return fmt.Sprintf("SMTP_PORT=%d", r.Port()) }

// copies counts the mails of each Message-ID.
func (r *holdingRelay) copies() map[string]int {
	n := map[string]int{}
	for _, m := range r.Mails() {
		for line := range strings.Lines(string(m.Data)) {
			if id, ok := strings.CutPrefix(line, "Message-ID: "); ok {
				n[strings.TrimSpace(id)]++
			}
		}
	}
	return n
}

// welcome sends tasks of one mail each, by real Celery.
func (p *platform) welcome(t testing.TB, n int) []string {
	t.Helper()
	return flood(t, celeryNew, p.redis, queue, n, prefix+"send_welcome_email", []any{map[string]any{"email": "ann@example.com"}}, nil)
}

// sent fails unless each task has ended with a mail within d.
func (p *platform) sent(t testing.TB, ids []string, d time.Duration) {
	t.Helper()
	ended := func() (n int) {
		for _, r := range p.redis.results(ids) {
			if r.Final() {
				n++
			}
		}
		return n
	}
	eventually(t, d, "all tasks have ended", func() bool { return ended() == len(ids) })
	counts := map[string]int{}
	for id, r := range p.redis.results(ids) {
		var result struct{ Success bool }
		if _ = json.Unmarshal(r.Result, &result); r.Status != "SUCCESS" || !result.Success {
			counts[r.Status]++
			if counts[r.Status] == 1 {
				t.Errorf("task %s: %s %s", id, r.Status, r.Result)
			}
		}
	}
	if len(counts) > 0 {
		t.Errorf("of %d mails without success: %v", len(ids), counts)
	}
	p.redis.settled(queue)
}

// Mails that wait for a connection lose no time: there are more tasks than
// connections, and all of them together take longer than the time limits.
func TestMailsWaitForConnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mails, slots, conns int
		each                time.Duration
	}{
		"one connection":        {16, 16, 1, 300 * time.Millisecond},
		"a thousand, for two":   {1000, 1000, 2, 10 * time.Millisecond},
		"the default for tasks": {12, 0, 1, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPlatform(t)
			server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
				if s.Command == "." {
					time.Sleep(c.each) // a slow relay
				}
				return smtptest.Action{}
			}})
			env := []string{fmt.Sprintf("SMTP_PORT=%d", server.Port()), fmt.Sprintf("SMTP_MAX_CONNS=%d", c.conns),
				"TASK_SOFT_TIME_LIMIT=2", "TASK_TIME_LIMIT=4", "RETRY_DELAY=1"}
			if c.slots > 0 {
				env = append(env, fmt.Sprintf("CONCURRENCY=%d", c.slots))
			}
			service := p.startService(t, env...)
			ids := p.welcome(t, c.mails)
			most := 0
			eventually(t, 2*time.Minute, "all mails are sent", func() bool {
				most = max(most, p.redis.int("HLEN", "unacked"))
				return len(server.Mails()) >= c.mails
			})
			p.sent(t, ids, 30*time.Second)
			if most > c.conns {
				t.Errorf("%d mails were taken at once for %d connections", most, c.conns)
			}
			if n := p.redis.int("HLEN", "_goworker.1.dead"); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			if c.slots > 0 && !strings.Contains(service.out.String(), fmt.Sprintf("at most %d tasks run at once", c.conns)) {
				t.Error("the log does not tell of the bound")
			}
			t.Logf("%d mails, %d slots wanted, %d connections: all sent, at most %d taken at once", c.mails, c.slots, c.conns, most)
		})
	}
}

// freeze stops a worker for longer than OWNER_TIMEOUT while its mails are held up at
// the stages, continues it when another worker has its messages, and returns the number of
// second copies. The other worker leaves mails alone whose dots were out.
func freeze(t *testing.T, mails int, stages ...string) (copies int) {
	t.Helper()
	p := startPlatform(t)
	r := startHoldingRelay(t)
	env := []string{r.port(), fmt.Sprintf("CONCURRENCY=%d", mails), "OWNER_TIMEOUT=2", "SMTP_REPLY_TIMEOUT=18"}
	frozen := p.startService(t, env...)
	eventually(t, 30*time.Second, "the worker has asked the relay at its start", func() bool { return slices.Contains(r.Commands(), "QUIT") })
	r.hold(stages...)
	ids := p.welcome(t, mails)
	eventually(t, 30*time.Second, "all mails are on their way", func() bool { return r.holds() == mails })
	frozen.signal(syscall.SIGSTOP)
	defer frozen.signal(syscall.SIGCONT)
	r.others()
	other := p.startService(t, append(env, "WORKER_NAME=other@%h")...)
	out := 0
	if slices.Contains(stages, ".") {
		out = mails / len(stages)
	}
	eventually(t, time.Minute, "the other worker has sent the rest", func() bool {
		return len(r.Mails()) == mails-out && strings.Count(other.out.String(), "mail deferred, no retry spent") >= out
	})
	r.letGo() // the answers wait for the worker when it goes on
	frozen.signal(syscall.SIGCONT)
	eventually(t, 30*time.Second, "the worker has noticed all its losses", func() bool {
		return strings.Count(frozen.out.String(), "message lost") >= mails
	})
	p.sent(t, ids, time.Minute)
	frozen.signal(syscall.SIGTERM)
	if code := frozen.wait(30 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := p.redis.int("HLEN", "_goworker.1.dead"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if n := len(r.copies()); n != mails {
		t.Errorf("%d different mails, want %d", n, mails)
	}
	for _, n := range r.copies() {
		copies += n - 1
	}
	return copies
}

// A worker that is frozen before the final dots of its mails sends no mail that
// another worker has sent meanwhile.
func TestFrozenBeforeTheDot(t *testing.T) {
	t.Parallel()
	const mails = 9
	n := freeze(t, mails, "CONNECT", "MAIL", "DATA")
	t.Logf("frozen before the dot: %d mails, %d second copies", mails, n)
	if n != 0 {
		t.Errorf("%d of %d mails went out twice", n, mails)
	}
}

// A worker that is frozen between the final dot and the answer stores the outcome when it
// goes on, although another worker has its messages by then. That one sends no second copies.
func TestFrozenAfterTheDot(t *testing.T) {
	t.Parallel()
	const mails = 8
	n := freeze(t, mails, "DATA", ".")
	t.Logf("frozen, half of them after the dot: %d mails, %d second copies", mails, n)
	if n != 0 {
		t.Errorf("%d of %d mails went out twice", n, mails)
	}
}

// A worker is killed, or gets no answer, while the relay has its mails: before their final
// dots, or after them. A mail that was not finished is sent, once. One that may have been
// delivered follows the policy of its kind, and none is sent a third time.
func TestKilledDuringAMail(t *testing.T) {
	const mails = 6
	const unsure = `"error": "delivery unsure: no answer from the mail server"`
	const sent = `"success": true`
	code := []any{map[string]any{"email": "ann@example.com", "otp": "042917"}}
	welcome := []any{map[string]any{"email": "ann@example.com"}}
	for name, c := range map[string]struct {
		stage, task, policy string
		args                []any
		lives               bool   // the worker: the relay answers too late
		copies              int    // of each mail, all in all
		result              string // part of it
	}{
		"killed before the dot":         {stage: "DATA", task: "send_welcome_email", policy: "hold", args: welcome, copies: 1, result: sent},
		"killed before the dot, a code": {stage: "DATA", task: "send_otp_verification_email", policy: "hold", args: code, copies: 1, result: sent},
		"killed after the dot":          {stage: ".", task: "send_welcome_email", policy: "hold", args: welcome, copies: 1, result: unsure},
		"killed after the dot, resent":  {stage: ".", task: "send_welcome_email", policy: "resend", args: welcome, copies: 2, result: sent},
		"killed after the dot, a code":  {stage: ".", task: "send_otp_verification_email", policy: "hold", args: code, copies: 2, result: sent},
		"no answer":                     {stage: ".", task: "send_welcome_email", policy: "hold", args: welcome, lives: true, copies: 1, result: unsure},
		"no answer, a code":             {stage: ".", task: "send_otp_verification_email", policy: "hold", args: code, lives: true, copies: 2, result: sent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPlatform(t)
			r := startHoldingRelay(t, c.stage)
			env := []string{r.port(), fmt.Sprintf("CONCURRENCY=%d", mails), "OWNER_TIMEOUT=2", "SMTP_REPLY_TIMEOUT=8", "UNKNOWN_POLICY=" + c.policy}
			first := p.startService(t, env...)
			ids := flood(t, celeryNew, p.redis, queue, mails, prefix+c.task, c.args, nil)
			eventually(t, 30*time.Second, "all mails are on their way", func() bool { return r.holds() == mails })
			r.others()
			if c.lives {
				eventually(t, 30*time.Second, "no mail was answered in time", func() bool {
					return strings.Count(first.out.String(), `"msg":"mail not sent"`) >= mails
				})
			} else {
				first.kill()
				p.startService(t, append(env, "WORKER_NAME=other@%h")...)
			}
			r.letGo()
			awaitResults(p.redis, ids, 2*time.Minute)
			for id, got := range p.redis.results(ids) {
				if got.Status != "SUCCESS" || !strings.Contains(string(got.Result), c.result) {
					t.Errorf("task %s: %s %s, want %s", id, got.Status, got.Result, c.result)
				}
			}
			p.redis.settled(queue)
			// The relay takes a mail that it has held up, also when its worker waits no longer.
			eventually(t, 30*time.Second, "the relay has taken all copies", func() bool { return len(r.Mails()) >= mails*c.copies })
			copies := r.copies()
			for id, n := range copies {
				if n != c.copies {
					t.Errorf("mail %s: %d copies, want %d", id, n, c.copies)
				}
			}
			if len(copies) != mails {
				t.Errorf("%d different mails, want %d", len(copies), mails)
			}
			dead := 0
			if c.result == unsure {
				dead = mails
			}
			if n := p.redis.int("HLEN", "_goworker.1.dead"); n != dead {
				t.Errorf("%d dead letters, want %d", n, dead)
			}
			if keys := p.redis.strings("KEYS", "_goworker.1.mark.*"); len(keys) != 0 {
				t.Errorf("marks are left over: %q", keys)
			}
		})
	}
}

// Two workers die within one code: the first after the end of the mail, the second before its
// mark, or in the round trip that sets it. All copies have the Message-ID and the Date of the
// first, and there is no third one.
func TestKilledTwiceDuringAMail(t *testing.T) {
	for name, c := range map[string]struct {
		marked bool
		copies int
		result string
	}{
		"before its mark":       {copies: 2, result: `"success": true`},
		"while it is being set": {marked: true, copies: 1, result: `"error": "delivery unsure: no answer from the mail server"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPlatform(t)
			r := startHoldingRelay(t, ".", "DATA")
			between, err := proxy.New(p.redis.addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(between.Close)
			worker := func(name string, more ...string) *process {
				return p.startService(t, append([]string{r.port(), "CONCURRENCY=1", "OWNER_TIMEOUT=2", "WORKER_NAME=" + name + "@%h"}, more...)...)
			}
			first := worker("first")
			code := []any{map[string]any{"email": "ann@example.com", "otp": "042917"}}
			ids := flood(t, celeryNew, p.redis, queue, 1, prefix+"send_otp_verification_email", code, nil)
			eventually(t, 30*time.Second, "the end of the mail is sent", func() bool { return r.holds() == 1 })
			first.kill()
			if c.marked {
				r.others()
				between.StickAt("mark.", "sending")
			}
			second := worker("second", "REDIS_URL=redis://"+between.Addr()+"/0")
			eventually(t, time.Minute, "the second worker has the mail", func() bool {
				return c.marked && between.Sticks() || !c.marked && r.holds() == 2
			})
			second.kill()
			r.others()
			worker("third")
			r.letGo()
			awaitResults(p.redis, ids, time.Minute)
			if got := p.redis.results(ids)[ids[0]]; got.Status != "SUCCESS" || !strings.Contains(string(got.Result), c.result) {
				t.Errorf("%s %s, want %s", got.Status, got.Result, c.result)
			}
			eventually(t, 30*time.Second, "the relay has taken all copies", func() bool { return len(r.Mails()) >= c.copies })
			dates := map[string]int{}
			for _, m := range r.Mails() {
				for line := range strings.Lines(string(m.Data)) {
					if strings.HasPrefix(line, "Date: ") {
						dates[line]++
					}
				}
			}
			if n := len(r.Mails()); n != c.copies || len(r.copies()) != 1 || len(dates) != 1 {
				t.Errorf("%d copies, Message-IDs %v, dates %v, want %d copies with one of each", n, r.copies(), dates, c.copies)
			}
			if keys := p.redis.strings("KEYS", "_goworker.1.mark.*"); len(keys) != 0 {
				t.Errorf("marks are left over: %q", keys)
			}
		})
	}
}

// Redis is cut off while the final dot waits for its word: a short cut costs the mail
// nothing, and a long one no attempt.
func TestRedisIsCutBeforeTheDot(t *testing.T) {
	for name, outage := range map[string]time.Duration{"short": 2 * time.Second, "long": 11 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startPlatform(t)
			between, err := proxy.New(p.redis.addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(between.Close)
			r := startHoldingRelay(t, "DATA")
			service := p.startService(t, r.port(), "REDIS_URL=redis://"+between.Addr()+"/0", "CONCURRENCY=4")
			ids := p.welcome(t, 4)
			eventually(t, 30*time.Second, "all mails are on their way", func() bool { return r.holds() == 4 })
			r.others()
			if err := between.Set(proxy.Refuse); err != nil {
				t.Fatal(err)
			}
			r.letGo()
			pause(t, outage) // the outage itself
			if n := len(r.Mails()); n != 0 {
				t.Errorf("%d mails were finished without a word of Redis", n)
			}
			if err := between.Set(proxy.Pass); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			p.sent(t, ids, time.Minute)
			t.Logf("Redis cut for %s: sent %s after it is back", outage, time.Since(begin).Round(time.Millisecond))
			if n := len(r.Mails()); n != 4 {
				t.Errorf("%d mails", n)
			}
			if waited := strings.Contains(service.out.String(), "broker could not be asked"); waited && name == "short" {
				t.Error("a short cut ended the attempt")
			}
		})
	}
}
