package lookups

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The first id is asked for at once. Ids collect for the next query until that one ends,
// or for two milliseconds if it takes longer.
func TestLookupsCollect(t *testing.T) {
	for _, test := range []struct {
		name  string
		takes time.Duration // a query
		most  int           // queries at a time
		last  time.Duration // time of the last answer
		want  []int         // ids of the queries
	}{
		{"short queries", time.Millisecond, 8, 3 * time.Millisecond, []int{1, 64, 35}},
		{"long queries", time.Second, 8, time.Second + joinWait, []int{1, 64, 35}},
		{"one connection", time.Second, 1, 3 * time.Second, []int{1, 64, 35}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var sizes []int
				q := New(Config[int64, string]{Most: test.most, Timeout: time.Minute, Query: func(_ context.Context, ls []*Lookup[int64, string]) {
					mu.Lock()
					sizes = append(sizes, len(ls))
					mu.Unlock()
					time.Sleep(test.takes)
					for _, l := range ls {
						l.Answer("u", nil)
					}
				}})
				begin := time.Now()
				var wg sync.WaitGroup
				for id := range int64(100) {
					wg.Go(func() {
						if email, err := q.Ask(t.Context(), id); email != "u" || err != nil {
							t.Error(email, err)
						}
					})
				}
				wg.Wait()
				q.Close()
				took := time.Since(begin)
				slices.Sort(sizes[1:]) // queries that begin together
				slices.Reverse(sizes[1:])
				if !slices.Equal(sizes, test.want) {
					t.Errorf("ids of the queries: %v, want %v", sizes, test.want)
				}
				if took > test.last {
					t.Errorf("all answers after %v", took)
				}
			})
		})
	}
}
