package letters

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/evently/workers/monitor/web"
)

// tickets let a person see the values of a letter for a short time, after an audited click. They
// are in the memory of this process alone.
type tickets struct {
	now func() time.Time

	mu  sync.Mutex
	all map[string]ticket
}

type ticket struct {
	letter string
	actor  string
	until  time.Time
}

// revealFor is how long the values of a letter are shown after a click.
const revealFor = 5 * time.Minute

func newTickets(now func() time.Time) *tickets { return &tickets{now: now, all: map[string]ticket{}} }

// issue returns a ticket of a person for a letter.
func (t *tickets) issue(letter string, a web.Actor) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, old := range t.all {
		if t.now().After(old.until) {
			delete(t.all, id)
		}
	}
	id := rand.Text()
	t.all[id] = ticket{letter, a.Name, t.now().Add(revealFor)}
	return id
}

// valid reports whether a person may see the values of a letter with a ticket.
func (t *tickets) valid(id, letter string, a web.Actor) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	have, ok := t.all[id]
	return ok && have.letter == letter && have.actor == a.Name && a.Role >= web.RoleOperator && !t.now().After(have.until)
}
