package mails

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// phase is a place on the way of a mail at which the process is stopped.
type phase struct {
	name   string
	marked bool // the mark is set by then, so another worker must take the mail for delivered
	change harness.Patch
}

// at makes a phase out of a place in a file of package mail. id is the Message-ID there, if it is
// known.
func at(name, file, place, id string, marked, after bool) phase {
	if id == "" {
		id = `""`
	}
	call := fmt.Sprintf("freezePoint(%q, %s)\n", name, id)
	text := call + place
	if after {
		text = place + call
	}
	return phase{name, marked, harness.Patch{File: "mail/" + file, Old: place, New: text}}
}

// phases are built into a service of patched copies; the product has none.
var phases = []phase{
	at("waiting for a connection", "sender.go", "	err = s.takeSlot(ctx, m.Wait)\n", "c.MessageID", false, false),
	at("dialling", "deliver.go", "	fresh, failed := s.open(ctx, hide)\n", "c.MessageID", false, false),
	at("EHLO", "handshake.go", "	offered, err := h.sayHello()\n", "", false, false),
	{"MAIL", false, harness.Patch{File: "mail/transact.go", Old: "			c.answered = true\n			continue\n",
		New: "			c.answered = true\n			freezePoint(s.name, \"\")\n			continue\n"}},
	{name: "RCPT"}, // in the patch above
	{name: "DATA"},
	at("body", "transact.go", "	if _, err := c.wire.Write(mail[:end]); err != nil {\n", "m.MessageID", false, false),
	at("before the mark", "transact.go", "		if err := m.beforeFinal(ctx); err != nil {\n", "m.MessageID", false, false),
	at("marked", "transact.go", "	c.watch.enter(&c.watch.Final)\n", "m.MessageID", true, false),
	at("after the end", "transact.go", "	r, err := c.wire.reply(limit)\n	if err == nil && !r.positive() {\n", "m.MessageID", true, false),
	at("answered", "transact.go", "	return r.text, nil\n}\n\n// cutOff", "m.MessageID", true, false),
}

// freezing is what the phases call. Each holds the first mail that comes to it, until the process
// was stopped and goes on.
const freezing = `package mail

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

var freezes struct {
	sync.Mutex
	held map[string]bool
	over chan os.Signal
}

func freezePoint(name, id string) {
	f := &freezes
	f.Lock()
	if f.held == nil {
		f.held, f.over = map[string]bool{}, make(chan os.Signal, 1)
		signal.Notify(f.over, syscall.SIGCONT)
	}
	first := !f.held[name] && os.Getenv("FREEZE") != ""
	f.held[name] = true
	f.Unlock()
	if first {
		fmt.Fprintf(os.Stderr, "FROZEN|%s|%s|\n", name, id)
		f.over <- <-f.over // for the others, too
	}
}
`

// frozen is R12 of mails.
var frozen = harness.Row{
	ID:   "R12m",
	Goal: fmt.Sprintf("SIGSTOP for longer than the lease with a mail in each of %d phases, by DATA, PIPELINING and CHUNKING", len(phases)),
	Mark: "0 second copies of mails without a mark, 0 of ordinary mails with one; of codes and offers ≤ 1, with the Message-ID and Date of the first",
	Run: func(r *harness.Run) {
		dir := r.TempDir()
		patches := []harness.Patch{{File: "mail/freezepoint.go", New: freezing}}
		for _, p := range phases {
			if p.change.File != "" {
				patches = append(patches, p.change)
			}
		}
		binary := harness.Build(r, dir, "freezing", service, harness.Overlay(r, dir, patches...)...)
		var mu sync.Mutex
		var sum frost
		// The ways wait side by side: they share nothing.
		var all sync.WaitGroup
		ways := [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}}
		for round := range harness.Size(r, 1, 17) {
			for i, extensions := range ways {
				// A separate run, as chance is for one goroutine.
				own := harness.NewRun(r.T, r.Kind, r.Long, r.Seed+uint64(len(ways)*round+i))
				all.Go(func() {
					f := freeze(own, binary, (i+round)%2 == 1, extensions)
					mu.Lock()
					defer mu.Unlock()
					sum.add(f)
				})
			}
			all.Wait()
		}
		r.Figure("%d freezes of %d mails: %d second copies of the %d without a mark; of those with one %d of %d ordinary mails, %d of %d codes and offers; %d lost, %d copies differ",
			sum.rounds, sum.rounds*len(phases), sum.before, sum.rounds*len(phases)-sum.ordinary-sum.urgent, sum.againOrdinary, sum.ordinary, sum.againUrgent, sum.urgent, sum.lost, sum.differ)
		r.Want(sum.before == 0, "no second copy of a mail without a mark: %+v", sum)
		r.Want(sum.againOrdinary == 0, "no second copy of an ordinary mail: %+v", sum)
		r.Want(sum.againUrgent <= sum.urgent && sum.differ == 0, "one copy of a code at most, that mail programs recognise: %+v", sum)
		r.Want(sum.lost == 0, "no mail lost: %+v", sum)
	},
}

