// Package allocs holds counts of allocations to those in a golden file, so that a
// change of them is a line in review.
package allocs

import (
	"bufio"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// Check compares allocations per operation, by name, with a golden file. They may
// differ by tolerance, a share of what the file says, and by one in any case: it
// is for regressions, not for the luck of a run. With update the file is written,
// where it is off by more than that.
func Check(t testing.TB, file string, got map[string]float64, tolerance float64, update bool) {
	t.Helper()
	want, err := read(file)
	if err != nil && !update {
		t.Fatalf("read the counts: %v; go test -run TestAllocations -update writes them", err)
	}
	changed := len(want) != len(got)
	if changed && !update {
		t.Errorf("%d operations were counted, %s has %d", len(got), file, len(want))
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		known, ok := want[name]
		if ok && math.Abs(got[name]-known) <= max(1, tolerance*known) {
			got[name] = known // no noise in the next diff
			continue
		}
		changed = true
		if !update {
			t.Errorf("%s: %.1f allocations, %s says %.0f; if that is meant, go test -run TestAllocations -update writes it", name, got[name], file, known)
		}
	}
	if !changed || !update {
		return
	}
	var b strings.Builder
	b.WriteString("# Allocations per operation; go test -run TestAllocations -update writes them.\n")
	for _, name := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintf(&b, "%s\t%.0f\n", name, got[name])
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatalf("write the counts: %v", err)
	}
}

func read(file string) (map[string]float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	counts := map[string]float64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, count, _ := strings.Cut(lines.Text(), "\t")
		var n float64
		if _, err := fmt.Sscanf(count, "%g", &n); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, lines.Text(), err)
		}
		counts[name] = n
	}
	return counts, nil
}
