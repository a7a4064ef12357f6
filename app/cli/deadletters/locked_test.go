package deadletters

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

func TestTellLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	locked := desk.New(broker.DeadLetter{ID: "a", Locked: &broker.LockedError{ID: "a", Err: errors.New("no key")}})
	tellLocked(term.Terminal{Err: out}, []desk.Item{desk.New(broker.DeadLetter{ID: "b"})})
	tellLocked(term.Terminal{Err: out}, []desk.Item{locked, desk.New(broker.DeadLetter{ID: "b"}), locked})
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "cannot be decrypted: 2; set DEAD_LETTER_KEY") {
		t.Errorf("%v, %q", err, text)
	}
}
