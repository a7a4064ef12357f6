package ledger_test

import (
	"encoding/json"
	"testing"

	"github.com/evently/workers/store/ledger"
)

func TestStates(t *testing.T) {
	t.Parallel()
	for _, s := range ledger.States() {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got ledger.State
		if err := json.Unmarshal(text, &got); err != nil || got != s || !s.IsKnown() {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if n := len(ledger.States()); n != 11 {
		t.Errorf("%d states", n)
	}
	if ledger.State(7).IsKnown() || ledger.State(7).String() != "State(7)" {
		t.Error("an unknown state")
	}
	if _, err := ledger.ParseState("sent"); err == nil {
		t.Error("sent is no state")
	}
}

func TestSupersedes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		old, next   ledger.State
		later, want bool
	}{
		{ledger.Sending, ledger.Deferred, true, true},
		{ledger.Deferred, ledger.Sending, true, true}, // the next attempt
		{ledger.Deferred, ledger.Sending, false, false},
		{ledger.Sending, ledger.Accepted, false, true},
		{ledger.Accepted, ledger.Sending, true, false},
		{ledger.Accepted, ledger.Unknown, true, false},
		{ledger.Unknown, ledger.Accepted, false, true},
		{ledger.Dead, ledger.Sending, true, true}, // replayed
		{ledger.Dead, ledger.Deferred, false, false},
		{ledger.Accepted, ledger.Bounced, false, true}, // the bounce was read first
		{ledger.Bounced, ledger.Accepted, true, false},
		{ledger.Bounced, ledger.Complained, true, true},
		{ledger.Accepted, ledger.Accepted, true, false},
	} {
		if got := c.next.Supersedes(c.old, c.later); got != c.want {
			t.Errorf("%v after %v, later %v: %v", c.next, c.old, c.later, got)
		}
	}
}
