// Package breaker keeps calls away from a server that is unavailable (a circuit breaker).
//
// Each process counts the faults of its calls. After enough of them it opens, and
// shares that verdict with the other processes of the fleet. One process of the fleet
// probes the server. Once a probe succeeds, each process lets calls through gradually.
// While the [Share] is unavailable each process acts on its own.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Phase is the position of a [Breaker].
type Phase int

const (
	Closed   Phase = iota // calls go through
	Open                  // no call goes through until a probe has succeeded
	Probing               // no call goes through, and this process probes the server
	HalfOpen              // a probe has succeeded: 1, 2, 4, 8 calls at a time go through
)

// String returns the word for the phase.
func (p Phase) String() string {
	switch p {
	case Open:
		return "open"
	case Probing:
		return "probing"
	case HalfOpen:
		return "half-open"
	default:
		return "closed"
	}
}

// Result tells what the outcome of a call says about the server.
type Result int

const (
	Unknown Result = iota // nothing, for example because the call was cancelled
	Success               // the server works, even if it refused this call
	Fault                 // the server is unavailable, perhaps
	// Throttled is a Fault of a server that answers and asks for time. The next probe
	// waits longer. After it one process tries one call, and the others wait for its success.
	Throttled
	// Refused means that the server refuses this client, for example its login. It
	// opens the breaker at once. The next probe waits longer than after a Fault,
	// because servers lock accounts. Other processes, whose password may be
	// another, do not open because of it.
	Refused
)

// Outcome is the outcome of a call or a probe.
type Outcome struct {
	Result Result
	Reason string // why it is no Success: the cause, in words that all may read

	// Unreached is true if the server gave no sign of life. Then Config.Reach may tell that it is
	// back.
	Unreached bool
}

// Worked is the outcome of a call that the server has answered.
var Worked = Outcome{Result: Success}

// OpenError is the error of a call that a [Breaker] keeps away from the server.
type OpenError struct {
	Name   string    // of the breaker
	Reason string    // why it is open
	Since  time.Time // when it opened
	Next   time.Time // next probe

	// HalfOpen is true if a probe has succeeded and as many calls as allowed are in
	// progress. Another one may begin within moments, see [Breaker.Wait].
	HalfOpen bool
}

func (e *OpenError) Error() string {
	if e.HalfOpen {
		return fmt.Sprintf("%s is being tried again since its outage: %s", e.Name, e.Reason)
	}
	return fmt.Sprintf("%s is unavailable since %s: %s", e.Name, e.Since.UTC().Format(time.RFC3339), e.Reason)
}

// Share shares the verdicts of breakers in a fleet. All breakers of one name in a fleet
// concern the same server.
type Share interface {
	// Post sets the notice of a name for the time ttl.
	Post(ctx context.Context, name, notice string, ttl time.Duration) error

	// Posted returns the notice of a name, "" if there is none.
	Posted(ctx context.Context, name string) (notice string, err error)

	// Lease takes the lease of a name for the time ttl, or prolongs the own one. It
	// returns false while another process has it.
	Lease(ctx context.Context, name string, ttl time.Duration) (bool, error)
}

// Defaults of [Config].
const (
	DefaultFaults       = 5
	DefaultPause        = time.Second
	DefaultSlowPause    = 11 * time.Second
	DefaultMaxPause     = 20 * time.Second
	DefaultProbeTimeout = 10 * time.Second
	DefaultReachTimeout = 2 * time.Second
)

// Config is the configuration of a [Breaker].
type Config struct {
	// Name names the server in the Share, the log and errors. Required.
	Name string

	// Probe asks the server whether it works again, as cheaply as possible. nil: after
	// the pause one call is the probe.
	Probe        func(ctx context.Context) Outcome
	ProbeTimeout time.Duration // DefaultProbeTimeout

	// Reach asks whether the server can be reached, without a login and without work for it.
	// While the breaker is open because of an outcome with Unreached, one process of the fleet
	// asks about once a second, and a success ends the pause before the next probe. Another
	// outcome than a success and one with Unreached counts as that of a probe. nil: only probes
	// find out.
	Reach        func(ctx context.Context) Outcome
	ReachTimeout time.Duration // DefaultReachTimeout

	// First is asked once at the begin of Run, within ReachTimeout, so that an unavailable
	// server is known before a call meets that. An outcome with Unreached opens the breaker, and no other
	// one does anything. nil: the first call tells.
	First func(ctx context.Context) Outcome

	// Share shares the verdict with other processes; nil: this process is alone.
	Share Share

	// Faults is the number of faults in a row that opens the breaker (DefaultFaults).
	// Half of at least 20 calls within 30 seconds opens it, too.
	Faults int

	// Pause is the pause before the first probe, and SlowPause that of a server that
	// throttles or refuses. It doubles with each failed probe, up to MaxPause, and is up to
	// a fifth longer by chance. It begins with the probe before, if there was one. Defaults:
	// DefaultPause, DefaultSlowPause, DefaultMaxPause.
	Pause, SlowPause, MaxPause time.Duration

	Logger *slog.Logger // default: slog.Default()
}

// State describes a [Breaker].
type State struct {
	Name   string
	Phase  Phase
	Reason string    // why it is not closed; "" if it is
	Since  time.Time // when it opened; zero if it is closed
	Next   time.Time // next probe of the fleet; zero unless it is open

	Refused bool // it is not closed because the server refuses this client
	Unasked bool // Config.First has not ended yet, and nothing else is known of the server

	Opened int64 // how often it opened since the start of the process
	Probes int64 // probes of this process since its start
}

