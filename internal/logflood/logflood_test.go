package logflood_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/internal/logflood"
)

// lines returns the messages of a log, and how many lines were said to be left out.
func lines(t *testing.T, log string) (counts map[string]int, leftOut int) {
	t.Helper()
	counts = map[string]int{}
	for line := range strings.Lines(log) {
		var l struct {
			Level, Msg, Message string
			LeftOut             int `json:"left_out"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		counts[l.Level+" "+l.Msg]++
		leftOut += l.LeftOut
	}
	return counts, leftOut
}

// A flood of one warning is bounded, what is left out is told, and the first of each kind and all
// other lines are written.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := logflood.New(slog.NewJSONHandler(&out, nil), logflood.Config{})
		log := slog.New(h)
		for second := range 3 {
			for i := range 1000 {
				log.With("task_id", fmt.Sprint(i)).Warn("mail will be retried", "error", fmt.Errorf("RCPT: 450 4.2.1 busy, id %d", 100_000+i*7))
				log.Info("mail sent", "n", i)
			}
			if second == 1 {
				log.Error("mail given up", "error", errors.New("550 5.1.1"))
				log.Warn("mail will be retried", "error", errors.New("RCPT: 451 4.3.0 disk"))
			}
			time.Sleep(time.Second + time.Millisecond)
			synctest.Wait()
		}
		counts, leftOut := lines(t, out.String())
		want := map[string]int{"INFO mail sent": 3000, "WARN mail will be retried": 31, "ERROR mail given up": 1, "WARN log lines of one kind left out": 3}
		for name, n := range want {
			if counts[name] != n {
				t.Errorf("%q: %d lines, want %d", name, counts[name], n)
			}
		}
		if leftOut != 2970 || h.LeftOut() != 2970 {
			t.Errorf("%d and %d are told to be left out, want 2970", leftOut, h.LeftOut())
		}
	})
}

// Texts that differ each time cannot fill the memory, and the end of a program tells the rest.
func TestManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := logflood.New(slog.NewJSONHandler(&out, nil), logflood.Config{PerSecond: 2, Kinds: 5})
		log := slog.New(h)
		for i := range 100 {
			log.Error("task failed", "error", errors.New(strings.Repeat("x", i)))
		}
		h.Flush()
		counts, leftOut := lines(t, out.String())
		if counts["ERROR task failed"] != 5+2 || leftOut != 93 {
			t.Errorf("%v, left out %d", counts, leftOut)
		}
		time.Sleep(2 * time.Second)
	})
}

func BenchmarkHandle(b *testing.B) {
	log := slog.New(logflood.New(slog.DiscardHandler, logflood.Config{}))
	for b.Loop() {
		log.Info("mail sent", "kind", "otp")
	}
}
