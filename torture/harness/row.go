package harness

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// Row is one line of the table: one goal and the way to measure it.
type Row struct {
	ID   string // such as "R1"
	Goal string // what is done to the worker
	Mark string // what a pass is
	// Celery says that Celery's own worker can be put through the same.
	Celery bool
	// Soak says that the row takes long by its nature, and runs only when it is
	// asked for.
	Soak bool
	// Run does it. It reports figures with [Run.Figure] and faults with Errorf.
	Run func(*Run)
}

// Run is one run of a row against one kind of worker.
type Run struct {
	testkit.T
	Kind   Kind
	Soak   time.Duration // length of a soak
	Plot   string        // file that a soak is drawn into; "": none
	Long   bool          // the long form; the short one takes half a minute at most
	Seed   uint64
	Chance *rand.Rand

	mu      sync.Mutex
	figures []string
}

// NewRun prepares a run; everything random in it follows from seed.
func NewRun(t testkit.T, kind Kind, long bool, seed uint64) *Run {
	return &Run{T: t, Kind: kind, Long: long, Seed: seed, Chance: rand.New(rand.NewPCG(seed, 0))}
}

// Figure adds a figure to the cell of the table.
func (r *Run) Figure(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.Logf("%s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures = append(r.figures, text)
}

// Figures returns the cell of the table.
func (r *Run) Figures() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.figures, "; ")
}

// Want is Errorf unless ok holds. It returns ok.
func (r *Run) Want(ok bool, format string, args ...any) bool {
	r.Helper()
	if !ok {
		r.Errorf("want "+format, args...)
	}
	return ok
}

// Mark is a time that must be kept. The short forms run side by side and beside
// other load, on machines with few processors: they prove that it ends, and the long ones how soon.
func (r *Run) Mark(d time.Duration) time.Duration {
	if r.Long {
		return d
	}
	return 16 * d
}

// Memory is a bound of so many megabytes, for a worker without the race detector;
// with it, it is three times as large.
func (r *Run) Memory(megabytes int) int {
	if r.Kind.Race {
		return 3 * megabytes
	}
	return megabytes
}

// Size picks the size of the form that runs.
func Size[N any](r *Run, short, long N) N {
	if r.Long {
		return long
	}
	return short
}
