package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/testkit"
)

// Patch changes one place of one file of the module, for a build alone. The file
// itself is not touched, so that the product has no code for tests in it.
type Patch struct {
	File     string // from the folder of the module
	Old, New string // Old must be there exactly once
}

// Overlay writes the patched copies into dir and returns the flags of "go build"
// that put them in the place of the files.
func Overlay(t testkit.T, dir string, patches ...Patch) []string {
	t.Helper()
	texts := map[string]string{}
	for _, p := range patches {
		path := filepath.Join(Root(t), p.File)
		text, ok := texts[path]
		if !ok {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("overlay: %v", err)
			}
			text = string(data)
		}
		if n := strings.Count(text, p.Old); n != 1 {
			t.Fatalf("overlay: %s has %d times what is to be changed, want once:\n%s", p.File, n, p.Old)
		}
		texts[path] = strings.Replace(text, p.Old, p.New, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		copied := filepath.Join(dir, strconv.Itoa(len(replace))+"-"+filepath.Base(path))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatalf("overlay: %v", err)
		}
		replace[path] = copied
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatalf("overlay: %v", err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatalf("overlay: %v", err)
	}
	return []string{"-overlay", file}
}
