// Package tasks has the tasks of Evently's mail worker: typed arguments in, the producers'
// result dictionaries out. [Mails] is the table of the mails; each family of mails has a
// file.
package tasks

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
)

// NameHealthCheck is the name of the one task that sends no mail, without [Module].
const NameHealthCheck = "health_check"

// Module is the Python module of the tasks; the long name of a task is
// Module + "." + its name.
const Module = "email_workers.tasks"

// Queue is the queue to which the producers send the tasks.
const Queue = "email_notifications"

// Defaults of [Config].
const (
	DefaultMaxRetries = 3
	DefaultRetryDelay = 60 * time.Second

	DefaultReplyTimeout = 2 * time.Minute // as in package mail

	DefaultGiveUpAfter = 4 * 24 * time.Hour // RFC 5321 section 4.5.4.1 asks for 4 to 5 days
)

// Users looks up recipients. [store.Store] is one.
type Users interface {
	// Email returns the address of an active user, store.ErrNoUser when there
	// is none, and another error when the question could not be answered.
	Email(ctx context.Context, userID int64) (string, error)
}

// acquirer is an optional interface of [Users]: it waits for a free connection before the
// lookup, so that the wait does not count as one. [store.Store] implements it.
type acquirer interface {
	Acquire(ctx context.Context, around func(context.Context, func(context.Context) error) error) (release func(), err error)
}

// Mailer sends one mail. [mail.Sender] is one.
type Mailer interface {
	Send(ctx context.Context, m mail.Message) (mail.Receipt, error)
}

// Renderer makes mails of data. [templates.Set] is one. Its errors are faults of the data
// and end the task, except for a [worker.RejectError].
type Renderer interface {
	Render(m templates.Mail) (templates.Rendered, error)
}

// Config is the configuration of a [Service].
type Config struct {
	Users     Users    // required
	Mailer    Mailer   // required
	Templates Renderer // required

	// MaxRetries is the number of retries of one mail, and RetryDelay the delay before
	// the first. The delay doubles each time, up to MaxRetryDelay, and is spread by 20 %
	// to both sides. Codes and waitlist offers wait at most 5, 15 and 45 seconds. Zero
	// is the default, worker.NoRetries none.
	MaxRetries    int
	RetryDelay    time.Duration
	MaxRetryDelay time.Duration // default: 10 minutes, as Celery's retry_backoff_max

	// GiveUpAfter is how long the mail server may put one mail off, by answers about it that
	// cost no attempt, such as 421 at RCPT. Then the message becomes a dead letter. The time
	// of an outage does not count. Default: DefaultGiveUpAfter.
	GiveUpAfter time.Duration

	// UnknownPolicy selects what happens to a mail of which it is unknown whether it was
	// delivered: HoldUnknown (default) or ResendUnknown. Codes and waitlist offers are
	// sent once more in any case.
	UnknownPolicy UnknownPolicy
	// ReplyTimeout is how long the Mailer waits for the answer to the end of a mail at most.
	// Default: DefaultReplyTimeout.
	ReplyTimeout time.Duration

	// Once are the kinds of mails that an event may ask for, too, by a task with the header
	// EventHeader. For each booking or waitlist entry, one of the two tasks sends the mail. A
	// further task without this header sends a separate mail.
	Once []templates.Kind

	// Codes tells whether a code is still of use; nil: codes are not checked.
	Codes Codes

	// Suppressions tells which addresses get no mail; nil: all get mails.
	Suppressions Suppressions

	Limits Limits // of the rates of mails; zero: none

	// Ledger seals the addresses in the history of mails, which goes to the stream
	// ledger.StreamName of the broker; nil: nothing is recorded. Worker is the name of the
	// worker in it.
	Ledger *ledger.Sealer
	Worker string

	// Observer is told how attempts end; nil: it is not.
	Observer Observer

	// Step is called at the start of each step of a mail: "lookup", "suppressions", "render",
	// "code check" or "limits". It returns a function for the end of the step. nil: it is not
	// called.
	Step func(ctx context.Context, name string) (ended func(error))

	// Check is called by health_check; nil is always healthy. Producers see the text of
	// its error, which must not have secrets in it.
	Check func(ctx context.Context) error

	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // for tasks that run outside of a worker; default: slog.Default()
}

