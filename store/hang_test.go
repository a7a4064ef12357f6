package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// While a server is frozen only the first calls wait for it. Once it goes on, calls succeed.
// A query that is only slow gets its answer.
func TestHang(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	db, err := store.OpenDB(store.Config{URL: server.URL(), QueryTimeout: 20 * time.Second, MaxOpen: 3, HangAfter: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ask := func(query string) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		_, err := db.ExecContext(ctx, query)
		return time.Since(began), err
	}
	if _, err := ask("SELECT pg_sleep(0.5)"); err != nil {
		t.Fatalf("a slow query: %v", err)
	}
	thaw := server.Freeze()
	var callers sync.WaitGroup
	for range 5 { // over the idle connection, new ones, and in the queue for one
		callers.Go(func() {
			took, err := ask("SELECT 1")
			if _, ok := errors.AsType[*store.HangError](err); !ok || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a query while the server is frozen: %v", err)
			}
			if took > 10*time.Second {
				t.Errorf("it took %v, as long as its deadline allows", took)
			}
		})
	}
	callers.Wait()
	quick := false // once at least, as the machine may be busy
	for range 20 {
		took, err := ask("SELECT 1")
		if err == nil || took > 10*time.Second {
			t.Errorf("a query after the others have waited: %v, after %v", err, took)
		}
		quick = quick || took < 50*time.Millisecond
	}
	if !quick {
		t.Error("each query waits, also after the others have")
	}
	thaw()
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := ask("SELECT 1")
		if err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the server goes on, and is not used: %v", err)
		}
	}
}

// A pool that is closed while its server hangs asks no more.
func TestCloseWhileHanging(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	db, err := store.OpenDB(store.Config{URL: server.URL(), HangAfter: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a frozen server answers")
	}
	began := time.Now()
	if err := db.Close(); err != nil || time.Since(began) > 15*time.Second {
		t.Errorf("%v, after %v", err, time.Since(began))
	}
}
