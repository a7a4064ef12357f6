package workertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/evently/workers/worker/broker"
)

// eventually waits for a condition that time brings about.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(suitePatience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", suitePatience, what)
		}
	}
}

func testLease(t *testing.T, f Fixture) {
	ctx := context.Background()
	lease := func(name, owner string, d time.Duration) bool {
		t.Helper()
		held, err := f.can.Leaser.Lease(ctx, name, owner, d)
		if err != nil {
			t.Fatalf("Lease: %v", err)
		}
		return held
	}
	release := func(name, owner string) {
		t.Helper()
		if err := f.can.Leaser.Release(ctx, name, owner); err != nil {
			t.Fatalf("Release: %v", err)
		}
	}
	if !lease("x", "me", time.Hour) {
		t.Error("a lease that is free is refused")
	}
	if !lease("x", "me", time.Hour) {
		t.Error("a lease is not renewed")
	}
	if lease("x", "you", time.Hour) {
		t.Error("two owners hold one lease")
	}
	if !lease("y", "you", time.Hour) {
		t.Error("the lease of another name is refused")
	}
	release("x", "you") // which does not hold it
	if lease("x", "you", time.Hour) {
		t.Error("a lease was released by another owner")
	}
	release("x", "me")
	if !lease("x", "you", 50*time.Millisecond) {
		t.Error("a released lease is refused")
	}
	eventually(t, "a lease that has run out is granted to another owner", func() bool { return lease("x", "me", time.Hour) })
	if lease("x", "you", time.Hour) {
		t.Error("an owner still holds a lease that has run out")
	}
}

func testBoard(t *testing.T, f Fixture) {
	ctx := context.Background()
	posted := func(names ...string) (texts []string) {
		t.Helper()
		values, err := f.can.Board.Posted(ctx, names...)
		if err != nil {
			t.Fatalf("Posted: %v", err)
		}
		for _, v := range values {
			if v == nil {
				texts = append(texts, "none")
			} else {
				texts = append(texts, string(v))
			}
		}
		return texts
	}
	post := func(name, value string, d time.Duration) {
		t.Helper()
		if err := f.can.Board.Post(ctx, name, []byte(value), d); err != nil {
			t.Fatalf("Post: %v", err)
		}
	}
	post("a", "first", time.Hour)
	post("a", "second", time.Hour)
	post("empty", "", time.Hour)
	post("brief", "soon gone", 50*time.Millisecond)
	if got, want := posted("a", "unheard of", "empty"), []string{"second", "none", ""}; !slices.Equal(got, want) {
		t.Errorf("posted are %q, want %q", got, want)
	}
	eventually(t, "a notice whose time is over is gone", func() bool { return posted("brief")[0] == "none" })
	if err := f.can.Board.Unpost(ctx, "a", "unheard of"); err != nil {
		t.Fatalf("Unpost: %v", err)
	}
	if got := posted("a", "empty"); !slices.Equal(got, []string{"none", ""}) {
		t.Errorf("posted after Unpost are %q", got)
	}
	if got := posted(); len(got) != 0 {
		t.Errorf("posted under no name are %q", got)
	}
	if err := f.can.Board.Unpost(ctx); err != nil {
		t.Errorf("Unpost of no name: %v", err)
	}
	if err := f.can.Board.Post(ctx, "large", make([]byte, broker.MaxNotice+1), time.Hour); err == nil {
		t.Error("a notice larger than MaxNotice is accepted")
	}
}
