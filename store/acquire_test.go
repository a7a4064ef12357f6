package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// The wait for a connection of the pool does not count against the time of the query,
// and only a wait is announced.
func TestAcquireWaits(t *testing.T) {
	server := storetest.Postgres(t)
	const queryTimeout = 300 * time.Millisecond
	s, err := store.Open(store.Config{URL: server.URL(), MaxOpen: 1, QueryTimeout: queryTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	release, err := s.Acquire(t.Context(), func(context.Context, func(context.Context) error) error {
		t.Error("a wait for a connection that is free")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		again, err := s.Acquire(t.Context(), func(ctx context.Context, wait func(context.Context) error) error {
			close(waits)
			return wait(ctx)
		})
		if err == nil {
			defer again()
			_, err = s.Email(t.Context(), 1)
		}
		done <- err
	}()
	<-waits
	time.Sleep(2 * queryTimeout) // longer than a query may take
	select {
	case err := <-done:
		t.Fatalf("two have the only connection: %v", err)
	default:
	}
	release()
	if err := <-done; !errors.Is(err, store.ErrNoUser) {
		t.Errorf("the lookup after the wait: %v, want ErrNoUser", err)
	}

	errEnough := errors.New("enough")
	release, err = s.Acquire(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errEnough)
	defer cancel()
	if _, err := s.Acquire(ctx, nil); !errors.Is(err, errEnough) {
		t.Errorf("a wait that ends: %v", err)
	}
}
