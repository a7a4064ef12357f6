package house_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// addingAMail is the document whose steps TestAddingAMail takes.
const addingAMail = "docs/adding-a-mail.md"

// fileBlock matches a block of the document that is a whole file, and diffBlock one that
// adds lines below another one.
var (
	fileBlock = regexp.MustCompile("(?ms)^`([^`\n]+)`:\n\n```[a-z]*\n(.*?)^```$")
	diffBlock = regexp.MustCompile("(?ms)^`([^`\n]+)`, in `(\\w+)`:\n\n```diff\n (.*?)^```$")
)

// A ninth mail, added to a copy of the tree as the document says, is a task, has a form and
// golden files, and is sent. Nothing but the steps of the document is done for it.
func TestAddingAMail(t *testing.T) {
	document := textOf(t, addingAMail)
	tree := t.TempDir()
	copyTree(t, tree)

	files := fileBlock.FindAllStringSubmatch(document, -1)
	folders, code := map[string]int{}, 0
	for _, f := range files {
		path := filepath.Join(tree, f[1])
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there already", f[1])
		}
		writeText(t, path, f[2])
		if strings.HasSuffix(f[1], ".go") {
			code++
		} else {
			folders[filepath.Dir(f[1])]++
		}
	}
	diffs := diffBlock.FindAllStringSubmatch(document, -1)
	if len(folders) != 1 || folders["templates/event_reminder"] != 4 || code != 1 || len(diffs) != 1 {
		t.Fatalf("%s has folders %v, %d files of Go and %d changes; want one folder, one file and one line", addingAMail, folders, code, len(diffs))
	}
	path := filepath.Join(tree, diffs[0][1])
	before, added, _ := strings.Cut(diffs[0][3], "\n+")
	text := textOf(t, path)
	if strings.Count(text, before+"\n") != 1 || strings.Count(added, "\n") != 1 {
		t.Fatalf("%s: %q is not once in %s, or more than one line is added", addingAMail, before, diffs[0][1])
	}
	writeText(t, path, strings.Replace(text, before+"\n", before+"\n"+added, 1))

	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = tree
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// Without paths in the objects, the build cache serves the next copy, too.
	run("build", "-trimpath", "-o", os.DevNull, ".")
	for _, command := range []string{"go test ./templates -run Golden -update\n", "go test ./tasks ./templates ./dev\n"} {
		if !strings.Contains(document, command) {
			t.Errorf("%s does not tell to run %s", addingAMail, command)
		}
	}
	run("test", "-trimpath", "-vet=off", "./templates", "-run", "Golden", "-update")
	// All tests of these packages but those in a browser, of other mails, and of faults.
	out := run("test", "-trimpath", "-vet=off", "-count=1", "-v", "-run", `^Test(EveryMail\w*|Golden|HostileText|Options|NothingUnseenIsAdded)$`,
		"./tasks", "./templates", "./dev")
	for _, passed := range []string{
		"TestEveryMailIsSent/send_event_reminder", "TestEveryMailTakesEveryValue/send_event_reminder", "TestEveryMailIsDescribed", "TestEveryMailHasTemplates",
		"TestGolden/event_reminder", "TestHostileText", "TestEveryMailHasAFolder",
		"TestEveryMailHasAForm/send_event_reminder",
	} {
		if !strings.Contains(out, "--- PASS: "+passed+" ") {
			t.Errorf("%s did not pass:\n%s", passed, out)
		}
	}
	for file, says := range map[string]string{"event_reminder.subject": "Event Reminder - Nordic Jazz Night\n", "event_reminder.txt": "Harbour Hall\n", "event_reminder.html": "23&nbsp;November"} {
		golden := textOf(t, filepath.Join(tree, "templates/testdata", file))
		if !strings.Contains(strings.ReplaceAll(golden, "\u00a0", "&nbsp;"), says) {
			t.Errorf("%s does not say %q:\n%s", file, says, golden)
		}
	}
}

// copyTree copies the files of the repository.
func copyTree(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		writeText(t, filepath.Join(to, path), string(raw))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func textOf(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
