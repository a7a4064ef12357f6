package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
)

// Rate is a number of mails in a time. The zero Rate is no limit.
type Rate struct {
	Mails int
	Per   time.Duration
}

// Limits bounds the rates of mails, for all workers of a broker together. Without a limit
// the broker is not asked.
//
// Codes and waitlist offers are ahead of other mails: a fifth of All, and of the rate of each
// domain, is kept for them, and they may use all of it. A mail that must wait is put off until
// its turn, and no attempt is spent. A code that would come after its lifetime is not sent.
// While the broker does not answer, there is no limit.
type Limits struct {
	// Admitter counts the mails. Required if there is a limit.
	Admitter broker.Admitter
	// Board tells all workers that a domain without a rate is slowed down; nil: each finds
	// out by itself.
	Board broker.Board

	All Rate
	// Domain has the rates of the domains of recipients, in lower case. "" is the rate of
	// each domain that it does not name. A domain whose server defers mails is slowed
	// down for a while, also without a rate here.
	Domain map[string]Rate
	// Recipient has the rates of mails of one kind to one recipient, by the kind. "" is
	// the rate of the kinds that it does not name. So many go at once, and then one after
	// the other.
	Recipient map[string]Rate
}

const (
	// bulkShare is the share of the rates that mails without a lifetime may use.
	bulkShare = 0.8
	// shortWait is the longest wait in place. It holds a slot of the worker, and so keeps
	// waiting what is queued behind the mail. That may be a code: other mails must make
	// room.
	shortWait, shortBulkWait = 2 * time.Second, 5 * time.Millisecond
	// longestReserve is the longest time for which a mail without a lifetime is put off at
	// once. With more in the queue it asks again.
	longestReserve = 24 * time.Hour
	// slotTolerance is how much the time of a retry may differ from the time that was
	// reserved.
	slotTolerance = 500 * time.Millisecond
)

// isSet reports whether there is a limit.
func (l Limits) isSet() bool { return l.All.Mails > 0 || len(l.Domain) > 0 || len(l.Recipient) > 0 }

// check returns what is wrong with l.
func (l Limits) check() (faults []error) {
	if l.isSet() && l.Admitter == nil {
		faults = append(faults, fmt.Errorf("tasks: Config.Limits.Admitter is missing"))
	}
	bad := func(r Rate) bool {
		return r.Mails < 0 || r.Mails > 0 && r.Per/time.Duration(r.Mails) < 10*time.Microsecond
	}
	if bad(l.All) {
		faults = append(faults, fmt.Errorf("tasks: Config.Limits.All is not a rate of at most 100,000 mails in a second"))
	}
	kinds := Kinds()
	for _, name := range sorting.Keys(l.Recipient) {
		if name != "" && !slices.Contains(kinds, name) {
			faults = append(faults, fmt.Errorf("tasks: Config.Limits.Recipient names %q, which is no kind of mail; the kinds are %s", name, strings.Join(kinds, ", ")))
		}
	}
	for _, rates := range []map[string]Rate{l.Domain, l.Recipient} {
		for _, name := range sorting.Keys(rates) {
			if bad(rates[name]) || rates[name].Mails == 0 {
				faults = append(faults, fmt.Errorf("tasks: Config.Limits has no rate for %q of 1 mail or more, and at most 100,000 in a second", name))
			}
		}
	}
	return faults
}

// Kinds returns the kinds of all mails, such as "otp".
func Kinds() (kinds []string) {
	for _, m := range Mails() {
		kinds = append(kinds, string(m.read(&dictionary{}).data.Kind()))
	}
	return kinds
}

// LetterLives returns the tasks whose arguments are secret and of use for a short time only, and
// for how long: the values in their dead letters must not rest longer.
func LetterLives() map[string]time.Duration {
	lives := map[string]time.Duration{}
	for _, m := range Mails() {
		if life := m.read(&dictionary{}).lifetime; m.SecretArguments && life > 0 {
			lives[m.Name] = life
		}
	}
	return lives
}

// throttle says that a mail must wait.
type throttle struct {
	limit string        // that decides, for people
	after time.Duration // how long to wait
	ready bool          // then the mail may be sent; else it asks again
	late  bool          // then the mail would be too late
}

func (t *throttle) Error() string { return "throttled: " + t.limit }

