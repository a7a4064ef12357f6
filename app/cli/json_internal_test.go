package cli

import (
	"testing"

	"github.com/alecthomas/kong"
)

// withoutJSON are the commands that print no data for scripts, or have another form of it.
var withoutJSON = map[string]string{
	"run":                 "works; its log is JSON",
	"monitor":             "works; its log is JSON",
	"dev":                 "works until it is stopped",
	"completion":          "prints a script of a shell",
	"complete":            "prints what the shells read",
	"man":                 "prints a manual page",
	"monitor-user":        "prints the line of a file",
	"bounces webhook-url": "prints one path",
	"ledger migrations":   "prints SQL",
	"audit export":        "prints JSON lines without a flag",
	"suppressions export": "prints CSV, which the import reads",
	"templates preview":   "serves pages, or writes files",
	"templates export":    "writes files",
}

// Scripts read what commands print by --json. A command that has no such flag says here why.
func TestCommandsPrintJSON(t *testing.T) {
	var p program
	parser, err := kong.New(&p, kong.Name("evently-workers"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, node := range parser.Model.Leaves(false) {
		name := node.FullPath()[len("evently-workers "):]
		seen[name] = true
		has := false
		for _, f := range node.Flags {
			has = has || f.Name == "json" && f.IsBool()
		}
		reason, excepted := withoutJSON[name]
		switch {
		case !has && !excepted:
			t.Errorf("%s has no --json", name)
		case has && excepted:
			t.Errorf("%s has --json, and is listed as one that %s", name, reason)
		}
	}
	for name := range withoutJSON {
		if !seen[name] {
			t.Errorf("%s is listed, and is no command", name)
		}
	}
}
