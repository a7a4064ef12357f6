package tasks_test

import (
	"strings"
	"testing"

	"github.com/evently/workers/tasks"
)

// A link that is not allowed is logged once, because only readers would notice that it is
// missing.
func TestLinkLeftOutIsLogged(t *testing.T) {
	b := newBench(t, nil)
	for _, data := range []string{`{}`, `{"booking_url": "https://evently.com/1?secret"}`, `{"booking_url": "https://evently.com/2?secret"}`} {
		if _, err := b.run(t.Context(), task(tasks.NameWaitlistNotification, `[42, `+data+`]`, `{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if log := b.logs.String(); strings.Count(log, "link left out of mail") != 1 || strings.Contains(log, "secret") {
		t.Errorf("log:\n%s", log)
	}
}
