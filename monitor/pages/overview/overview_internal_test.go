package overview

import (
	"testing"

	"github.com/evently/workers/monitor/summary"
)

// "address 3, bad address 4" tells nobody who is woken at night what has failed.
func TestWordsOfFailures(t *testing.T) {
	t.Parallel()
	v := viewOf(&summary.Summary{Failures: []summary.Failure{{Class: "bad_address", N: 4}, {Class: "address", N: 3}, {Class: "mailbox_full", N: 1}}})
	for i, want := range []bar{{Class: "bad address", Words: "no such mailbox", N: 4}, {Class: "address", Words: "recipient refused", N: 3}, {Class: "mailbox full", N: 1}} {
		if got := v.Failures[i]; got.Class != want.Class || got.Words != want.Words || got.N != want.N {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
