package harness

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// Account says where every task is.
type Account struct {
	Tasks   int
	Done    int // have a final result
	Failed  int // of these, FAILURE
	Queued  int // wait in the queue
	Unacked int // are claimed
	Dead    int // are dead letters without a result
	Lost    int // are nowhere
	Doubled int // runs to the end beyond the first of each task
	Wrong   int // have another result than they should
}

// String implements [fmt.Stringer].
func (a Account) String() string {
	return fmt.Sprintf("%d tasks: %d done (%d FAILURE, %d wrong), %d queued, %d unacked, %d dead, %d lost; %d extra runs",
		a.Tasks, a.Done, a.Failed, a.Wrong, a.Queued, a.Unacked, a.Dead, a.Lost, a.Doubled)
}

// Account finds every task of ids.
func (s *Stage) Account(ids []string) Account {
	s.Helper()
	a := Account{Tasks: len(ids)}
	// In the direction that messages move in, so that none is missed on its way;
	// what goes back meanwhile is looked for again.
	var missing []string
	for range 3 {
		a = Account{Tasks: len(ids)}
		queued, unacked := s.queued(), s.unacked()
		results, dead := s.Redis.Results(ids), s.deadIDs()
		missing = missing[:0]
		for _, id := range ids {
			switch result, ok := results[id]; {
			case ok && result.Final():
				a.Done++
				if result.Status != "SUCCESS" {
					a.Failed++
				}
			case dead[id]:
				a.Dead++
			case unacked[id]:
				a.Unacked++
			case queued[id]:
				a.Queued++
			default:
				missing = append(missing, id)
			}
		}
		if len(missing) == 0 {
			break
		}
	}
	a.Lost = len(missing)
	for _, id := range missing[:min(len(missing), 5)] {
		s.Logf("%s: task %s is nowhere", s.Kind.Name, id)
	}
	runs := s.Notes.Runs()
	for _, id := range ids {
		a.Doubled += max(0, runs[id]-1)
	}
	return a
}

// CheckNumbers counts the tasks whose result is not the number they were sent
// with.
func (s *Stage) CheckNumbers() (wrong int) {
	s.Helper()
	results := s.Redis.Results(s.IDs)
	for number, id := range s.IDs {
		if result, ok := results[id]; ok && result.Status == "SUCCESS" && string(result.Result) != strconv.Itoa(number) {
			wrong++
		}
	}
	return wrong
}

func (s *Stage) queued() map[string]bool {
	ids := map[string]bool{}
	for _, suffix := range testkit.PrioritySuffixes {
		for _, raw := range s.Redis.Strings("LRANGE", Queue+suffix, 0, -1) {
			ids[testkit.ParseMessage(s, raw).Headers.ID] = true
		}
	}
	return ids
}

func (s *Stage) unacked() map[string]bool {
	ids := map[string]bool{}
	for _, m := range s.Redis.Unacked() {
		ids[m.Headers.ID] = true
	}
	return ids
}

// The keys of our dead letters, which Celery has none of.
const (
	DeadKey     = "_goworker.1.dead"
	deadMetaKey = "_goworker.1.dead.meta"
)

// DeadLetters returns the raw messages that were set aside, with how often.
func (s *Stage) DeadLetters() map[string]int {
	s.Helper()
	raws := map[string]int{}
	for _, raw := range s.Redis.Strings("HVALS", DeadKey) {
		raws[raw]++
	}
	return raws
}

func (s *Stage) deadIDs() map[string]bool {
	ids := map[string]bool{}
	for raw := range s.DeadLetters() {
		// A dead letter need not be a message; the ids of real messages count.
		if _, after, ok := strings.Cut(raw, `"id": "`); ok {
			id, _, _ := strings.Cut(after, `"`)
			ids[id] = true
		}
	}
	return ids
}

// Await waits until all tasks have a final result, for d at most, and accounts
// for them.
func (s *Stage) Await(ids []string, d time.Duration) Account {
	s.Helper()
	s.awaitResults(ids, d)
	return s.Account(ids)
}

func (s *Stage) awaitResults(ids []string, d time.Duration) bool {
	s.Helper()
	pending := slices.Clone(ids)
	return testkit.Poll(d, func() bool {
		if s.Context().Err() != nil {
			s.Fatalf("interrupted")
		}
		// The last ones tell most; the rest is only looked at when these are there.
		for len(pending) > 0 {
			some := pending[max(0, len(pending)-1000):]
			results := s.Redis.Results(some)
			left := slices.DeleteFunc(slices.Clone(some), func(id string) bool { return results[id].Final() })
			pending = append(pending[:len(pending)-len(some)], left...)
			if len(left) > 0 {
				return false
			}
		}
		return true
	})
}

// Recovers sends a task that is served next and returns the time until its
// result; false: it had none within limit.
func (s *Stage) Recovers(limit time.Duration) (time.Duration, bool) {
	s.Helper()
	begin := time.Now()
	id := s.SendFirst(Task{})
	ok := s.awaitResults([]string{id}, limit)
	return time.Since(begin), ok
}

// Settled waits until nothing is queued or claimed, and reports a fault unless
// that comes to pass.
func (s *Stage) Settled(d time.Duration) {
	s.Helper()
	left := func() int {
		return s.Redis.Waiting(Queue) + s.Redis.Int("HLEN", "unacked") + s.Redis.Int("ZCARD", "unacked_index")
	}
	s.Want(testkit.Poll(d, func() bool { return left() == 0 }), "queue, unacked and unacked_index empty, have %d entries", left())
}

// Begun returns how often each task has begun, for tasks that note it.
func (s *Stage) Begun() map[string]int { return s.Notes.IntMap("HGETALL", "e2e:begun") }

// Sent returns how often each task took the step that cannot be taken back.
func (s *Stage) Sent() map[string]int { return s.Notes.IntMap("HGETALL", "e2e:sent") }

// Sum adds the counts of a map.
func Sum(counts map[string]int) int {
	sum := 0
	for n := range maps.Values(counts) {
		sum += n
	}
	return sum
}
