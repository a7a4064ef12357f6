package mails

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// refusing is a relay that takes a moment for each reply, and refuses while it is told to.
type refusing struct {
	*relay
	refuse  atomic.Pointer[func(smtptest.Step) smtptest.Action] // nil: it works; the zero Action is the normal reply
	mu      sync.Mutex
	refused testkit.Throughput // what was refused
	asked   testkit.Throughput // connections
	logins  testkit.Throughput
}

// replyTime is what such a relay takes for each reply. So the rate of mails depends on it, and
// less on what else the machine does.
const replyTime = 15 * time.Millisecond

func startRefusing(r *harness.Run, o smtptest.Options) *refusing {
	r.Helper()
	f := &refusing{relay: new(relay)}
	o.Script = f.script
	f.Server = smtptest.New(r, o)
	return f
}

func (f *refusing) script(step smtptest.Step) smtptest.Action {
	time.Sleep(replyTime) // the relay is slow
	refuse := f.refuse.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch step.Command {
	case "CONNECT":
		f.asked = append(f.asked, time.Now())
	case "AUTH":
		f.logins = append(f.logins, time.Now())
	}
	if refuse == nil {
		return smtptest.Action{}
	}
	action := (*refuse)(step)
	if action.Reply != "" {
		f.refused = append(f.refused, time.Now())
	}
	return action
}

// set makes the relay refuse as how says; nil: it works again.
func (f *refusing) set(how func(smtptest.Step) smtptest.Action) {
	if how == nil {
		f.refuse.Store(nil)
		return
	}
	f.refuse.Store(&how)
}

// counts returns how many connections were made and refusals given in a time.
func (f *refusing) counts(from, to time.Time) (connections, refusals int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked.Between(from, to), f.refused.Between(from, to)
}

// loginsBetween returns how many logins were tried in a time.
func (f *refusing) loginsBetween(from, to time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins.Between(from, to)
}

// accepted returns when the relay accepted mails.
func (s *stage) accepted() testkit.Throughput {
	var at testkit.Throughput
	for _, m := range s.relay.Mails() {
		at = append(at, m.At)
	}
	slices.SortFunc(at, time.Time.Compare)
	return at
}

// warmUp is the number of mails before a trouble, whose rate is compared with that after it.
const warmUp = 300

// rate sends n mails and returns how many a second were accepted.
func (s *stage) rate(n int, numbers ...int) float64 {
	s.Helper()
	first := len(s.IDs)
	s.ask(n, numbers...)
	if a := s.Await(s.IDs[first:], 2*time.Minute); a.Done != n {
		s.Fatalf("not all mails are sent without any trouble: %s", a)
	}
	at := s.accepted()
	begin := at[max(0, len(at)-n*9/10)]
	return at.Median(begin, at.Last())
}

// recovered says how the mails went on after a trouble that ended at a time. before is the rate
// from before it; the last few mails do not count, as they may have waited for a retry.
func (s *stage) recovered(over time.Time, before float64, few int) testkit.Recovery {
	at := s.accepted()
	return at[:max(0, len(at)-few)].Recovery(over, before)
}

// fullRate checks that the rate of before came back within a minute. The short form has too few
// mails for a rate beside other load: the first mail must come.
func (s *stage) fullRate(again testkit.Recovery, after string) {
	s.Helper()
	if !s.Long {
		s.Want(again.First > 0, "a mail after %s: %s", after, again)
		return
	}
	s.Want(again.Full > 0 && again.Full <= time.Minute, "full rate within a minute after %s: %s", after, again)
}

// unharmed checks that no mail was lost, set aside or sent twice or to a stranger, and that no
// attempt was spent.
func (s *stage) unharmed(a account) {
	s.Helper()
	s.Want(a.lost == 0 && a.other == a.expired && a.unsure == 0, "no mail lost: %s", a)
	s.Want(a.again == 0, "no mail sent twice: %s", a)
	s.Want(a.strangers == 0, "mails to known addresses alone: %d others", a.strangers)
	n := s.Redis.Int("HLEN", harness.DeadKey)
	s.Want(n == 0, "no dead letters: %d", n)
	spent := s.logged("mail will be retried")
	s.Want(spent == 0, "no attempt spent: %d", spent)
}

// says waits until the health pages of all workers say each of the words.
func (s *stage) says(d time.Duration, words ...string) bool {
	s.Helper()
	text := ""
	ok := testkit.Poll(d, func() bool {
		return !slices.ContainsFunc(s.workers, func(w *testkit.Process) bool {
			if w.Ended() {
				return false
			}
			_, text = health(w)
			return slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
		})
	})
	return s.Want(ok, "the health pages to say %q: %s", words, text)
}
