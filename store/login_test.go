package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// logins is a source that gives its logins in order.
type logins struct {
	mu       sync.Mutex
	give     []store.Credentials
	accepted []store.Credentials
}

func (l *logins) Next(_ context.Context, refused []store.Credentials) (store.Credentials, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.give) <= len(refused) {
		return store.Credentials{}, errors.New("no other login")
	}
	return l.give[len(refused)], nil
}

func (l *logins) Accepted(c store.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accepted = append(l.accepted, c)
}

func (l *logins) set(give ...store.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.give, l.accepted = give, nil
}

// Each new connection asks for the login, also one of another user. Open connections stay, until
// Renew closes the idle ones.
func TestLoginOfEachConnection(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	server.Exec(storetest.Database, `CREATE ROLE a LOGIN PASSWORD 'first'; CREATE ROLE b LOGIN PASSWORD 'second'; GRANT SELECT ON users TO a, b`)
	fill(t, server.DB())
	a, b := store.Credentials{Username: "a", Password: "first"}, store.Credentials{Username: "b", Password: "second"}
	wrong, gone := store.Credentials{Username: "a", Password: "wrong"}, store.Credentials{Username: "gone", Password: "x"}
	source := &logins{give: []store.Credentials{a}}
	s := open(t, store.Config{
		Host: "127.0.0.1", Port: server.Port, Name: storetest.Database, User: "nobody", Password: "nothing", SSLMode: "prefer",
		Credentials: source, MaxOpen: 1,
	})
	look := func() error { _, err := s.Email(t.Context(), 1); return err }
	check := func(when string, want ...store.Credentials) {
		t.Helper()
		err := look()
		if err != nil || !slices.Equal(source.accepted, want) {
			t.Errorf("%s: error %v, accepted %v; want %v", when, err, source.accepted, want)
		}
	}
	check("at first", a)
	source.set(b)
	check("with an open connection")
	s.Renew()
	check("after Renew", b)
	source.set(wrong, gone, a)
	s.Renew()
	check("third", a)
	server.Exec(storetest.Database, `ALTER ROLE a NOLOGIN`)
	source.set(a, b)
	s.Renew()
	check("role that may not log in", b)
	source.set(wrong)
	s.Renew()
	fault, ok := errors.AsType[*store.AccessError](look())
	if !ok || fault.Code != "28P01" || len(source.accepted) > 0 {
		t.Errorf("refused: %v, accepted %v", fault, source.accepted)
	}
}
