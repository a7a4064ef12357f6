package search_test

import (
	"testing"
	"time"

	"github.com/evently/workers/monitor/pages/internal/search"
	"github.com/evently/workers/store/ledger"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	f, err := search.Parse(" user:42 Kind:otp kind:welcome domain:gmail.com state:dead http://x 8f14:e45f", search.MailNames).Filter()
	if err == nil {
		t.Errorf("two tasks: %+v", f)
	}
	f, err = search.Parse("user:42 Kind:otp kind:welcome domain:gmail.com state:dead class:address ada@example.com id:1", search.MailNames).Filter()
	if err != nil || *f.UserID != 42 || len(f.Kinds) != 2 || f.Domain != "gmail.com" || len(f.States) != 1 || f.States[0] != ledger.Dead || f.Address != "ada@example.com" || f.TaskID != "id:1" || f.Classes[0] != "address" {
		t.Errorf("%+v, %v", f, err)
	}
	for _, wrong := range []string{"user:x", "state:lost", "address:ada"} {
		if _, err := search.Parse(wrong, search.MailNames).Filter(); err == nil {
			t.Errorf("%q: no error", wrong)
		}
	}
}

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "90m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7), "2026-11-29": now.Add(-12 * time.Hour), "2026-11-29T11:30": now.Add(-30 * time.Minute),
	} {
		if got, err := search.Since(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, wrong := range []string{"soon", "-1h", "9999999999d"} {
		if got, err := search.Since(wrong, now); err == nil {
			t.Errorf("%q: %v", wrong, got)
		}
	}
}
