package protocol_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/evently/workers/internal/testkit/recorded"
	"github.com/evently/workers/worker/protocol"
)

// record is one line of a file in testdata; see testdata/README.md.
type record struct {
	Name     string `json:"name"`
	Producer string `json:"producer"`
	Key      string `json:"key"`
	Raw      string `json:"raw"`
	Body     string `json:"body"`
	After    string `json:"after"`
	folder   string
}

// records reads the files that match the pattern below testdata.
func records(t testing.TB, pattern string) []record {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %s: %v", pattern, err)
	}
	var all []record
	for _, name := range files {
		for _, r := range recorded.Lines[record](t, name) {
			r.folder = filepath.Base(filepath.Dir(name))
			all = append(all, r)
		}
	}
	return all
}

// find returns one record.
func find(t testing.TB, file, name string) record {
	t.Helper()
	for _, r := range records(t, file) {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return record{}
}

// notDecoded are the recorded cases that Decode refuses: serializers that are
// not JSON.
var notDecoded = map[string]protocol.Reason{
	"serializer-pickle":        protocol.ReasonPickle,
	"serializer-yaml":          protocol.ReasonContentType,
	"serializer-yaml-typed":    protocol.ReasonContentType,
	"serializer-msgpack":       protocol.ReasonContentType,
	"serializer-msgpack-bytes": protocol.ReasonContentType,
}

// messages returns the task messages of all versions that can be decoded.
func messages(t testing.TB) []record {
	t.Helper()
	var all []record
	for _, file := range []string{"produced", "republished", "restored"} {
		for _, r := range records(t, "celery-*/"+file+".jsonl") {
			if _, refused := notDecoded[r.Name]; !refused {
				all = append(all, r)
			}
		}
	}
	return all
}

func decode(t testing.TB, raw string) *protocol.Message {
	t.Helper()
	m, err := protocol.Decode([]byte(raw), protocol.Limits{})
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return m
}

// with replaces the one occurrence of a piece of text.
func with(t testing.TB, text, old, replacement string) string {
	t.Helper()
	if n := strings.Count(text, old); n != 1 {
		t.Fatalf("%q occurs %d times", old, n)
	}
	return strings.Replace(text, old, replacement, 1)
}
