package dev

import (
	"errors"
	"testing"
	"time"

	"github.com/evently/workers/store"
)

// The embedded table answers the very query that goes to PostgreSQL.
func TestStoreReadsTheEmbeddedUsers(t *testing.T) {
	users := seed()
	db, err := openUsers(t.Context(), time.Now(), users, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := store.Open(store.Config{DB: db})
	if err != nil {
		t.Fatal(err)
	}
	active := 0
	for _, u := range users {
		got, err := s.Email(t.Context(), u.ID)
		switch {
		case !u.Active:
			if !errors.Is(err, store.ErrNoUser) {
				t.Errorf("inactive user %d: got %q, %v", u.ID, got, err)
			}
		case err != nil || got != u.Email:
			t.Errorf("user %d: got %q, %v; want %q", u.ID, got, err, u.Email)
		default:
			active++
		}
	}
	if active < 2 || active == len(users) {
		t.Errorf("%d of %d users are active; both kinds are needed to try the tasks", active, len(users))
	}
	if _, err := s.Email(t.Context(), 99); !errors.Is(err, store.ErrNoUser) {
		t.Errorf("user 99 should not exist: %v", err)
	}
}
