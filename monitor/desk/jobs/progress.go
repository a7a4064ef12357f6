package jobs

import (
	"errors"
	"sync"
	"time"
)

// Progress takes what a job has done.
type Progress struct {
	now func() time.Time

	mu  sync.Mutex
	job Job
}

// mostFaults is the number of faults that a job keeps.
const mostFaults = 20

// Add counts what was done, and what was tried and not done.
func (p *Progress) Add(done, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job.Done, p.job.Refused = p.job.Done+done, p.job.Refused+refused
}

// Fault keeps a fault for people.
func (p *Progress) Fault(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const longest = 500
	if len(p.job.Faults) >= mostFaults {
		p.job.More++
		return
	}
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	p.job.Faults = append(p.job.Faults, text)
}

// Job returns the state of now.
func (p *Progress) Job() Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.job.State == Running {
		p.job.Seen = p.now()
	}
	j := p.job
	j.Faults = append([]string(nil), j.Faults...)
	return j
}

// errIncomplete is the error of work that was asked to stop and has nothing else to say.
var errIncomplete = errors.New("it did not try everything")

// end settles the state.
func (p *Progress) end(lines []string, err error, stopped, byPerson bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &p.job
	j.Ended, j.Result = p.now(), lines
	j.Seen = j.Ended
	whole := err == nil && (j.Total == 0 || j.Tried() >= j.Total)
	switch {
	case whole && (!stopped || j.Total > 0):
		j.State = Done
	case stopped && byPerson:
		j.State = Stopped
	case stopped:
		j.State = Interrupted
	default:
		if err == nil {
			err = errIncomplete
		}
		j.State, j.Error = Failed, err.Error()
	}
}
