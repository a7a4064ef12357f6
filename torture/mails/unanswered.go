package mails

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// unanswered is R24.
var unanswered = harness.Row{
	ID:   "R24",
	Goal: "the relay freezes, closes or resets the connection after the end of a mail, or after the reply to it",
	Mark: "no reply: ordinary mails 1 copy and \"unsure\", codes and offers ≤ 2, with one Message-ID and Date; after the reply: 1 copy",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		most := harness.Size(r, 240, 4000) // an eighth of them gets no reply
		m := &moody{chance: rand.New(rand.NewPCG(r.Seed, 2)), answered: map[string]bool{}, next: map[int]string{}}
		server := smtptest.New(r, smtptest.Options{Script: m.script, Extensions: []string{"PIPELINING", "CHUNKING"}})
		s := newStage(r, binary, &relay{Server: server}, most)
		s.healthy(s.work("w", "CONCURRENCY=25", "SMTP_REPLY_TIMEOUT=1"))
		s.ask(most)
		limit := harness.Size(r, 5*time.Minute, 10*time.Minute)
		s.Await(s.IDs, limit)
		// A server that is slow on purpose takes a mail later than its task ends.
		testkit.Poll(30*time.Second, func() bool { return m.takenAll(s.relay.copies()) })
		a := s.account(limit)
		copies := s.relay.copies()
		cut, wrong := 0, 0
		for _, l := range s.sent {
			n := len(copies[l.address])
			answered, taken := m.fate(l.address)
			if answered {
				if n != 1 {
					wrong++
					s.Logf("%d copies of a mail to %s that was answered", n, l.address)
				}
				continue
			}
			cut++
			if taken && n < 1 || n > 2 || n == 2 && !l.urgent {
				wrong++
				s.Logf("%d copies of a mail to %s without an answer", n, l.address)
			}
		}
		r.Figure("%d mails without a reply, %d cut off after it: %d with a wrong number of copies; %s", cut, m.cutLater(), wrong, a)
		r.Want(wrong == 0 && a.lost == 0 && a.other == 0 && a.differ == 0, "every mail as often as it may be: %d are not, %s", wrong, a)
		r.Want(a.again == a.againUrgent, "no second copy of an ordinary mail: %s", a)
		s.Settled(time.Minute)
	},
}

// moody is the script of a server that takes the first copy of each mail, and then either gives no
// reply, or gives the reply and breaks something afterwards.
type moody struct {
	mu       sync.Mutex
	chance   *rand.Rand
	answered map[string]bool // recipients of mails that were taken
	next     map[int]string  // recipients by connection
	broken   int             // connections that were cut after the reply
}

func (m *moody) script(s smtptest.Step) smtptest.Action {
	m.mu.Lock()
	n := m.chance.IntN(24)
	address := m.next[s.Conn]
	_, known := m.answered[address]
	switch s.Command {
	case "RCPT":
		_, rest, _ := strings.Cut(s.Line, "<")
		m.next[s.Conn], _, _ = strings.Cut(rest, ">")
	case ".":
		if !known { // the mail is taken now
			m.answered[address] = n > 2
			if n > 2 && n <= 5 {
				m.broken++
			}
		}
	}
	m.mu.Unlock()
	const taken = "250 2.0.0 Ok: queued"
	switch {
	case s.Command == "QUIT" || s.Command == "RSET":
		return [...]smtptest.Action{
			{Then: smtptest.Reset}, {Then: smtptest.Close}, {Reply: "421 4.3.2 closing", Then: smtptest.Close},
			{Reply: "500 5.5.1 what", Then: smtptest.Reset}, {Reply: "nonsense"}, {},
		}[n%6]
	case s.Command != "." || known || n > 5: // more would open the circuit breaker
		return smtptest.Action{}
	}
	if n == 0 {
		time.Sleep(1500 * time.Millisecond) // longer than the client waits
	}
	return [...]smtptest.Action{
		{}, {Then: smtptest.Close}, {Then: smtptest.Reset},
		{Reply: taken, Then: smtptest.Close}, {Reply: taken, Then: smtptest.Reset}, {Reply: fmt.Sprintf("%s as %d", taken, s.Conn)},
	}[n]
}

// fate returns whether the server took a mail, and whether it said so. A slow server may lose
// the end of a mail whose client does not wait any longer.
func (m *moody) fate(address string) (answered, taken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	answered, taken = m.answered[address]
	return answered, taken
}

// takenAll reports whether copies has each mail that the server took.
func (m *moody) takenAll(copies map[string][]smtptest.Mail) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for address := range m.answered {
		if len(copies[address]) == 0 {
			return false
		}
	}
	return true
}

func (m *moody) cutLater() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}
