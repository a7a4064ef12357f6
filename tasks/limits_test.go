package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/workertest"
)

// post runs tasks one after the other, as a worker with one slot does, and the retries that
// they ask for when those are due.
type post struct {
	t    *testing.T
	b    bench
	due  []*worker.Task
	sent []sentMail
	ends map[string]string // what became of each task that sent no mail
	runs int
}

type sentMail struct {
	id, to string
	at     time.Duration // since the start
}

func newPost(t *testing.T, change func(*tasks.Config)) *post {
	p := &post{t: t, ends: map[string]string{}}
	p.b = newBench(t, func(c *tasks.Config) {
		c.Now = time.Now
		c.Limits.Admitter = workertest.NewBroker()
		change(c)
	})
	return p
}

func (p *post) add(id, name, args string) {
	one := task(name, args, `{}`)
	one.ID, one.ETA = id, time.Time{}
	p.due = append(p.due, one)
}

// run runs all tasks until none is left.
func (p *post) run() {
	start := time.Now()
	for len(p.due) > 0 {
		next := 0
		for i, one := range p.due {
			if one.ETA.Before(p.due[next].ETA) {
				next = i
			}
		}
		one := p.due[next]
		p.due = slices.Delete(p.due, next, next+1)
		time.Sleep(time.Until(one.ETA))
		before := len(p.b.out.sent)
		p.runs++
		result, err := p.b.run(p.t.Context(), one)
		if len(p.b.out.sent) > before {
			p.sent = append(p.sent, sentMail{one.ID, p.b.out.sent[before].To, time.Since(start)})
			continue
		}
		r, ok := errors.AsType[*worker.RetryError](err)
		if !ok {
			p.ends[one.ID] = verdict(result, err)
			if r, ok := result.(tasks.Result); ok {
				p.ends[one.ID] = r.Error
			}
			continue
		}
		if !r.Free {
			p.t.Errorf("%s: %v has cost an attempt", one.ID, r.Err)
		}
		for _, h := range r.Headers {
			one.Message.SetHeader(h.Name, h.Value)
		}
		one.ETA = time.Now().Add(r.Countdown)
		p.due = append(p.due, one)
	}
}

