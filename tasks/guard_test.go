package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// mailerFunc is a mailer of one function.
type mailerFunc func(ctx context.Context, m mail.Message) (mail.Receipt, error)

func (f mailerFunc) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	return f(ctx, m)
}

// limited gives every task of a table its time limits.
func limited(table map[string]worker.Definition, soft, hard time.Duration) map[string]worker.Definition {
	for name, d := range table {
		d.SoftTimeLimit, d.TimeLimit = soft, hard
		table[name] = d
	}
	return table
}

// cutBroker does not answer the first questions whether the worker holds a message. The
// first answer is lost after the mark was set.
type cutBroker struct {
	*workertest.Broker
	faults atomic.Int32 // that are left
}

func (b *cutBroker) Mark(ctx context.Context, m broker.Marking) (string, error) {
	switch n := b.faults.Add(-1); {
	case n == 2:
		_, _ = b.Broker.Mark(ctx, m)
		fallthrough
	case n >= 0:
		return "", errors.New("connection reset")
	}
	return b.Broker.Mark(ctx, m)
}

// A connection to Redis that is lost at the wrong moment costs a mail neither an attempt
// nor a minute.
func TestFenceIsAskedAgain(t *testing.T) {
	b, cut := newBench(t, nil), &cutBroker{Broker: workertest.NewBroker()}
	cut.faults.Store(3)
	raw, err := protocol.Encode(&protocol.Message{ID: "cut", Task: tasks.NameBookingConfirmation, Args: protocol.Raw(`[42, {}]`),
		Kwargs: protocol.Raw(`{}`), DeliveryTag: "cut", RoutingKey: "mails"})
	if err != nil {
		t.Fatal(err)
	}
	logs := &logBuffer{}
	w, err := worker.New(worker.Config{Broker: cut, Tasks: b.Definitions(), Queues: []string{"mails"}, Logger: logs.logger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cut.Push("mails", 0, raw)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for deadline := time.After(patience); ; {
		changed := cut.Changed()
		if r := cut.Result("cut"); r != nil {
			if r.Status != protocol.StateSuccess {
				t.Errorf("%s: %v", r.Status, r.Exception)
			}
			break
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the task did not end:\n%s", logs)
		}
	}
	if n := cut.faults.Load(); len(b.out.sent) != 1 || n >= 0 {
		t.Errorf("%d mails, %d faults left", len(b.out.sent), n)
	}
}

// A mail that a time limit ends before its final dot is retried, whether the delivery
// returns or not. After the last attempt the producer has an answer and the message is a
// dead letter.
func TestLimitsLoseNoMail(t *testing.T) {
	heeds := func(ctx context.Context, _ mail.Message) error {
		<-ctx.Done()
		return &mail.SendError{Command: "RCPT", Err: context.Cause(ctx)}
	}
	release := make(chan struct{})
	defer close(release)
	stuck := func(context.Context, mail.Message) error { <-release; return errors.New("too late") }
	panics := func(context.Context, mail.Message) error { panic("code 482913 is in here") }
	const short, long = 30 * time.Millisecond, time.Minute
	for name, c := range map[string]struct {
		send       func(context.Context, mail.Message) error
		soft, hard time.Duration
		text       string
	}{
		"soft, heeded":      {heeds, short, long, "mail server did not take the mail: no answer at RCPT"},
		"hard alone":        {heeds, 0, short, "time limit exceeded"},
		"soft, not heeded":  {stuck, short, 2 * short, "time limit exceeded"},
		"hard, not heeded":  {stuck, 0, short, "time limit exceeded"},
		"a panic, no limit": {panics, 0, 0, "internal error"},
	} {
		for kind := range oneOfEach() {
			t.Run(name+"/"+kind, func(t *testing.T) {
				one := oneOfEach()[kind]
				b := newBench(t, func(c2 *tasks.Config) {
					c2.Mailer = mailerFunc(func(ctx context.Context, m mail.Message) (mail.Receipt, error) { return mail.Receipt{}, c.send(ctx, m) })
				})
				var args []any
				if err := protocol.Unmarshal(one.Message.Args, &args); err != nil {
					t.Fatal(err)
				}
				o := workertest.Run(t, limited(b.Definitions(), c.soft, c.hard), workertest.Call{Task: one.Name, Args: args})
				if o.State != protocol.StateRetry || o.Retry == nil || o.Retry.Retries != 1 || fmt.Sprint(o.Exception.Args) != "["+c.text+"]" {
					t.Errorf("first attempt: %+v, exception %v", o, o.Exception)
				}
				o = workertest.Run(t, limited(b.Definitions(), c.soft, c.hard), workertest.Call{Task: one.Name, Args: args, Retries: 3})
				if o.State != protocol.StateSuccess || !strings.Contains(string(o.Result), `"success": false, "error": "`+c.text) || o.DeadLetter != c.text {
					t.Errorf("last attempt: %s %s, dead letter %q", o.State, o.Result, o.DeadLetter)
				}
				if strings.Contains(b.logs.String(), "482913") {
					t.Error("the value of the panic is in the log")
				}
			})
		}
	}
}

// A delivery that hangs and continues after the hard limit must not finish the mail: its
// retry does. A mail that hangs after its final dot may have been delivered.
func TestHardLimitAndTheDot(t *testing.T) {
	for name, c := range map[string]struct {
		finished bool // the final dot was out
		task     string
		state    string
		letter   string
	}{
		"before the dot":         {false, tasks.NameBookingConfirmation, protocol.StateRetry, ""},
		"after the dot":          {true, tasks.NameBookingConfirmation, protocol.StateSuccess, "delivery unsure: no answer from the mail server"},
		"after the dot, a code":  {true, tasks.NameOTP, protocol.StateRetry, ""},
		"before the dot, a code": {false, tasks.NameOTP, protocol.StateRetry, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a busy machine is no time limit
				release, late := make(chan struct{}), make(chan error, 1)
				b := newBench(t, func(cfg *tasks.Config) {
					cfg.Mailer = mailerFunc(func(ctx context.Context, m mail.Message) (mail.Receipt, error) {
						if c.finished {
							late <- m.BeforeFinal(ctx)
							<-release
							return mail.Receipt{}, nil
						}
						<-release
						late <- m.BeforeFinal(context.WithoutCancel(ctx))
						return mail.Receipt{}, nil
					})
				})
				args := []string{`42`, `{}`}
				if c.task == tasks.NameOTP {
					args = []string{`{"email": "bob@example.com", "otp": "042917"}`}
				}
				o := workertest.Run(t, limited(b.Definitions(), 0, 30*time.Millisecond), workertest.Call{Task: c.task, Args: rawArgs(args)})
				close(release)
				if o.State != c.state || o.DeadLetter != c.letter {
					t.Errorf("%s, dead letter %q", o.State, o.DeadLetter)
				}
				err := <-late
				if !c.finished && err == nil {
					t.Error("the mail went out after its retry was published")
				}
				if c.finished && err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// busyUsers has no connection for a lookup.
type busyUsers struct{ directory }

func (busyUsers) Acquire(ctx context.Context, around func(context.Context, func(context.Context) error) error) (func(), error) {
	return nil, around(ctx, func(context.Context) error { return fmt.Errorf("wait: %w", worker.ErrWaited) })
}

// A mail that has waited too long for a connection in use is deferred, and no retry counts.
func TestWaitedTooLong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*tasks.Config)
		text   string
	}{
		"for the relay": {func(c *tasks.Config) {
			c.Mailer = mailerFunc(func(ctx context.Context, m mail.Message) (mail.Receipt, error) {
				return mail.Receipt{}, &mail.SendError{Command: "WAIT", Err: fmt.Errorf("%w: %w", context.DeadlineExceeded, worker.ErrWaited)}
			})
		}, "no connection to the mail server was free"},
		"for the database": {func(c *tasks.Config) { c.Users = busyUsers{} }, "no connection to the database was free"},
	} {
		for _, retries := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, retries), func(t *testing.T) {
				b := newBench(t, c.change)
				one := oneOfEach()["confirmation"]
				one.Retries = retries
				result, err := b.run(t.Context(), one)
				if got := verdict(result, err); got != waits {
					t.Fatalf("%s, want %s", got, waits)
				}
				checkTold(t, "confirmation", c.text, err)
			})
		}
	}
}

var _ interface {
	Acquire(context.Context, func(context.Context, func(context.Context) error) error) (func(), error)
} = (*store.Store)(nil)
