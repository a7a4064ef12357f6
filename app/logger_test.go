package app

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/evently/workers/config"
)

// hostile are names and texts that others choose. Each tries to forge a line, to steer the
// terminal, or to turn the direction of what follows.
var hostile = []string{
	"task\r\n{\"level\":\"ERROR\",\"msg\":\"forged\"}", "task\nlevel=ERROR msg=forged", "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\u009b31m", "\x00\x07\x08\x7f",
	"\u202etxt.exe", "\u2066a\u2069", "\u200f\u061c", "a\u200bb\ufeff", "line\u2028para\u2029", "\U000e0041tag", "\xff\xfe broken", "soft\u00adhyphen", `quote"\`, "ünï ©ode 漢字 👍",
}

// logTo returns a logger of the program to a file, and a function that ends it and returns its text.
func logTo(t *testing.T, format string) (log *slog.Logger, written func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return NewLogger(f, config.Service{LogFormat: format}), func() string {
		f.Close()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
}

// No text of others reaches the log raw, in either format: a record is one line, and none of
// its characters steers a terminal.
func TestHostileTextsInLog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		log, written := logTo(t, format)
		for _, text := range hostile {
			log.Info(text, "task", text, "error", errors.New(text), text, "as a key", slog.Group(text, "inner", text), "list", []string{text}, "any", map[string]any{text: text})
			log.With("worker", text).WithGroup("g").Info("x", "bytes", []byte(text))
		}
		lines := strings.Split(strings.TrimSuffix(written(), "\n"), "\n")
		if len(lines) != 2*len(hostile) {
			t.Errorf("%s: %d lines, want %d", format, len(lines), 2*len(hostile))
		}
		for i, line := range lines {
			for _, r := range line {
				if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
					t.Errorf("%s: %U is in %q", format, r, line)
				}
			}
			if format != "json" {
				continue
			}
			var record map[string]any
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Errorf("%v in %q", err, line)
			}
			if want := strings.ToValidUTF8(hostile[i/2], "\ufffd"); i%2 == 0 && record["task"] != want && !strings.Contains(want, "broken") {
				t.Errorf("the task is %q, want %q", record["task"], want)
			}
		}
	}
}

func TestEscapeJSONKeepsTheRest(t *testing.T) {
	plain := []byte(`{"msg":"ünï ©ode 漢字 👍 plain"}`)
	if n := testing.AllocsPerRun(100, func() { escapeJSON(plain) }); n != 0 || string(escapeJSON(plain)) != string(plain) {
		t.Errorf("%v allocations, %s", n, escapeJSON(plain))
	}
}

// A flood of one warning is bounded in either format, and counted. Other lines are all written.
func TestFloodInLog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		log, written := logTo(t, format)
		const warnings = 100_000
		for range warnings {
			log.Warn("mail will be retried", "error", "connection refused")
		}
		for range 50 {
			log.Info("mail sent")
		}
		flushLog(log)
		text := written()
		if n := strings.Count(text, "connection refused"); n < 10 || n > warnings/2 {
			t.Errorf("%s: %d of %d warnings are written", format, n, warnings)
		}
		if n := strings.Count(text, "mail sent"); n != 50 {
			t.Errorf("%s: %d of 50 other lines are written", format, n)
		}
		if !strings.Contains(text, "log lines of one kind left out") {
			t.Errorf("%s: nothing tells that lines were left out", format)
		}
	}
}
