package mails

import (
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store/ledger"
)

// historyPatience is how long the history may take to follow. A service that was killed while it
// wrote the history keeps the others from it for the 30 s of its lease.
const historyPatience = 2 * time.Minute

// disagree counts the mails whose history differs from the result of their task, or knows nothing
// of a second copy.
func (s *stage) disagree() int {
	s.Helper()
	db, err := sqlx.Open("postgres", s.users.URL())
	if err != nil {
		s.Fatalf("%v", err)
	}
	defer db.Close()
	reader := ledger.NewReader(ledger.ReaderConfig{DB: db})
	results, copies := s.Redis.Results(s.IDs), s.relay.copies()
	pending := slices.Clone(s.sent)
	testkit.Poll(historyPatience, func() bool {
		pending = slices.DeleteFunc(pending, func(l letter) bool {
			found, err := reader.Show(s.Context(), l.id)
			return err == nil && len(found) > 0 && agrees(found, verdictOf(results[l.id]), len(copies[l.address]))
		})
		return len(pending) == 0
	})
	for _, l := range pending[:min(len(pending), 5)] {
		found, err := reader.Show(s.Context(), l.id)
		s.Logf("task %s: result %q, %d mails, history %+v, %v", l.id, verdictOf(results[l.id]), len(copies[l.address]), found, err)
	}
	return len(pending)
}

// agrees reports whether the history of a mail is that of its result, and of the copies that the
// relay has. A worker that died first saw the mail at another time, so there may be two parts.
func agrees(found []ledger.History, verdict string, copies int) bool {
	states := map[ledger.State]bool{}
	last := found[0].State
	for _, h := range found {
		last = max(last, h.State)
		for _, e := range h.Events {
			states[e.State] = true
		}
	}
	want := map[string]ledger.State{delivered: ledger.Accepted, unsure: ledger.Unknown, expired: ledger.Expired, "superseded": ledger.Expired}[verdict]
	return last == want && (copies < 2 || states[ledger.Unknown])
}
