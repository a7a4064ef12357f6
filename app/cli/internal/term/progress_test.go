package term

import (
	"os"
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
	p := &Progress{Out: out, Total: 1000, Now: func() time.Time { return now }}
	p.Start()
	for range 250 {
		now = now.Add(100 * time.Millisecond)
		p.Add(1, 1)
	}
	p.Print("a fault")
	p.Next(0)
	now = now.Add(11 * time.Second)
	p.Done(70)
	p.Next(140)
	now = now.Add(11 * time.Second)
	p.Done(70)
	p.Stop()
	got, err := os.ReadFile(out.Name())
	const want = "200 of 1000, 100 failed, 40 s left\n400 of 1000, 200 failed, 30 s left\na fault\n70 so far\n70 of 140, 11 s left\n"
	if err != nil || string(got) != want {
		t.Errorf("%v, %q, want %q", err, got, want)
	}
}