// most returns the largest number of mails in any time of that length.
func (p *post) most(in time.Duration, which func(sentMail) bool) (most int) {
	for i, first := range p.sent {
		n := 0
		for _, m := range p.sent[i:] {
			if m.at < first.at+in && which(m) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func all(sentMail) bool { return true }

func welcomeTo(address string) string { return fmt.Sprintf(`[{"email": %q}]`, address) }

func codeFor(address string) string { return fmt.Sprintf(`[{"email": %q, "otp": "042917"}]`, address) }

// The rate holds for all mails together. Codes that are queued behind ordinary mails overtake
// them, and no mail spends an attempt.
func TestRateOfAllMails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost(t, func(c *tasks.Config) { c.Limits.All = tasks.Rate{Mails: 10, Per: time.Second} })
		for i := range 300 {
			p.add(fmt.Sprint("welcome-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("w%d@example.com", i)))
		}
		for i := range 20 {
			p.add(fmt.Sprint("otp-", i), tasks.NameOTP, codeFor(fmt.Sprintf("o%d@example.com", i)))
		}
		p.run()
		isCode := func(m sentMail) bool { return strings.HasPrefix(m.id, "otp") }
		var lastCode, last time.Duration
		for _, m := range p.sent {
			if last = m.at; isCode(m) {
				lastCode = m.at
			}
		}
		if len(p.sent) != 320 || len(p.ends) != 0 {
			t.Errorf("%d mails, and %v", len(p.sent), p.ends)
		}
		if n := p.most(time.Second, all); n > 10 {
			t.Errorf("%d mails within a second", n)
		}
		if lastCode > 6*time.Second {
			t.Errorf("the last code came after %v", lastCode)
		}
		if last < 30*time.Second || last > 45*time.Second {
			t.Errorf("the last mail came after %v", last)
		}
		if p.runs > 3*320 {
			t.Errorf("%d runs of 320 tasks", p.runs)
		}
	})
}

// Each domain has its own rate, in upper or lower case. One that is busy does
// not keep the others waiting.
func TestRateOfADomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost(t, func(c *tasks.Config) {
			c.Limits.Domain = map[string]tasks.Rate{"": {Mails: 100, Per: time.Second}, "slow.example": {Mails: 10, Per: time.Minute}}
		})
		for i := range 30 {
			p.add(fmt.Sprint("slow-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("w%d@%s", i, []string{"slow.example", "SLOW.Example"}[i%2])))
		}
		for i := range 50 {
			p.add(fmt.Sprint("fast-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("w%d@fast.example", i)))
		}
		p.run()
		slow := func(m sentMail) bool { return strings.HasPrefix(m.id, "slow") }
		if n := p.most(time.Minute, slow); len(p.sent) != 80 || n > 10 {
			t.Errorf("%d mails, %d to the slow domain within a minute", len(p.sent), n)
		}
		for _, m := range p.sent {
			if !slow(m) && m.at > 5*time.Second {
				t.Errorf("%s came after %v", m.id, m.at)
			}
		}
	})
}

// An address gets so many codes and no more. A code that would come too late is answered at
// once, and other kinds and addresses are not concerned.
func TestRateOfARecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost(t, func(c *tasks.Config) {
			c.Limits.Recipient = map[string]tasks.Rate{"otp": {Mails: 3, Per: 10 * time.Minute}, "welcome": {Mails: 1, Per: time.Hour}}
		})
		for i := range 20 {
			p.add(fmt.Sprint("bomb-", i), tasks.NameOTP, codeFor([]string{"ann@example.com", "Ann@Example.com"}[i%2]))
		}
		p.add("other", tasks.NameOTP, codeFor("bob@example.com"))
		p.add("welcome", tasks.NameWelcome, welcomeTo("ann@example.com"))
		p.add("welcome-2", tasks.NameWelcome, welcomeTo("ann@example.com"))
		p.add("offer", tasks.NameWaitlistNotification, `[42, {}]`)
		p.run()
		bombs := func(m sentMail) bool { return strings.HasPrefix(m.id, "bomb") }
		if first, n := p.most(3*time.Minute, bombs), p.most(10*time.Minute, bombs); first != 3 || n != 5 {
			t.Errorf("%d codes at once, %d within ten minutes", first, n)
		}
		refused := 0
		for id, text := range p.ends {
			if text != "throttled: recipient" {
				t.Errorf("%s: %s", id, text)
			}
			refused++
		}
		if refused != 14 {
			t.Errorf("%d codes were refused", refused)
		}
		at := map[string]time.Duration{}
		for _, m := range p.sent {
			at[m.id] = m.at
		}
		if len(at) != 10 || at["other"] > time.Second || at["welcome"] > time.Second || at["offer"] > time.Second || at["welcome-2"] < 59*time.Minute {
			t.Errorf("sent: %v", at)
		}
		if log := p.b.logs.String(); hasAny(log, "042917", "ann@example.com", "Ann@Example.com") || !strings.Contains(log, "throttled: recipient") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// A retry after a refusal does not count as another code to the address.
func TestRetryIsNoSecondMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *tasks.Config) {
			c.Now = time.Now
			c.Limits = tasks.Limits{Admitter: workertest.NewBroker(), Recipient: map[string]tasks.Rate{"": {Mails: 1, Per: time.Hour}}}
		})
		b.out.err = &mail.SendError{Command: "RCPT", Code: 451, Greylisted: true}
		one := oneOfEach()["otp"]
		for attempt := range 3 {
			_, err := b.run(t.Context(), one)
			r, ok := errors.AsType[*worker.RetryError](err)
			if !ok || r.Free {
				t.Fatalf("attempt %d: %v", attempt, err)
			}
			for _, h := range r.Headers {
				one.Message.SetHeader(h.Name, h.Value)
			}
			time.Sleep(r.Countdown)
			one.Retries, one.ETA = attempt+1, time.Now()
		}
	})
}

// unwell is an Admitter that does not answer.
type unwell struct{ asked int }

func (u *unwell) Admit(context.Context, []broker.Limit) (broker.Admission, error) {
	u.asked++
	return broker.Admission{}, errors.New("connection refused")
}

func (*unwell) Slow(context.Context, broker.Slowing) (float64, bool, error) {
	return 0, false, errors.New("connection refused")
}

// counter counts the questions to an Admitter.
type counter struct {
	broker.Admitter
	asked int
}

func (c *counter) Admit(ctx context.Context, limits []broker.Limit) (broker.Admission, error) {
	c.asked++
	return c.Admitter.Admit(ctx, limits)
}

