package store_test

import (
	"context"
	"errors"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// The wait for a connection of the pool does not count against the time of the query,
// and only a wait is announced.
func TestAcquireWaits(t *testing.T) {
	server := storetest.Postgres(t)
	const queryTimeout = 5 * time.Second
	s := open(t, store.Config{URL: named(server.URL(), "slow"), MaxOpen: 1, QueryTimeout: queryTimeout})
	release, err := s.Acquire(t.Context(), func(context.Context, func(context.Context) error) error {
		t.Error("a wait for a connection that is free")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	admin := server.DB()
	unlock := lockUsers(t, admin)
	slow := make(chan error, 1)
	go func() {
		_, err := s.Email(t.Context(), 1)
		slow <- err
	}()
	backend(t, admin, "slow", "active")
	errEnough := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errEnough)
	defer cancel()
	if _, err := s.Acquire(ctx, nil); !errors.Is(err, errEnough) {
		t.Errorf("a wait that ends: %v", err)
	}
	waits := 0
	release, err = s.Acquire(t.Context(), func(ctx context.Context, wait func(context.Context) error) error {
		waits++
		return wait(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := <-slow; !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) { // that of the socket follows
		t.Errorf("the slow lookup: %v", err)
	}
	unlock()
	if _, err := s.Email(t.Context(), 1); !errors.Is(err, store.ErrNoUser) || waits != 1 {
		t.Errorf("the lookup after %d waits: %v, want ErrNoUser", waits, err)
	}
}

// Users of tasks that run at the same time are looked up in one query, and each has its
// own answer.
func TestLookupsShareAQuery(t *testing.T) {
	server := storetest.Postgres(t)
	admin := server.DB()
	fill(t, admin)
	s := open(t, store.Config{URL: named(server.URL(), "batch"), MaxOpen: 1, QueryTimeout: patience})
	want := map[int64]string{
		1: "ada@example.com", 2: "", 3: "", 4: "", 5: "padded@example.com", 99: "",
		-7: "minus@example.com", math.MaxInt32: "last@example.com",
	}
	for name, others := range map[string][]int64{
		"all fit":                     nil,
		"one does not fit the column": {math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			unlock := lockUsers(t, admin)
			first := make(chan error, 1)
			go func() {
				_, err := s.Email(t.Context(), 1)
				first <- err
			}()
			pid := backend(t, admin, "batch", "active")
			cancelled, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := s.Email(cancelled, 6); !errors.Is(err, context.Canceled) {
					t.Errorf("a lookup that was cancelled: %v", err)
				}
			})
			ask := func(id int64, want string) {
				got, err := s.Email(t.Context(), id)
				if got != want || want == "" && !errors.Is(err, store.ErrNoUser) || want != "" && err != nil {
					t.Errorf("Email(%d) = %q, %v; want %q", id, got, err, want)
				}
			}
			for id, email := range want {
				wg.Go(func() { ask(id, email) })
				wg.Go(func() { ask(id, email) }) // of another task
			}
			for _, id := range others {
				wg.Go(func() { ask(id, "") })
			}
			asked := 1 + 2*len(want) + len(others)
			for store.Waiting(s) != asked {
				time.Sleep(time.Millisecond)
			}
			cancel()
			unlock()
			wg.Wait()
			if err := <-first; err != nil {
				t.Error(err)
			}
			if now := backend(t, admin, "batch", "idle"); now != pid {
				t.Errorf("connection %d, then %d", pid, now)
			}
		})
	}
}

// A query that hangs delays no other user.
func TestLookupsBesideASlowQuery(t *testing.T) {
	server := storetest.Postgres(t)
	admin := server.DB()
	fill(t, admin)
	s := open(t, store.Config{URL: named(server.URL(), "frozen"), QueryTimeout: patience})
	if _, err := s.Email(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	pid := backend(t, admin, "frozen", "idle")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	frozen := make(chan error, 1)
	go func() {
		_, err := s.Email(t.Context(), 1)
		frozen <- err
	}()
	for store.Running(s) == 0 {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	if _, err := s.Email(t.Context(), 5); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("a lookup beside a query that hangs took %v", took)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-frozen; err != nil {
		t.Error(err)
	}
}

// BenchmarkEmail measures lookups of tasks that run at the same time.
func BenchmarkEmail(b *testing.B) {
	server := storetest.Postgres(b)
	server.Exec(storetest.Database, `INSERT INTO users (id, email, is_active) SELECT n, 'u' || n || '@example.com', true FROM generate_series(1, 10000) n`)
	for _, tasks := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(tasks), func(b *testing.B) {
			s, err := store.Open(store.Config{URL: server.URL()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range tasks {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						release, err := s.Acquire(b.Context(), nil)
						if err == nil {
							_, err = s.Email(b.Context(), 1+n*7919%10000)
							release()
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
		})
	}
}
