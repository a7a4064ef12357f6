package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

// The templates are messages of the size that the table states.
func TestTemplates(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1 << 10, 64 << 10, 1 << 20} {
		next, err := newTemplate("bench.noop", size)
		if err != nil {
			t.Fatal(err)
		}
		raw, id := next()
		m, err := protocol.Decode(raw, protocol.Limits{})
		if err != nil || m.ID != id || m.Task != "bench.noop" {
			t.Errorf("%d bytes: %v, id %q, want %q", size, err, m.ID, id)
		}
		if size > 0 && (len(raw) > size || len(raw) < size-8) {
			t.Errorf("%d bytes, want %d", len(raw), size)
		}
		other, again := next()
		if m2, err := protocol.Decode(other, protocol.Limits{}); err != nil || again == id || m2.DeliveryTag == m.DeliveryTag {
			t.Errorf("the next one has the same ids: %q, %v", again, err)
		}
	}
	raw, id := oldTemplate()
	if m, err := protocol.Decode(raw, protocol.Limits{}); err != nil || m.Protocol != 1 || m.ID != id {
		t.Errorf("for gocelery: %v", err)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	s := section{title: "T", text: "Text.", columns: []column{{"rate", true}, {"cost", true}, {"other", false}}}
	for _, rate := range []float64{1, 3, 2} {
		s.add("base", "base", figures{"rate": rate, "cost": 60, "other": 0})
		s.add("fast", "base", figures{"rate": 100 * rate, "cost": 1.5})
	}
	var b strings.Builder
	s.write(&b)
	want := "**T.** Text.\n\n|  | rate | cost | other |\n|---|---|---|---|\n| base | 2 | 60 | 0 |\n| fast | 200 (100×) | 1.50 (1/40) | – |\n\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

// The document keeps all but what lies between its markers.
func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tables := range []string{"first\n", "second\n"} {
		if err := document(file, tables); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), begin)
	_, tail, _ := strings.Cut(string(text), end)
	if want := head + begin + "\n\nsecond\n" + end + tail; string(got) != want {
		t.Errorf("the document is\n%s", got)
	}
	if err := document(filepath.Join(t.TempDir(), "none"), ""); err == nil {
		t.Error("no error without a document")
	}
}