// Service runs the tasks. It is safe for concurrent use.
type Service struct {
	cfg         Config
	acquirer    acquirer  // nil: Users has none
	linkLeftOut sync.Once // logs a link that is left out

	codeUnchecked sync.Once // logs a code that was not checked

	taken lastTaken

	pauses    pauses
	limiter   limiter
	occasions occasions
	history   history
}

// New checks cfg and returns a Service. The error names all faults.
func New(cfg Config) (*Service, error) {
	var faults []error
	if cfg.Users == nil {
		faults = append(faults, errors.New("tasks: Config.Users is missing"))
	}
	if cfg.Mailer == nil {
		faults = append(faults, errors.New("tasks: Config.Mailer is missing"))
	}
	if cfg.Templates == nil {
		faults = append(faults, errors.New("tasks: Config.Templates is missing"))
	}
	if cfg.MaxRetries < worker.NoRetries {
		faults = append(faults, errors.New("tasks: Config.MaxRetries must be a number of retries, 0 for the default or worker.NoRetries"))
	}
	if cfg.RetryDelay < 0 || cfg.MaxRetryDelay < 0 {
		faults = append(faults, errors.New("tasks: Config.RetryDelay and MaxRetryDelay must not be negative"))
	}
	if cfg.GiveUpAfter < 0 {
		faults = append(faults, errors.New("tasks: Config.GiveUpAfter must not be negative"))
	}
	if cfg.UnknownPolicy != "" && cfg.UnknownPolicy != HoldUnknown && cfg.UnknownPolicy != ResendUnknown {
		faults = append(faults, errors.New("tasks: Config.UnknownPolicy must be HoldUnknown or ResendUnknown"))
	}
	faults = append(faults, cfg.Limits.check()...)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	cfg.MaxRetries = cmp.Or(cfg.MaxRetries, DefaultMaxRetries)
	cfg.RetryDelay = cmp.Or(cfg.RetryDelay, DefaultRetryDelay)
	cfg.ReplyTimeout = cmp.Or(cfg.ReplyTimeout, DefaultReplyTimeout)
	cfg.GiveUpAfter = cmp.Or(cfg.GiveUpAfter, DefaultGiveUpAfter)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{
		cfg:       cfg,
		pauses:    pauses{retryDelay: cfg.RetryDelay, maxRetryDelay: cfg.MaxRetryDelay},
		limiter:   limiter{Limits: cfg.Limits, now: cfg.Now, caller: rand.Text()},
		occasions: occasions{kinds: cfg.Once, now: cfg.Now},

		history: history{sealer: cfg.Ledger, worker: cfg.Worker, now: cfg.Now, observer: cfg.Observer, tell: cfg.Step},
	}
	s.acquirer, _ = cfg.Users.(acquirer)
	return s, nil
}

// Definitions returns all tasks by their long and by their short names, as producers use
// both.
func (s *Service) Definitions() map[string]worker.Definition {
	table := map[string]worker.Definition{}
	add := func(name string, d worker.Definition) {
		d.MaxRetries, d.Backoff = s.cfg.MaxRetries, s.pauses.backoff()
		table[name] = d
		table[Module+"."+name] = d
	}
	for _, m := range Mails() {
		add(m.Name, worker.Definition{Handler: m.handler(s), Withdrawn: m.withdrawn(s), ArgumentsAreSecret: m.SecretArguments})
	}
	add(NameHealthCheck, worker.Definition{Handler: worker.Func(s.HealthCheck)})
	return table
}

// jitter is the share by which pauses are spread.
const jitter = 0.2

// today returns the default of dates: the day in UTC, which producers use.
func (s *Service) today() string { return s.cfg.Now().UTC().Format(time.DateOnly) }

// result returns r with the time.
func (s *Service) result(r Result) Result {
	r.Timestamp = timestamp(s.cfg.Now())
	return r
}

func (s *Service) logger(t *worker.Task) *slog.Logger {
	if t.Logger != nil {
		return t.Logger
	}
	return s.cfg.Logger
}
