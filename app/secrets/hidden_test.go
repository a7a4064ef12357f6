package secrets_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/evently/workers/config"
)

// The former and the present values must not be shown. Functions that hide them know a new one
// before a connection can use it.
func TestHiddenTexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"] = "u"
	w.file("ZERO_TOKEN", "token")
	w.file("REDIS_URL", "redis://u:"+canary+"r%2F1@h:6379/0")
	w.file("LEDGER_KEY", canary+"0123456789abcdef")
	w.zero["smtp-password"] = canary + "s"
	w.start()
	var mail config.Logins = w.cfg.Relays[0].Logins
	var early atomic.Bool
	w.keeper.OnHidden(func(texts []string) {
		if slices.Contains(texts, canary+"s-2") && w.next(mail) != "s-2" {
			early.Store(true)
		}
	})
	w.do(func() { w.zero["smtp-password"] = canary + "s-2"; w.token = "token-2" })
	w.file("ZERO_TOKEN", "token-2")
	w.file("REDIS_URL", "redis://u:"+canary+"r%2F2@h:6379/0")
	w.file("LEDGER_KEY", canary+"of-the-next-month") // needs a restart, and is in a file already
	w.until("all are known", func() bool {
		w.keeper.Look()
		return w.next(mail) == "s-2" && w.next(w.cfg.Redis.Logins) == "r/2" && w.state("LEDGER_KEY").Fault != ""
	})
	texts := w.keeper.Hidden()
	for _, want := range []string{
		canary + "s", canary + "s-2", canary + "r/1", canary + "r%2F1", canary + "r/2", canary + "r%2F2", "token", "token-2",
		canary + "0123456789abcdef", canary + "of-the-next-month",
	} {
		if !slices.Contains(texts, want) {
			t.Errorf("%s is not hidden", want)
		}
	}
	if !early.Load() {
		t.Error("a new value was used before it was hidden")
	}
	if !slices.IsSortedFunc(texts, func(a, b string) int { return len(b) - len(a) }) {
		t.Errorf("a text comes before a longer one: %q", texts)
	}
	for i := range 1000 { // passwords of an hour, for weeks
		w.file("REDIS_URL", fmt.Sprintf("redis://u:%sh%d@h:6379/0", canary, i))
		if i%100 == 0 {
			w.await(w.cfg.Redis.Logins, fmt.Sprint("h", i))
		}
	}
	w.await(w.cfg.Redis.Logins, "h999")
	if texts := w.keeper.Hidden(); len(texts) > 300 || !slices.Contains(texts, canary+"h999") || !slices.Contains(texts, canary+"s-2") {
		t.Errorf("%d texts are kept", len(texts))
	}
}
