package rows

import (
	"testing"

	"github.com/evently/workers/torture/harness"
)

// The places of the fail points exist. Overlay fails the test for one that does not.
func TestFailpointsHaveTheirPlaces(t *testing.T) {
	var patches []harness.Patch
	for _, p := range failpoints {
		if p.change.File != "" {
			patches = append(patches, p.change)
		}
	}
	harness.Overlay(t, t.TempDir(), patches...)
}
