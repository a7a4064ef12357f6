package jobs

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// active is a job of this process.
type active struct {
	key   string
	going context.Context
	stop  context.CancelCauseFunc
	p     *Progress
}

// table has the jobs of this process.
type table struct {
	mu     sync.Mutex
	life   context.Context    // nil: Run does not run
	active map[string]*active // by id
	recent []Job              // ended here, the latest last
}

// open lets jobs be added until close, which live as long as life.
func (t *table) open(life context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.life = life
}

// close lets no more jobs be added.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.life = nil
}

// add adds a job, and counts it in going.
func (t *table) add(id string, a *active, going *sync.WaitGroup) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.life == nil || t.life.Err() != nil {
		return errors.New("no job can be started, because the monitor is stopping")
	}
	for other, b := range t.active {
		if b.key == a.key {
			return &SameError{other}
		}
	}
	a.going, a.stop = context.WithCancelCause(t.life)
	t.active[id] = a
	going.Add(1)
	return nil
}

// remove forgets a job that did not begin.
func (t *table) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.active[id]; a != nil {
		a.stop(nil)
		delete(t.active, id)
	}
}

// retire moves a job to the ones that have ended.
func (t *table) retire(j Job) {
	const most = 20
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.active, j.ID)
	if t.recent = append(t.recent, j); len(t.recent) > most {
		t.recent = t.recent[1:]
	}
}

func (t *table) get(id string) *active {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active[id]
}

// job returns a job of this process.
func (t *table) job(id string) (Job, bool) {
	if a := t.get(id); a != nil {
		return a.p.Job(), true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.recent, func(j Job) bool { return j.ID == id })
	if i < 0 {
		return Job{}, false
	}
	return t.recent[i], true
}

// all returns the jobs of this process.
func (t *table) all() []Job {
	t.mu.Lock()
	all := slices.Clone(t.recent)
	var running []*active
	for _, a := range t.active {
		running = append(running, a)
	}
	t.mu.Unlock()
	for _, a := range running {
		all = append(all, a.p.Job())
	}
	return all
}