// frost is what became of the mails of freezes.
type frost struct {
	rounds, mails, lost int
	before              int // second copies of mails without a mark
	ordinary, urgent    int // mails with a mark
	againOrdinary       int // second copies of them
	againUrgent, differ int
}

func (f *frost) add(g frost) {
	f.rounds, f.mails, f.lost, f.before = f.rounds+g.rounds, f.mails+g.mails, f.lost+g.lost, f.before+g.before
	f.ordinary, f.urgent = f.ordinary+g.ordinary, f.urgent+g.urgent
	f.againOrdinary, f.againUrgent, f.differ = f.againOrdinary+g.againOrdinary, f.againUrgent+g.againUrgent, f.differ+g.differ
}

// freeze stops a worker with a mail in each phase, lets another one take them over, and lets the
// first one go on.
func freeze(r *harness.Run, binary string, urgent bool, extensions []string) (f frost) {
	mails := 4 * len(phases) // the first ones run past the phases that have a mail already
	s := newStage(r, binary, startRelay(r, 0, 0, extensions...), mails)
	kinds := []int{1, 2, 3, 4}
	if urgent {
		kinds = []int{0, 5}
	}
	env := []string{fmt.Sprintf("CONCURRENCY=%d", len(phases)+5), "OWNER_TIMEOUT=1", "SMTP_REPLY_TIMEOUT=1"}
	first := s.work("first", append(env, "FREEZE=yes")...)
	s.healthy(first)
	s.ask(mails, kinds...)
	testkit.Eventually(s, time.Minute, "each phase has a mail, and no other mail is on its way", func() bool {
		return strings.Count(first.Out.String(), "FROZEN|") == len(phases) && s.Redis.Waiting(harness.Queue) == 0 && s.Redis.Int("HLEN", "unacked") == len(phases)
	})
	first.Signal(syscall.SIGSTOP)
	atPhase := map[string]string{} // phases by Message-ID
	for line := range strings.Lines(first.Out.String()) {
		if fields := strings.Split(line, "|"); fields[0] == "FROZEN" {
			atPhase[fields[2]] = fields[1]
		}
	}
	s.work("second", env...)
	// Ordinary mails with a mark wait for the first worker.
	testkit.Eventually(s, time.Minute, "the second worker has taken over", func() bool { return len(s.relay.copies()) >= mails-1 })
	testkit.Pause(s, 500*time.Millisecond)
	first.Signal(syscall.SIGCONT)
	a := s.account(time.Minute)
	s.Settled(time.Minute)
	f = frost{rounds: 1, mails: a.mails, lost: a.lost + a.other, differ: a.differ}
	for _, copies := range s.relay.copies() {
		at := atPhase[header(copies[0], "Message-ID")]
		isMarked := slices.ContainsFunc(phases, func(p phase) bool { return p.name == at && p.marked })
		again := len(copies) - 1
		switch {
		case !isMarked:
			f.before += again
		case urgent:
			f.urgent++
			f.againUrgent += again
		default:
			f.ordinary++
			f.againOrdinary += again
		}
		if again > 0 {
			s.Logf("frozen %q: %d second copies", at, again)
		}
	}
	for _, w := range s.workers {
		w.Kill()
	}
	s.Redis.Proc.Kill()
	s.users.Stop()
	return f
}