// limiter asks for the limits of mails.
type limiter struct {
	Limits
	now    func() time.Time
	caller string // of Slow

	seen   seen
	notice notice

	unasked sync.Once // logs that the broker did not answer
}

// admit returns nil if the mail may be sent now. It waits in place for a short time.
func (l *limiter) admit(ctx context.Context, a *attempt) *throttle {
	if !l.isSet() && !l.isSlowed(ctx) {
		return nil
	}
	a.turn = a.isTurn()
	for spent := time.Duration(0); ; {
		longest := shortBulkWait
		if a.urgent() || a.turn {
			longest = shortWait
		}
		wait, err := l.ask(ctx, a)
		if err != nil {
			l.unasked.Do(func() {
				a.log.WarnContext(ctx, "mails are sent without a limit: broker could not be asked; logged once", "error", err)
			})
			return nil
		}
		if wait == nil {
			return nil
		}
		if spent += wait.after; wait.late || spent > longest {
			return wait
		}
		_ = a.task.Wait(ctx, wait.after, func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		if wait.ready || ctx.Err() != nil {
			return nil
		}
	}
}

// ask asks whether the mail may be sent now, and for a reservation if not.
func (l *limiter) ask(ctx context.Context, a *attempt) (*throttle, error) {
	limits := l.of(a)
	switch {
	case a.turn && a.urgent():
		return nil, nil
	case a.turn:
		return l.askTurn(ctx, a, limits)
	case a.urgent():
		return l.askUrgent(ctx, a, limits)
	}
	return l.askOrdinary(ctx, a, limits)
}

// askUrgent asks for an urgent mail. Its reservation must end before its lifetime does. A
// learned limit delays it only for a moment: it is a guess, and a mail too late is of no use.
func (l *limiter) askUrgent(ctx context.Context, a *attempt, limits []limit) (*throttle, error) {
	got, err := l.take(ctx, limits, isAny, true)
	if err == nil && !got.Admitted && slices.ContainsFunc(limits, isLearned) {
		got, err = l.take(ctx, limits, func(l limit) bool { return !l.learned }, true)
	}
	switch {
	case err != nil:
		return nil, err
	case !got.Admitted:
		return &throttle{limit: a.describe(got.Limit), late: true}, nil
	}
	a.admitted = l.now().Add(got.Wait)
	if got.Wait <= 0 {
		return nil, nil
	}
	return &throttle{limit: a.describe(got.Limit), after: got.Wait, ready: true}, nil
}

// askOrdinary asks for another mail, and then for a reservation of the share of such mails.
func (l *limiter) askOrdinary(ctx context.Context, a *attempt, limits []limit) (*throttle, error) {
	got, err := l.take(ctx, limits, isAny, false)
	if err == nil && !got.Admitted {
		got, err = l.take(ctx, limits, func(l limit) bool { return l.bulk || l.once }, true)
		a.turn = got.Admitted
		if err == nil {
			if a.turn {
				a.admitted = l.now().Add(got.Wait)
			}
			return a.throttle(got), nil
		}
	}
	if err == nil {
		a.admitted = l.now()
	}
	return nil, err
}

// askTurn asks for an ordinary mail whose turn has come among such mails: whether urgent ones
// have left room in the whole rate.
func (l *limiter) askTurn(ctx context.Context, a *attempt, limits []limit) (*throttle, error) {
	got, err := l.take(ctx, limits, func(l limit) bool { return !l.bulk && !l.once }, true)
	switch {
	case err != nil:
		return nil, err
	case !got.Admitted:
		a.admitted = l.now().Add(got.Wait) // it remains the turn of this mail
		return a.throttle(got), nil
	case got.Wait > 0:
		return &throttle{limit: a.describe(got.Limit), after: got.Wait, ready: true}, nil
	}
	a.admitted = l.now()
	return nil, nil
}

func isAny(limit) bool { return true }

// take takes a token of each limit that which selects.
func (l *limiter) take(ctx context.Context, limits []limit, which func(limit) bool, reserve bool) (broker.Admission, error) {
	var asked []broker.Limit
	for _, one := range limits {
		if !reserve {
			one.Reserve = 0
		}
		if which(one) {
			asked = append(asked, one.Limit)
		}
	}
	if len(asked) == 0 {
		return broker.Admission{Admitted: true}, nil
	}
	return l.Admitter.Admit(ctx, asked)
}

// throttle returns the wait for an answer.
func (a *attempt) throttle(got broker.Admission) *throttle {
	return &throttle{limit: a.describe(got.Limit), after: min(max(got.Wait, time.Millisecond), longestReserve)}
}

// throttled puts off a mail until its turn. An urgent one that would come too late is
// answered at once.
func (s *Service) throttled(ctx context.Context, a *attempt, wait *throttle) (Result, error) {
	s.history.observeLimit(wait)
	text := wait.Error()
	if wait.late {
		return s.expired(a, text, text), nil
	}
	return s.later(ctx, a, ending{state: ledger.Queued, reason: text, stage: stepLimit, next: wait.after}, wait)
}

// isTurn reports whether this run is the one that was put off until now by the limits.
func (a *attempt) isTurn() bool {
	at := a.task.HeaderTime(admittedHeader)
	return !at.IsZero() && !a.task.ETA.IsZero() && a.task.ETA.Sub(at).Abs() <= slotTolerance
}

// limit is one limit of a mail.
type limit struct {
	broker.Limit
	bulk    bool // the share of mails without a lifetime, beside a limit that all share
	once    bool // counts a mail once, not each attempt
	learned bool // has a rate only while the domain is slowed down
}

func isLearned(l limit) bool { return l.learned }

// of returns the limits of a mail, without the one that counts it once, after that has.
func (l *limiter) of(a *attempt) []limit {
	reserve := longestReserve
	switch {
	case a.turn:
		reserve = shortWait // in place
	case a.urgent():
		reserve = max(a.deadline().Sub(l.now()), 0)
	}
	var all []limit
	lanes := func(name string, r Rate) {
		all = append(all, limit{Limit: evenly(name, r, reserve)})
		if !a.urgent() {
			share := evenly(name+".bulk", r, reserve)
			share.Every = time.Duration(float64(share.Every) / bulkShare)
			all = append(all, limit{Limit: share, bulk: true})
		}
	}
	if l.All.Mails > 0 {
		lanes("mail", l.All)
	}
	name, r, ok := l.domainLimit(a.to)
	switch {
	case ok:
		lanes(name, r)
	case a.urgent():
		all = append(all, limit{Limit: broker.Limit{Name: name, Reserve: min(reserve, shortWait)}, learned: true})
	default:
		all = append(all, limit{Limit: broker.Limit{Name: name, Reserve: reserve}, learned: true},
			limit{Limit: broker.Limit{Name: name + ".bulk", Reserve: reserve}, learned: true, bulk: true})
	}
	kind := string(a.data.Kind())
	if r, ok := rateOf(l.Recipient, kind); ok && a.task.HeaderTime(admittedHeader).IsZero() {
		sum := sha256.Sum256([]byte(mailboxOf(a.to)))
		all = append(all, limit{Limit: inBursts("mail.recipient."+kind+"."+hex.EncodeToString(sum[:12]), r, reserve), once: true})
	}
	return all
}

// evenly returns the limit of a rate of which a tenth of the mails may be sent at once. There
// are never more than r.Mails of them in r.Per.
func evenly(name string, r Rate, reserve time.Duration) broker.Limit {
	const part = 10
	burst := r.Mails / part
	return broker.Limit{Name: name, Burst: max(burst, 1), Every: r.Per / time.Duration(r.Mails-burst), Reserve: reserve}
}

// inBursts returns the limit of a rate of which all mails may be sent at once.
func inBursts(name string, r Rate, reserve time.Duration) broker.Limit {
	return broker.Limit{Name: name, Burst: r.Mails, Every: r.Per / time.Duration(r.Mails), Reserve: reserve}
}

func rateOf(rates map[string]Rate, name string) (Rate, bool) {
	if r, ok := rates[name]; ok {
		return r, true
	}
	r, ok := rates[""]
	return r, ok
}

// domainLimit returns the limit of the domain of an address.
func (l Limits) domainLimit(address string) (name string, r Rate, ok bool) {
	d := domain(address)
	r, ok = rateOf(l.Domain, d)
	return "mail.domain." + d, r, ok
}

// describe returns the name of a limit for people and logs, without a recipient.
func (a *attempt) describe(name string) string {
	switch {
	case strings.HasPrefix(name, "mail.domain."):
		return "domain " + domain(a.to)
	case strings.HasPrefix(name, "mail.recipient."):
		return "recipient"
	}
	return "all mails"
}