// Err returns the error of a call that the breaker keeps away, nil if it is closed.
func (s State) Err() *OpenError {
	if s.Phase == Closed {
		return nil
	}
	return &OpenError{Name: s.Name, Reason: s.Reason, Since: s.Since, Next: s.Next, HalfOpen: s.Phase == HalfOpen}
}

// Breaker is a circuit breaker for one server. Its methods may be called by several
// goroutines. Without [Breaker.Run] an open one stays open.
type Breaker struct {
	cfg  Config
	wake chan struct{} // tells Run that the state has changed

	mu      sync.Mutex
	machine machine
	changed chan struct{} // closed at the next change
}

// New checks cfg and returns a closed Breaker.
func New(cfg Config) (*Breaker, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("breaker: Config.Name is missing")
	case cfg.Faults < 0 || cfg.Pause < 0 || cfg.SlowPause < 0 || cfg.MaxPause < 0 || cfg.ProbeTimeout < 0 || cfg.ReachTimeout < 0:
		return nil, errors.New("breaker: numbers and times of Config must not be negative")
	}
	if cfg.Faults == 0 {
		cfg.Faults = DefaultFaults
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&cfg.Pause, DefaultPause}, {&cfg.SlowPause, DefaultSlowPause},
		{&cfg.MaxPause, DefaultMaxPause}, {&cfg.ProbeTimeout, DefaultProbeTimeout},
		{&cfg.ReachTimeout, DefaultReachTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b := &Breaker{cfg: cfg, wake: make(chan struct{}, 1), changed: make(chan struct{})}
	b.machine.faults = cfg.Faults
	b.machine.reach.possible, b.machine.unasked = cfg.Reach != nil, cfg.First != nil
	b.machine.pauses = pauses{fault: cfg.Pause, slow: cfg.SlowPause, most: cfg.MaxPause}
	return b, nil
}

// Name returns the name of the server.
func (b *Breaker) Name() string { return b.cfg.Name }

// State returns the current state. It costs no I/O.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state()
}

// state returns the state. b.mu must be held.
func (b *Breaker) state() State {
	s := b.machine.state()
	s.Name = b.cfg.Name
	return s
}

// Changed returns a channel that is closed at the next change of the state, and whenever
// a half-open breaker may let another call through.
func (b *Breaker) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Enter asks for one call of the server. If err is nil, the caller must call done once
// with the outcome. Otherwise err is an [*OpenError], and the server must not be called.
func (b *Breaker) Enter() (done func(Outcome), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.machine.enter()
	if !ok {
		return nil, b.state().Err()
	}
	return func(o Outcome) {
		b.change(func(m *machine, now time.Time) { m.leave(&t, o, now) })
	}, nil
}

// Hurry ends the pause before the next probe, because the cause may be gone: a password was
// replaced, for instance.
func (b *Breaker) Hurry() {
	b.change(func(m *machine, now time.Time) {
		if m.phase == Open {
			m.next = now
		}
	})
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Wait returns nil once Enter may succeed. While the breaker is half-open and its calls
// are in progress, it waits. The error is an [*OpenError] if the breaker is open, or the
// cause of the end of ctx.
func (b *Breaker) Wait(ctx context.Context) error {
	for {
		b.mu.Lock()
		room, state, changed := b.machine.hasRoom(), b.state(), b.changed
		b.mu.Unlock()
		switch {
		case room:
			return nil
		case state.Phase != HalfOpen:
			return state.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// EnterWait is [Breaker.Enter] that waits while the breaker is half-open, see
// [Breaker.Wait].
func (b *Breaker) EnterWait(ctx context.Context) (done func(Outcome), err error) {
	for {
		done, err = b.Enter()
		if open, ok := errors.AsType[*OpenError](err); !ok || !open.HalfOpen {
			return done, err
		}
		if err := b.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// change changes the state and tells of the change: the log, callers that wait, and Run.
func (b *Breaker) change(step func(m *machine, now time.Time)) {
	b.mu.Lock()
	before, room, unposted := b.state(), b.machine.hasRoom(), b.machine.unposted
	step(&b.machine, time.Now())
	after, news := b.state(), b.machine.unposted && !unposted
	moved := after.Phase != before.Phase || after.Next != before.Next || after.Reason != before.Reason
	if moved || b.machine.hasRoom() && !room {
		close(b.changed)
		b.changed = make(chan struct{})
	}
	b.mu.Unlock()
	if !moved && !news {
		return
	}
	b.log(before, after)
	select {
	case b.wake <- struct{}{}:
	default: // Run will look anyway
	}
}

// log writes one line when the breaker opens, when the reason changes and when it closes.
func (b *Breaker) log(before, after State) {
	log := b.cfg.Logger.With("breaker", b.cfg.Name)
	switch {
	case before.Phase == Closed && after.Phase != Closed:
		log.Warn("circuit breaker open", "reason", after.Reason)
	case before.Phase != Closed && after.Phase == Closed:
		log.Info("circuit breaker closed", "after", time.Since(before.Since).Round(time.Millisecond).Seconds())
	case after.Phase != Closed && !sameWords(before.Reason, after.Reason):
		log.Warn("circuit breaker still open for another reason", "reason", after.Reason)
	}
}

// sameWords reports whether two reasons differ in numbers only, such as the port of a
// connection.
func sameWords(a, b string) bool {
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
	return slices.Equal(strings.FieldsFunc(a, isDigit), strings.FieldsFunc(b, isDigit))
}
