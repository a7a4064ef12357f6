package audit

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/worker/redis/redistest"
)

const key = "0123456789abcdef-key"

// environment sets the variables of a service with a trail in Redis.
func environment(t *testing.T) (config.Config, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t)
	t.Setenv("REDIS_URL", server.URL(0))
	t.Setenv("LEDGER_DATABASE_URL", "off")
	t.Setenv("AUDIT_KEY", key)
	cfg, err := app.LoadConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cfg, server
}

// run runs a command and returns what it wrote.
func run(t *testing.T, cmd interface {
	Run(context.Context, term.Terminal) error
}) (out string, err error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runErr := cmd.Run(t.Context(), term.Terminal{In: f, Out: f, Err: f})
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), runErr
}

func do(t *testing.T, cfg config.Config, a app.Action, result error) {
	t.Helper()
	err := app.Audit(t.Context(), cfg, a, func(context.Context) (map[string]any, error) { return map[string]any{"n": 3, "x": key}, result })
	if !errors.Is(err, result) {
		t.Fatalf("Audit: %v, want %v", err, result)
	}
}

func TestCommands(t *testing.T) {
	cfg, server := environment(t)
	if out, err := run(t, listCmd{Limit: 50}); err != nil || out != "No row of the audit trail meets the conditions.\n" {
		t.Errorf("an empty trail: %v\n%s", err, out)
	}
	do(t, cfg, app.Action{Name: "dead-letters.retry", Subjects: []string{"l-1", "l-2", "l-3", "l-4"}, Details: map[string]any{"reason": "<b>&\u2028"}}, nil)
	do(t, cfg, app.Action{Name: "suppressions.release", Subjects: []string{"s-1"}}, errors.New("no such address ada.lovelace@example.com "+key))
	out, err := run(t, listCmd{Limit: 50})
	if err != nil || strings.Count(out, "\n") != 3 || !strings.Contains(out, "l-1 l-2 l-3 and 1 more") || !strings.Contains(out, "failed: no such address a***@example.com ***") {
		t.Errorf("list: %v\n%s", err, out)
	}
	if out, err := run(t, listCmd{Limit: 50, filter: filter{ID: "s-1"}}); err != nil || strings.Count(out, "\n") != 2 || strings.Contains(out, "started") {
		t.Errorf("list by id: %v\n%s", err, out)
	}
	out, err = run(t, listCmd{Limit: 50, JSON: true})
	var rows []map[string]any
	if err != nil || json.Unmarshal([]byte(out), &rows) != nil || len(rows) != 4 || rows[0]["action"] != "suppressions.release" || strings.Contains(out, key) {
		t.Errorf("list --json: %v\n%s", err, out)
	}
	out, err = run(t, verifyCmd{})
	if err != nil || !strings.Contains(out, "the trail is whole: 4 rows, 4 of them with a key") || !strings.Contains(out, "\nhead 4:") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	testExport(t)

	c := server.Conn(0)
	rows0, err := c.Do("XRANGE", "_goworker.1.stream.audit", "-", "+")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("XDEL", "_goworker.1.stream.audit", rows0.([]any)[1].([]any)[0]); err != nil {
		t.Fatal(err)
	}
	out, err = run(t, verifyCmd{})
	if !errors.Is(err, term.ErrSilent) || !strings.HasPrefix(out, "missing: row 2 is missing\n") {
		t.Errorf("verify of a trail with a row removed: %v\n%s", err, out)
	}
	out, err = run(t, verifyCmd{JSON: true})
	var report audit.Report
	if !errors.Is(err, term.ErrSilent) || json.Unmarshal([]byte(out), &report) != nil || report.Faults[0].Kind != audit.Missing || report.Faults[0].Number != 2 {
		t.Errorf("verify --json: %v\n%s", err, out)
	}
	t.Setenv("AUDIT_KEY", "")
	if out, err := run(t, verifyCmd{}); !errors.Is(err, term.ErrSilent) || !strings.Contains(out, "set AUDIT_KEY") {
		t.Errorf("verify without the key: %v\n%s", err, out)
	}
}

// testExport checks an export with the program of docs/audit.md.
func testExport(t *testing.T) {
	out, err := run(t, exportCmd{CSV: true})
	records, csvErr := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || csvErr != nil || len(records) != 5 || len(records[1]) != 15 || records[1][8] != `["l-1","l-2","l-3","l-4"]` {
		t.Errorf("export --csv: %v, %v\n%s", err, csvErr, out)
	}
	out, err = run(t, exportCmd{})
	if err != nil || strings.Count(out, "\n") != 4 {
		t.Errorf("export: %v\n%s", err, out)
	}
	page, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(page), "```python\n")
	program, _, _ = strings.Cut(program, "```")
	python := testkit.Python(t, testkit.CeleryNew)
	for name, c := range map[string]struct{ from, to, want string }{
		"as it is": {"", "", "4 rows are right"},
		"changed":  {"l-3", "l-5", "row 1 is wrong"},
		"removed":  {out[strings.Index(out, "\n"):][:strings.Index(out[strings.Index(out, "\n")+1:], "\n")+1], "", "row 3 is wrong"},
	} {
		cmd := exec.CommandContext(t.Context(), python, "-c", program, key)
		cmd.Stdin = strings.NewReader(strings.Replace(out, c.from, c.to, 1))
		got, err := cmd.CombinedOutput()
		if !strings.Contains(string(got), c.want) || (err == nil) != (c.from == "") {
			t.Errorf("the program of docs/audit.md, %s: %v\n%s", name, err, got)
		}
	}
}

// Without a place for the entry nothing is done, unless the configuration allows it.
func TestUnwritable(t *testing.T) {
	cfg, server := environment(t)
	server.Kill()
	ran := false
	act := func(context.Context) (map[string]any, error) { ran = true; return nil, nil }
	err := app.Audit(t.Context(), cfg, app.Action{Name: "x.y"}, act)
	if ran || err == nil || !strings.Contains(err.Error(), "nothing was done") || !strings.Contains(err.Error(), "AUDIT_REQUIRED=false") {
		t.Errorf("ran: %v, %v", ran, err)
	}
	cfg.Audit.Required = false
	if err := app.Audit(t.Context(), cfg, app.Action{Name: "x.y"}, act); !ran || err != nil {
		t.Errorf("ran: %v, %v", ran, err)
	}
}

// The table fits into the terminal, with any text in it.
func TestTable(t *testing.T) {
	t.Parallel()
	e := audit.Entry{ID: "x", At: time.Now(), Actor: strings.Repeat("會", 60) + "@host", Action: "dead-letters.delete", Outcome: "failed: " + strings.Repeat("word ", 60)}
	for range 2000 {
		e.IDs = append(e.IDs, "8f14e45f-ceea-467f-a1de-d1f1e1d3b6c0")
	}
	all := make([]audit.Row, 10000)
	for i := range all {
		all[i] = audit.Row{Entry: e, Number: int64(10000 - i)}
	}
	for _, columns := range []int{20, 80, 120} {
		text := table(audit.Listed{Rows: all}.Actions(), columns)
		for line := range strings.Lines(text) {
			if n := term.Cells(strings.TrimSuffix(line, "\n")); n > columns {
				t.Fatalf("%d columns of %d:\n%s", n, columns, line)
			}
		}
	}
}
