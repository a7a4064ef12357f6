package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
	"github.com/evently/workers/tasks"
)

// holder records what a worker would hold.
type holder struct {
	mu    sync.Mutex
	names []string
}

func (h *holder) hold(names ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names = names
}

// await waits until the worker holds that many tasks.
func (h *holder) await(t *testing.T, what string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		names := slices.Clone(h.names)
		h.mu.Unlock()
		if len(names) == 2*n {
			return names
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d tasks held, want %d, each with two names", what, len(names), n)
		}
	}
}

// open opens a breaker.
func open(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	done, err := b.Enter()
	if err != nil {
		t.Fatal(err)
	}
	done(breaker.Outcome{Result: breaker.Refused, Reason: "a fault"})
}

func newBreaker(t *testing.T, name string, probe func(context.Context) breaker.Outcome) *breaker.Breaker {
	t.Helper()
	b, err := breaker.New(breaker.Config{Name: name, Probe: probe, SlowPause: 10 * time.Millisecond, MaxPause: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// While no relay takes mails, all mails but urgent ones stay in their queues; while there
// is no database, the ones to users.
func TestOutageHoldsTasks(t *testing.T) {
	var mu sync.Mutex
	down := map[string]bool{"a": true, "b": true, "database": true}
	server := func(name string) func(context.Context) breaker.Outcome {
		return func(context.Context) breaker.Outcome {
			mu.Lock()
			defer mu.Unlock()
			if down[name] {
				return breaker.Outcome{Result: breaker.Fault, Reason: "a fault"}
			}
			return breaker.Worked
		}
	}
	mend := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		down[name] = false
	}
	a, b, database := newBreaker(t, "a", server("a")), newBreaker(t, "b", server("b")), newBreaker(t, "database", server("database"))
	o := &outage{relays: []*breaker.Breaker{a, b}, database: database, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	h, done := new(holder), make(chan error)
	go func() { done <- o.Run(ctx, h.hold) }()

	open(t, a)
	time.Sleep(20 * time.Millisecond)
	h.await(t, "one relay works", 0)
	open(t, b)
	all := h.await(t, "no relay works", len(tasks.Mails())-2)
	for _, name := range []string{tasks.NameOTP, tasks.NameWaitlistNotification, tasks.NameHealthCheck} {
		if slices.Contains(all, name) || slices.Contains(all, tasks.Module+"."+name) {
			t.Errorf("%s is held", name)
		}
	}
	open(t, database)
	mend("b")
	users := h.await(t, "no database", len(tasks.Mails())-3)
	if slices.Contains(users, tasks.NameWelcome) || !slices.Contains(users, tasks.Module+"."+tasks.NameBookingConfirmation) {
		t.Errorf("held: %q", users)
	}
	mend("database")
	h.await(t, "all works", 0)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRelayOutcome(t *testing.T) {
	refused := func(code int, enhanced [3]int, text string) *mail.SendError {
		return &mail.SendError{Command: "RCPT", Code: code, EnhancedCode: enhanced, Text: text}
	}
	for name, test := range map[string]struct {
		failed *mail.SendError
		want   breaker.Result
	}{
		"accepted":                {nil, breaker.Success},
		"no such mailbox":         {refused(550, [3]int{5, 1, 1}, "no such user"), breaker.Success},
		"greylisted":              {refused(451, [3]int{4, 7, 1}, "greylisted, try again in 300 seconds"), breaker.Success},
		"cancelled":               {&mail.SendError{Command: "DIAL", Err: context.Canceled}, breaker.Unknown},
		"withheld":                {&mail.SendError{Command: "BODY", Err: mail.ErrWithheld}, breaker.Unknown},
		"not composed":            {&mail.SendError{Command: "COMPOSE", Err: errors.New("x")}, breaker.Unknown},
		"no connection":           {&mail.SendError{Command: "DIAL", Err: syscall.ECONNREFUSED}, breaker.Fault},
		"no answer":               {&mail.SendError{Command: ".", Err: context.DeadlineExceeded}, breaker.Fault},
		"busy":                    {&mail.SendError{Command: "GREETING", Code: 421, Text: "too many connections"}, breaker.Throttled},
		"a rate":                  {&mail.SendError{Command: "MAIL", Code: 454, EnhancedCode: [3]int{4, 7, 0}, Text: "Throttling failure: Maximum sending rate exceeded."}, breaker.Throttled},
		"wrong password":          {&mail.SendError{Command: "AUTH", Code: 535, EnhancedCode: [3]int{5, 7, 8}, Text: "authentication failed"}, breaker.Refused},
		"quota for the day":       {&mail.SendError{Command: "DATA", Code: 550, EnhancedCode: [3]int{5, 4, 5}, Text: "Daily user sending limit exceeded."}, breaker.Throttled},
		"five unknown recipients": {&mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 1, 1}, Text: "no such user", Recipients: 5}, breaker.Success},
		"five spam verdicts":      {&mail.SendError{Command: ".", Code: 554, EnhancedCode: [3]int{5, 7, 1}, Text: "Spam message rejected", Recipients: 5}, breaker.Success},
		"five equal refusals":     {&mail.SendError{Command: "RCPT", Code: 550, EnhancedCode: [3]int{5, 7, 1}, Text: "denied", Recipients: 5}, breaker.Refused},
	} {
		got := relayOutcome(test.failed)
		if got.Result != test.want || (got.Result >= breaker.Fault) != (got.Reason != "") || got.Unreached != (name == "no connection") {
			t.Errorf("%s: %+v, want %d", name, got, test.want)
		}
	}
}

// At the start a relay is unavailable if it takes no connection. Nothing is known of it until it was asked.
func TestFirstOfRelay(t *testing.T) {
	for name, test := range map[string]struct {
		failed error
		want   bool
	}{
		"works":        {nil, false},
		"away":         {&mail.SendError{Command: "DIAL", Err: syscall.ECONNREFUSED}, true},
		"greets later": {&mail.SendError{Command: "GREETING", Err: context.DeadlineExceeded}, false},
		"busy":         {&mail.SendError{Command: "GREETING", Code: 421}, false},
	} {
		first := firstOfRelay(func(context.Context) error { return test.failed })
		if o := first(t.Context()); o.Unreached != test.want {
			t.Errorf("%s: %+v", name, o)
		}
		b, err := breaker.New(breaker.Config{Name: "relay a:25", First: first, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		state := func() monitor.MailState {
			return mailState([]mail.RelayStatus{{Name: "a:25"}}, []*breaker.Breaker{b})
		}
		if m := state(); !m.Unasked || len(m.Faulty) != 0 {
			t.Errorf("%s, before: %+v", name, m)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		testkit.Eventually(t, time.Minute, "the relay is asked", func() bool { return !state().Unasked })
		if m := state(); test.want != (len(m.Faulty) == 1) {
			t.Errorf("%s, after: %+v", name, m)
		}
		cancel()
		<-done
	}
}

func TestDatabaseOutcome(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want breaker.Result
	}{
		"found":       {t.Context(), nil, breaker.Success},
		"no user":     {t.Context(), store.ErrNoUser, breaker.Success},
		"task ended":  {ended, errors.New("x"), breaker.Unknown},
		"down":        {t.Context(), &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, breaker.Fault},
		"slow":        {t.Context(), context.DeadlineExceeded, breaker.Fault},
		"starts":      {t.Context(), &store.AccessError{Code: "57P03"}, breaker.Fault},
		"full":        {t.Context(), &store.AccessError{Code: "53300"}, breaker.Fault},
		"login":       {t.Context(), &store.AccessError{Code: "28P01"}, breaker.Refused},
		"rights":      {t.Context(), &store.AccessError{Code: "42501"}, breaker.Refused},
		"rows hidden": {t.Context(), &store.AccessError{Words: "hidden"}, breaker.Refused},
	} {
		got := databaseOutcome(test.ctx, test.err)
		if got.Result != test.want || (got.Result >= breaker.Fault) != (got.Reason != "") || got.Unreached != (name == "down" || name == "starts") {
			t.Errorf("%s: %+v, want %d", name, got, test.want)
		}
	}
}

// A relay that comes back gets one mail, then two, then four at a time; the others wait and
// are all sent.
func TestMailsRampUp(t *testing.T) {
	var mu sync.Mutex
	down, atOnce, most := true, 0, []int{}
	server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		mu.Lock()
		defer mu.Unlock()
		if down {
			return smtptest.Action{Reply: "421 4.3.2 down"}
		}
		return smtptest.Action{}
	}})
	host, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	c := mail.Config{Host: host, Port: number, Security: mail.Plain, FromAddress: "noreply@example.com", MaxConns: 64, Logger: slog.New(slog.DiscardHandler)}
	sender, err := mail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b := newBreaker(t, "relay", probeRelay(sender.Ping))
	relays, err := mail.NewRelays(mail.Relay{Sender: sender, Breaker: relayBreaker{b}})
	if err != nil {
		t.Fatal(err)
	}
	g := &guardedMailer{relays: relays, breakers: []*breaker.Breaker{b}}
	send := func() error {
		_, err := g.Send(t.Context(), mail.Message{To: "ann@example.com", Subject: "s", Text: "t", TaskID: "1", BeforeFinal: func(context.Context) error {
			mu.Lock()
			atOnce++
			most = append(most, atOnce)
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			atOnce--
			mu.Unlock()
			return nil
		}})
		return err
	}
	for range 5 {
		if err := send(); err == nil || isOpen(err) {
			t.Fatal(err)
		}
	}
	if err := send(); !isOpen(err) {
		t.Fatalf("%v, want that of the breaker", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	mu.Lock()
	down = false
	mu.Unlock()
	for b.State().Phase != breaker.HalfOpen {
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if err := send(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(most) != 30 || most[0] != 1 || slices.Max(most[:3]) > 2 || slices.Max(most[:7]) > 4 || slices.Max(most[:15]) > 8 {
		t.Errorf("mails at a time: %v", most)
	}
	if b.State().Phase != breaker.Closed {
		t.Errorf("%+v", b.State())
	}
	cancel()
	<-done
}

// The breaker of a fleet tells servers apart, and no key has a user or an address in it.
func TestFleetShare(t *testing.T) {
	f := newFleet(nil)
	keys := map[string]bool{}
	for _, d := range []config.Database{{Host: "a", User: "u"}, {Host: "b", User: "u"}, {Host: "a", User: "v"}} {
		share := f.share("database", "database", d.Host, d.User).(*fleetShare)
		keys[share.key] = true
		if !strings.HasPrefix(share.key, "breaker.database.") {
			t.Errorf("key %s", share.key)
		}
	}
	if len(keys) != 3 {
		t.Errorf("keys: %v", keys)
	}
}

// With several brokers a breaker shares its verdict over each that takes it.
func TestFleetShareOverBrokers(t *testing.T) {
	dead, first, second := &board{err: errors.New("down")}, new(board), new(board)
	f := &fleet{owner: "me", live: func() []noticeBoard { return []noticeBoard{dead, first, second} }}
	share := f.share("relay a:25", "relay", "a:25")
	if err := share.Post(t.Context(), "", "open", time.Minute); err != nil || first.notice != "open" || second.notice != "open" {
		t.Errorf("%v, %q and %q; want the notice on both boards that take it", err, first.notice, second.notice)
	}
	second.notice = "of another process"
	first.notice = ""
	if notice, err := share.Posted(t.Context(), ""); err != nil || notice != second.notice {
		t.Errorf("%q, %v; want the notice of any board", notice, err)
	}
	f.live = func() []noticeBoard { return []noticeBoard{first, second} }
	for _, name := range []string{"relay a:25", "relay a:25.reach"} {
		if held, err := share.Lease(t.Context(), name, time.Minute); !held || err != nil {
			t.Error(held, err)
		}
	}
	if probe := share.(*fleetShare).key; !slices.Equal(first.leases, []string{probe, probe + ".reach"}) {
		t.Errorf("leases: %q", first.leases)
	}
	f.live = func() []noticeBoard { return []noticeBoard{dead} }
	if err := share.Post(t.Context(), "", "open", time.Minute); err == nil {
		t.Error("no error, but no board took the notice")
	}
	if _, err := share.Posted(t.Context(), ""); err == nil {
		t.Error("no error, but no board answers")
	}
}

// board is that of a broker.
type board struct {
	notice string
	leases []string
	err    error
}

func (b *board) Post(_ context.Context, _ string, notice []byte, _ time.Duration) error {
	if b.err == nil {
		b.notice = string(notice)
	}
	return b.err
}

func (b *board) Posted(context.Context, ...string) ([][]byte, error) {
	return [][]byte{[]byte(b.notice)}, b.err
}

func (b *board) Lease(_ context.Context, name, _ string, _ time.Duration) (bool, error) {
	b.leases = append(b.leases, name)
	return b.err == nil, b.err
}