// Without a limit the broker is not asked, with several it is asked once, and mails go out
// if it does not answer.
func TestLimitsCostOneQuestion(t *testing.T) {
	count := &counter{Admitter: workertest.NewBroker()}
	every := tasks.Limits{
		Admitter: count, All: tasks.Rate{Mails: 100, Per: time.Second},
		Domain: map[string]tasks.Rate{"": {Mails: 100, Per: time.Second}}, Recipient: map[string]tasks.Rate{"": {Mails: 5, Per: time.Minute}},
	}
	down := &unwell{}
	downLimits := every
	downLimits.Admitter = down
	for name, c := range map[string]struct {
		limits tasks.Limits
		asked  *int
		want   int
	}{
		"no limit": {tasks.Limits{Admitter: count}, &count.asked, 0},
		"all":      {every, &count.asked, 1},
		"down":     {downLimits, &down.asked, 1},
	} {
		for kind := range oneOfEach() {
			*c.asked = 0
			b := newBench(t, func(cfg *tasks.Config) { cfg.Limits = c.limits })
			if _, err := b.run(t.Context(), oneOfEach()[kind]); err != nil || len(b.out.sent) != 1 || *c.asked != c.want {
				t.Errorf("%s, %s: %d mails, %d questions, %v", name, kind, len(b.out.sent), *c.asked, err)
			}
		}
	}
}

// A code that is not sent takes no share of a rate: after an outage a thousand of them must not
// keep fresh ones waiting.
func TestStaleCodesTakeNoShare(t *testing.T) {
	count := &counter{Admitter: workertest.NewBroker()}
	b := newBench(t, func(cfg *tasks.Config) {
		cfg.Codes = codeBook{}
		cfg.Limits = tasks.Limits{Admitter: count, All: tasks.Rate{Mails: 1, Per: time.Minute}}
	})
	if _, err := b.run(t.Context(), oneOfEach()["otp"]); err != nil || len(b.out.sent) != 0 || count.asked != 0 {
		t.Errorf("%d mails, %d questions, %v", len(b.out.sent), count.asked, err)
	}
}

// A server that defers mails to a domain slows down that domain for all workers.
func TestDomainSlowsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := workertest.NewBroker()
		rate := func(c *tasks.Config) {
			c.Now = time.Now
			c.Limits = tasks.Limits{Admitter: shared, Domain: map[string]tasks.Rate{"example.com": {Mails: 1, Per: time.Second}}}
		}
		b := newBench(t, rate)
		b.out.err = &mail.SendError{Command: "RCPT", Code: 421, EnhancedCode: [3]int{4, 7, 28}}
		if _, err := b.run(t.Context(), oneOfEach()["welcome"]); err == nil || !strings.Contains(b.logs.String(), "rate of a domain halved") {
			t.Errorf("%v, log:\n%s", err, b.logs)
		}
		got, err := shared.Admit(t.Context(), []broker.Limit{{Name: "mail.domain.example.com", Every: time.Second, Reserve: time.Minute}})
		if err != nil || got.Wait < time.Second {
			t.Errorf("the next mail waits %v, %v", got.Wait, err)
		}
		b = newBench(t, rate)
		b.out.err = &mail.SendError{Command: "AUTH", Code: 454, EnhancedCode: [3]int{4, 7, 0}}
		if _, err := b.run(t.Context(), oneOfEach()["otp"]); err == nil || strings.Contains(b.logs.String(), "halved") {
			t.Errorf("%v, log:\n%s", err, b.logs)
		}
	})
}

// strictServer is a mailer whose server takes so many mails a second to each domain, and defers
// the others. Each mail takes a moment.
type strictServer struct {
	rate, burst float64
	tokens      map[string]float64
	at          time.Time
	deferred    int
	sent        map[string]time.Time // last mail of a domain
}

func (s *strictServer) Send(_ context.Context, m mail.Message) (mail.Receipt, error) {
	time.Sleep(20 * time.Millisecond)
	_, d, _ := strings.Cut(m.To, "@")
	now := time.Now()
	if s.tokens == nil {
		s.tokens, s.sent, s.at = map[string]float64{}, map[string]time.Time{}, now
	}
	for domain := range s.tokens {
		s.tokens[domain] = min(s.burst, s.tokens[domain]+now.Sub(s.at).Seconds()*s.rate)
	}
	s.at = now
	if _, known := s.tokens[d]; !known {
		s.tokens[d] = s.burst
	}
	if s.tokens[d] < 1 {
		s.deferred++
		return mail.Receipt{}, &mail.SendError{Command: "RCPT", Code: 421, EnhancedCode: [3]int{4, 7, 28}}
	}
	s.tokens[d]--
	s.sent[d] = now
	return mail.Receipt{}, nil
}

