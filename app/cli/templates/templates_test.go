package templates

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
)

// terminal returns a terminal, and what was written to it.
func terminal(t *testing.T) (term.Terminal, func() string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	return term.Terminal{Out: out, Err: out}, func() string {
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func lint(t *testing.T, c lintCmd) (string, error) {
	t.Helper()
	tty, out := terminal(t)
	err := c.Run(context.Background(), tty)
	return out(), err
}

// The exported templates are right, a translation in progress is a warning, and a spoilt file is a
// fault with its line.
func TestExportAndLint(t *testing.T) {
	t.Setenv("TEMPLATES_DIR", "")
	dir := filepath.Join(t.TempDir(), "mails")
	tty, _ := terminal(t)
	if err := (exportCmd{Dir: dir}).Run(t.Context(), tty); err != nil {
		t.Fatal(err)
	}
	if err := (exportCmd{Dir: dir}).Run(t.Context(), tty); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("export onto files: %v", err)
	}
	if out, err := lint(t, lintCmd{Dir: dir, Strict: true}); err != nil || out != "no faults: 7 mails, 1 language\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if err := (exportCmd{Dir: dir, Locale: "de_AT"}).Run(t.Context(), tty); err != nil {
		t.Fatal(err)
	}
	words := filepath.Join(dir, "words.de-AT.txt")
	if out, err := lint(t, lintCmd{Dir: dir}); err != nil || !strings.Contains(out, "warning: "+words+": otp: de-AT: mails are not sent in this language") {
		t.Errorf("%v\n%s", err, out)
	}
	exit, ok := errors.AsType[*term.ExitError](second(lint(t, lintCmd{Dir: dir, Strict: true})))
	if !ok || exit.Code != term.ExitFailure {
		t.Errorf("strict: %v", exit)
	}
	text, err := os.ReadFile(words)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i := 2; i < len(lines); i++ {
		lines[i] = strings.TrimPrefix(lines[i], "# ")
	}
	if err := os.WriteFile(words, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := lint(t, lintCmd{Dir: dir, Strict: true}); err != nil || out != "no faults: 7 mails, 2 languages\n" {
		t.Errorf("all words: %v\n%s", err, out)
	}
	spoilt := filepath.Join(dir, "otp", "text.tmpl")
	if err := os.WriteFile(spoilt, []byte("{{define \"why\"}}{{end}}\n{{define \"content\"}}{{.Cod}}{{end}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := lint(t, lintCmd{Dir: dir, JSON: true})
	var r linted
	if e, ok := errors.AsType[*term.ExitError](err); !ok || e.Code != term.ExitFailure || json.Unmarshal([]byte(out), &r) != nil || r.OK {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(r.Faults) != 1 || r.Faults[0].File != spoilt || r.Faults[0].Line != 2 || r.Faults[0].Kind != "otp" {
		t.Errorf("%+v", r.Faults)
	}
	if _, err := lint(t, lintCmd{Dir: filepath.Join(dir, "gone")}); err == nil {
		t.Error("a folder that is not there is right")
	}
}

func second(_ string, err error) error { return err }

// The root of the preview, which the head of its pages leads to, is no missing page.
func TestPreviewRoot(t *testing.T) {
	t.Parallel()
	tty, out := terminal(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (previewCmd{Listen: "127.0.0.1:0"}).Run(ctx, tty) }()
	for end := time.Now().Add(30 * time.Second); !strings.HasSuffix(out(), "\n"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no address: %s", out())
		}
	}
	page := strings.TrimSpace(out())
	r, err := http.Get(strings.TrimSuffix(page, "templates"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK || r.Request.URL.String() != page {
		t.Errorf("status %d of %s, want %s", r.StatusCode, r.Request.URL, page)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The written pages have each mail in each language.
func TestPreviewToFiles(t *testing.T) {
	t.Setenv("BRAND_NAME", "Fest & Co")
	dir := t.TempDir()
	tty, out := terminal(t)
	err := (previewCmd{Dir: "../../../templates/testdata/own", Out: dir}).Run(t.Context(), tty)
	if err != nil || !strings.Contains(out(), filepath.Join(dir, "index.html")) {
		t.Fatalf("%v\n%s", err, out())
	}
	for name, want := range map[string]string{
		"index.html": "otp.en.dark.html", "booking_confirmation.de-AT.light.html": "Veranstaltung", "booking_confirmation.de.txt": "Fest & Co", "otp.en.dark.html": "Fest &amp; Co",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (previewCmd{Listen: "0.0.0.0:0"}).Run(t.Context(), tty); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("%v", err)
	}
}
