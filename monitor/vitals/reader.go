package vitals

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
)

// Reader reads what the processes of the fleet tell. Make one with NewReader.
type Reader struct {
	board   broker.Board
	journal Journal
	reading chan struct{} // capacity 1: held by one Refresh
	last    string        // id of the newest entry that was read
	state   atomic.Pointer[State]
}

// State is what a Reader knows.
type State struct {
	At        time.Time // of the last Refresh that succeeded; zero: none did
	Processes []Process // in the order of nodes
	Changes   []Change  // the oldest first, at most JournalMax
}

// NewReader returns a Reader of a board and a journal.
func NewReader(board broker.Board, journal Journal) *Reader {
	r := &Reader{board: board, journal: journal, reading: make(chan struct{}, 1)}
	r.state.Store(&State{})
	return r
}

// State returns what the last Refresh has read. The caller must not change it. Many
// goroutines may call it.
func (r *Reader) State() State { return *r.state.Load() }

// pageSize is the number of entries that are read at once.
const pageSize = 500

// Refresh reads the board and the new entries of the journal. Of several calls at once one reads
// after the other.
func (r *Reader) Refresh(ctx context.Context) error {
	select {
	case r.reading <- struct{}{}:
		defer func() { <-r.reading }()
	case <-ctx.Done():
		return fmt.Errorf("read the health of the workers: %w", ctx.Err())
	}
	processes, err := r.processes(ctx)
	if err != nil {
		return err
	}
	var fresh []Change
	for {
		entries, err := r.journal.After(ctx, r.last, pageSize)
		if err != nil {
			return fmt.Errorf("read the health history: %w", err)
		}
		for _, e := range entries {
			r.last = e.ID
			if c, err := readChange(e); err == nil {
				fresh = append(fresh, c)
			}
		}
		if len(entries) < pageSize {
			break
		}
	}
	if len(fresh) == 0 {
		r.state.Store(&State{At: time.Now(), Processes: processes, Changes: r.State().Changes})
		return nil
	}
	all := withoutRepeats(slices.Concat(r.State().Changes, fresh))
	if len(all) > JournalMax {
		all = all[len(all)-JournalMax:]
	}
	r.state.Store(&State{At: time.Now(), Processes: processes, Changes: all})
	return nil
}

// withoutRepeats removes changes that are there twice. A process appends a change once more when it
// does not know whether the broker took it.
func withoutRepeats(all []Change) []Change {
	type mark struct {
		process, part, text string
		ok                  bool
		at                  int64
	}
	seen := make(map[mark]bool, len(all))
	return slices.DeleteFunc(all, func(c Change) bool {
		m := mark{c.Process, c.Part, c.Text, c.OK, c.At.UnixMilli()}
		repeated := seen[m]
		seen[m] = true
		return repeated
	})
}

// processes reads the notices of all processes.
func (r *Reader) processes(ctx context.Context) ([]Process, error) {
	notices, err := r.board.Posted(ctx, directoryName)
	if err != nil {
		return nil, fmt.Errorf("read the health of the fleet: %w", err)
	}
	var names []string
	for id := range readDirectory(notices[0]) {
		names = append(names, processPrefix+id)
	}
	if len(names) == 0 {
		return nil, nil
	}
	sort.Strings(names)
	if notices, err = r.board.Posted(ctx, names...); err != nil {
		return nil, fmt.Errorf("read the health of the fleet: %w", err)
	}
	var all []Process
	for _, notice := range notices {
		var p Process
		if notice != nil && json.Unmarshal(notice, &p) == nil && p.Node != "" {
			all = append(all, p)
		}
	}
	sorting.By(all, func(a, b Process) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

var errEntry = errors.New("entry of the health history is not understood")

// readChange reads an entry of the journal.
func readChange(e broker.Recorded) (Change, error) {
	c := Change{ID: e.ID, At: e.At}
	for i := 0; i+1 < len(e.Fields); i += 2 {
		value := e.Fields[i+1]
		switch e.Fields[i] {
		case "node":
			c.Node = value
		case "process":
			c.Process = value
		case "part":
			c.Part = value
		case "ok":
			c.OK = value == "true"
		case "text":
			c.Text = clip(value)
		case "at":
			if ms, err := strconv.ParseInt(value, 10, 64); err == nil {
				c.At = time.UnixMilli(ms)
			}
		}
	}
	if c.Node == "" || c.Part == "" {
		return Change{}, errEntry
	}
	return c, nil
}
