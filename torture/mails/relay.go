package mails

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// relay is a mail server that takes its time for each reply.
type relay struct {
	*smtptest.Server
	low, high time.Duration // of a reply

	mu     sync.Mutex
	chance *rand.Rand
	busy   map[int]string // connections with a mail on its way, and their names in EHLO
	hello  map[int]string
}

func startRelay(r *harness.Run, low, high time.Duration, extensions ...string) *relay {
	r.Helper()
	s := &relay{
		low: low, high: high, chance: rand.New(rand.NewPCG(r.Seed, 1)),
		busy: map[int]string{}, hello: map[int]string{},
	}
	s.Server = smtptest.New(r, smtptest.Options{Script: s.script, Extensions: extensions})
	return s
}

func (s *relay) script(step smtptest.Step) smtptest.Action {
	s.mu.Lock()
	switch step.Command {
	case "EHLO":
		_, s.hello[step.Conn], _ = strings.Cut(step.Line, " ")
	case "MAIL":
		s.busy[step.Conn] = s.hello[step.Conn]
	}
	delay := s.low
	if s.high > s.low {
		delay += time.Duration(s.chance.Int64N(int64(s.high - s.low)))
	}
	s.mu.Unlock()
	time.Sleep(delay) // the relay is slow
	if step.Command == "." {
		s.mu.Lock()
		delete(s.busy, step.Conn)
		s.mu.Unlock()
	}
	return smtptest.Action{}
}

// sends reports whether the worker of that name in EHLO has a mail on its way.
func (s *relay) sends(hello string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.busy {
		if h == hello {
			return true
		}
	}
	return false
}

// ended forgets what a worker that was killed has had on its way.
func (s *relay) ended(hello string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, h := range s.busy {
		if h == hello {
			delete(s.busy, conn)
		}
	}
}

// header returns a field of a mail.
func header(m smtptest.Mail, name string) string {
	for line := range strings.Lines(string(m.Data)) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// copies returns the mails by their recipient, which has one task each.
func (s *relay) copies() map[string][]smtptest.Mail {
	all := map[string][]smtptest.Mail{}
	for _, m := range s.Mails() {
		all[m.To] = append(all[m.To], m)
	}
	return all
}

// differ reports whether a reader's mail program does not recognise the copies.
func differ(mails []smtptest.Mail) bool {
	for _, m := range mails[1:] {
		if header(m, "Message-ID") != header(mails[0], "Message-ID") || header(m, "Date") != header(mails[0], "Date") {
			return true
		}
	}
	return false
}
