package term

import (
	"os"
	"strings"
	"testing"
	"time"
)

// Without a terminal there is a line each ten seconds, and no control characters.
func TestProgressWithoutTerminal(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	now := time.Now()
	p := &Progress{Out: out, Doing: "retrying dead letters", Total: 1000, Now: func() time.Time { return now }}
	p.Start()
	for range 250 {
		now = now.Add(100 * time.Millisecond)
		p.Add(1, 1)
	}
	p.Print("a fault")
	p.Does("importing rows")
	p.Next(0)
	now = now.Add(11 * time.Second)
	p.Done(70)
	p.Next(140)
	now = now.Add(11 * time.Second)
	p.Done(70)
	p.Stop()
	got, err := os.ReadFile(out.Name())
	const want = "retrying dead letters: 200 of 1000, 100 failed, 40 s left\nretrying dead letters: 400 of 1000, 200 failed, 30 s left\na fault\nimporting rows: 70 so far\nimporting rows: 70 of 140, 11 s left\n"
	if err != nil || string(got) != want {
		t.Errorf("%v, %q, want %q", err, got, want)
	}
}

// A bar of 80 columns says what is done, and how far it is. A file has the default width.
func TestProgressOnATerminal(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	now := time.Now()
	p := &Progress{Out: out, Doing: "listening to events", Total: 17, Now: func() time.Time { return now }}
	p.Start()
	p.bar = true
	now = now.Add(5 * time.Second)
	p.Add(10, 0)
	p.Does("marking dead letters as dealt with")
	p.Stop()
	got, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.ReplaceAll(string(got), "\x1b[K", ""), "\r")
	want := []string{
		"", "[#####################................] listening to events: 10 of 17, 4 s left",
		"[############..........] marking dead letters as dealt with: 10 of 17, 4 s left", "",
	}
	if len(lines) != len(want) {
		t.Fatalf("%q", lines)
	}
	for i, l := range lines {
		if l != want[i] || Cells(l) > 79 {
			t.Errorf("%d cells: %q, want %q", Cells(l), l, want[i])
		}
	}
}
