package harness_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// A row that gives up ends at once, is cleaned up after in the order of a test, and
// its faults are kept.
func TestRecord(t *testing.T) {
	t.Parallel()
	var order []string
	dir := ""
	faults := harness.Record(t.Context(), "X", t.Output(), func(r testkit.T) {
		dir = r.TempDir()
		r.Cleanup(func() { order = append(order, "first") })
		r.Cleanup(func() { order = append(order, "second"); r.Errorf("in a cleanup") })
		if r.Failed() {
			t.Error("failed before anything was wrong")
		}
		r.Errorf("fault %d", 1)
		r.Fatalf("fault %d", 2)
		t.Error("Fatalf has returned")
	})
	if want := []string{"fault 1", "fault 2", "in a cleanup"}; !slices.Equal(faults, want) {
		t.Errorf("faults %q, want %q", faults, want)
	}
	if want := []string{"second", "first"}; !slices.Equal(order, want) {
		t.Errorf("cleaned up in the order %q, want %q", order, want)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("folder of the row: %v, want it gone", err)
	}
}

// The same seed gives the same messages.
func TestSeed(t *testing.T) {
	t.Parallel()
	kind := harness.Command("true")
	_, a := harness.NewRun(t, kind, false, 7).Message(1, harness.Task{})
	_, b := harness.NewRun(t, kind, false, 7).Message(1, harness.Task{})
	_, c := harness.NewRun(t, kind, false, 8).Message(1, harness.Task{})
	if a != b || a == c {
		t.Errorf("seeds 7, 7 and 8 give\n%s\n%s\n%s", a, b, c)
	}
}

// A patch of what is not there any more must not build a worker that is no worse.
func TestOverlay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	patch := harness.Patch{File: "go.mod", Old: "module github.com/evently/workers", New: "module other"}
	flags := harness.Overlay(t, dir, patch, harness.Patch{File: "worker/new.go", New: "package worker"})
	text, err := os.ReadFile(flags[1])
	if err != nil || flags[0] != "-overlay" || !strings.Contains(string(text), "go.mod") || !strings.Contains(string(text), "new.go") {
		t.Errorf("flags %q, overlay %s, %v", flags, text, err)
	}
	faults := harness.Record(t.Context(), "X", t.Output(), func(r testkit.T) {
		harness.Overlay(r, dir, harness.Patch{File: "go.mod", Old: "nowhere to be found"})
	})
	if len(faults) != 1 {
		t.Errorf("a patch without its place: faults %q, want one", faults)
	}
}

// A clone without its history is told what to do, instead of a fault of git.
func TestHasCommit(t *testing.T) {
	t.Parallel()
	if got := harness.HasCommit(t, "0123456789abcdef0123456789abcdef01234567"); got == "" {
		t.Error("a commit that is nowhere is said to be there")
	}
	faults := harness.Record(t.Context(), "X", t.Output(), func(r testkit.T) {
		harness.BuildCommit(r, t.TempDir(), "0123456789abcdef0123456789abcdef01234567", harness.TestWorker)
	})
	if len(faults) != 1 || strings.Contains(faults[0], "exit status") {
		t.Errorf("faults %q, want one that says what to do", faults)
	}
}

// The table replaces what is between the markers, and nothing else.
func TestTable(t *testing.T) {
	t.Parallel()
	table := harness.Table{
		Seed: 7, Long: true, Celery: "Celery 5", Redis: "Redis 7", Date: time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC),
		Lines: []harness.Line{
			{Row: harness.Row{ID: "R1", Goal: "a|b", Mark: "none"}, Ours: &harness.Outcome{Figures: "0 lost"},
				Celery: &harness.Outcome{Figures: "9 lost", Faults: []string{"want none"}}},
			{Row: harness.Row{ID: "R2"}, Ours: &harness.Outcome{Faults: []string{"want it\nto work"}}},
		},
	}
	if table.Faults() != 1 {
		t.Errorf("%d faults, want 1", table.Faults())
	}
	file := filepath.Join(t.TempDir(), "document.md")
	if err := os.WriteFile(file, []byte("before\n<!-- torture:begin -->\nold\n<!-- torture:end -->\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := table.Replace(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "\nafter\n", `| R1 | a\|b | none | 0 lost | **fails**: 9 lost | yes | 7 |`, `| R2 |  |  | **fails**: want it | – | **no** | 7 |`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	// A later run of one row leaves the others alone.
	later := table
	later.Seed, later.Lines = 8, []harness.Line{{Row: harness.Row{ID: "R2"}, Ours: &harness.Outcome{Figures: "works"}}}
	if err := later.Replace(file); err != nil {
		t.Fatal(err)
	}
	text2, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| R1 | a", "yes | 7 |\n| R2 |  |  | works | – | yes | 8 |\n"} {
		if !strings.Contains(string(text2), want) {
			t.Errorf("later: no %q in\n%s", want, text2)
		}
	}
	if strings.Contains(string(text), "old") {
		t.Errorf("the old table is still there:\n%s", text)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o600); err != nil {
		t.Fatal(err)
	}
	if table.Replace(file) == nil {
		t.Error("a document without markers was written")
	}
}
