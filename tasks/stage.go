package tasks

import (
	"sync"

	"github.com/evently/workers/worker"
)

// guard is the part of an attempt that its handler shares with the hard time limit, so that
// one of the two decides. Its zero value is an attempt that has sent nothing.
type guard struct {
	mu     sync.Mutex
	stage  stage
	mark   mark   // of this run; zero: none was set
	before string // mark of an earlier run, "" for none
}

// stage is how far an attempt has come.
type stage int

const (
	stageOpen  stage = iota // the mail may be retried
	stageFinal              // the end of data may have been sent
	stageLeft               // the time limit has decided: the mail must not be sent
)

// begin notes that a mark is being set. It reports false after the time limit.
func (g *guard) begin(m mark) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stage == stageLeft {
		return false
	}
	g.mark = m
	return true
}

// found notes the mark of an earlier run.
func (g *guard) found(before string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before = before
}

// final reports whether the end of the mail may be sent, and notes that it is.
func (g *guard) final() bool { return g.advance(stageFinal) }

// leave reports whether the end of the mail was not sent, and forbids it.
func (g *guard) leave() bool { return g.advance(stageLeft) }

func (g *guard) advance(to stage) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stage != stageOpen {
		return false
	}
	g.stage = to
	return true
}

// sent reports whether the end of the mail may have been sent, and the mark of that.
func (g *guard) sent() (mark, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mark, g.stage == stageFinal
}

// withdraw ends the mark of this run, which did not deliver the mail for certain. The mark of
// an earlier run comes back.
func (g *guard) withdraw(t *worker.Task) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mark != (mark{}) {
		t.EndMark(g.before)
	}
}

// settle removes the mark: the outcome of the mail is known, or left to a person.
func (g *guard) settle(t *worker.Task) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mark != (mark{}) || g.before != "" {
		t.EndMark("")
	}
}

// isUnsure reports whether a mark of an earlier run was found.
func (g *guard) isUnsure() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.before != "" && g.before != worker.MarkSettled
}
