package rows

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evently/workers/torture/harness"
)

// The places of the fail points, and of the clock that goes astray, exist. Overlay fails the test for one that does not.
func TestFailpointsHaveTheirPlaces(t *testing.T) {
	var patches []harness.Patch
	for _, p := range failpoints {
		if p.change.File != "" {
			patches = append(patches, p.change)
		}
	}
	harness.Overlay(t, t.TempDir(), append(patches, astray...)...)
}

// The phrases by which refusals know the scripts stand in their text.
func TestRefusableScriptsExist(t *testing.T) {
	files, err := filepath.Glob("../../worker/redis/internal/scripts/*.lua")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, phrase := range refusable {
		if phrase != "BLMOVE" && !strings.Contains(all.String(), phrase) {
			t.Errorf("no script says %q", phrase)
		}
	}
}