// A domain for which no rate is set gets one when its server defers mails: most mails are then
// sent at the first attempt, other domains are not slowed down, and codes are not kept.
func TestServerThatDefersTeachesARate(t *testing.T) {
	figures := map[bool]string{}
	deferred := map[bool]int{}
	for _, learns := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			server := &strictServer{rate: 10, burst: 20}
			p := newPost(t, func(c *tasks.Config) {
				c.Mailer = server
				c.Limits = tasks.Limits{}
				if learns {
					shared := workertest.NewBroker()
					c.Limits.Admitter, c.Limits.Board = shared, shared
				}
			})
			begin := time.Now()
			for i := range 1000 {
				p.add(fmt.Sprint("welcome-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("w%d@strict.example", i)))
			}
			for i := range 20 {
				p.add(fmt.Sprint("other-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("o%d@other.example", i)))
			}
			for i := range 20 {
				p.add(fmt.Sprint("otp-", i), tasks.NameOTP, codeFor(fmt.Sprintf("c%d@strict.example", i)))
			}
			p.run()
			for id, end := range p.ends {
				if end != "" {
					t.Errorf("%s: %s", id, end)
				}
			}
			deferred[learns] = server.deferred
			whole := server.sent["strict.example"].Sub(begin)
			figures[learns] = fmt.Sprintf("%d deferrals, %v for all", server.deferred, whole.Round(time.Second))
			if learns && whole > 4*time.Minute {
				t.Errorf("the mails took %v, at the rate of the server 102 s", whole)
			}
		})
	}
	t.Logf("1,020 mails to a domain that takes 10 a second: %s; without learning: %s", figures[true], figures[false])
	if deferred[true]*5 > deferred[false] {
		t.Errorf("%d deferrals, without learning %d", deferred[true], deferred[false])
	}
}

// A few mails are not too many. Their deferral slows down no domain.
func TestFewMailsTeachNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		count := &counter{Admitter: workertest.NewBroker()}
		server := &strictServer{rate: 0.01, burst: 5}
		p := newPost(t, func(c *tasks.Config) {
			c.Mailer = server
			c.Limits = tasks.Limits{Admitter: count}
		})
		for i := range 8 {
			p.add(fmt.Sprint("welcome-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("w%d@strict.example", i)))
		}
		p.run()
		if count.asked > 0 || server.deferred == 0 {
			t.Errorf("%d questions after %d deferrals", count.asked, server.deferred)
		}
	})
}

// All workers hear of a slowed domain within a second. Without one they ask nothing.
func TestSlowedDomainIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := workertest.NewBroker()
		count := &counter{Admitter: shared}
		other := newBench(t, func(c *tasks.Config) {
			c.Now, c.Limits = time.Now, tasks.Limits{Admitter: count, Board: shared}
		})
		if _, err := other.run(t.Context(), oneOfEach()["welcome"]); err != nil || count.asked > 0 {
			t.Errorf("%d questions, %v", count.asked, err)
		}
		server := &strictServer{rate: 1, burst: 30}
		p := newPost(t, func(c *tasks.Config) {
			c.Mailer, c.Limits = server, tasks.Limits{Admitter: shared, Board: shared}
		})
		for i := range 40 {
			p.add(fmt.Sprint("welcome-", i), tasks.NameWelcome, welcomeTo(fmt.Sprintf("w%d@example.com", i)))
		}
		p.run()
		if server.deferred == 0 {
			t.Fatal("nothing was deferred: this test would prove nothing")
		}
		time.Sleep(time.Second)
		if _, err := other.run(t.Context(), oneOfEach()["welcome"]); err != nil || count.asked == 0 {
			t.Errorf("the other worker asks %d times, %v", count.asked, err)
		}
		time.Sleep(time.Hour)
		count.asked = 0
		if _, err := other.run(t.Context(), oneOfEach()["welcome"]); err != nil || count.asked > 0 {
			t.Errorf("an hour later: %d questions, %v", count.asked, err)
		}
	})
}

func TestLimitsAreChecked(t *testing.T) {
	_, err := tasks.New(tasks.Config{Limits: tasks.Limits{
		All: tasks.Rate{Mails: 1e6, Per: time.Second}, Domain: map[string]tasks.Rate{"zero.example": {}},
		Recipient: map[string]tasks.Rate{"opt": {Mails: 1, Per: time.Second}},
	}})
	for _, word := range []string{"Admitter", "Limits.All", "zero.example", `"opt"`, "otp, welcome, booking_confirmation"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %s: %v", word, err)
		}
	}
}
