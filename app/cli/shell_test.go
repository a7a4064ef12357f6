package cli_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/internal/testkit"
)

// shells hold what each shell is told in order to complete the words of a command line, which
// are its arguments, and to print one candidate a line.
var shells = map[string]string{
	"bash": `
source <(evently-workers completion bash)
COMP_WORDS=(evently-workers "$@")
COMP_CWORD=$#
_evently_workers
printf '%s\n' "${COMPREPLY[@]}"`,
	"zsh": `
compdef() { :; }
_files() { :; }
_describe() { print -l -- "${(@)${(@P)2}%%:*}"; }
source <(evently-workers completion zsh)
words=(evently-workers "$@")
CURRENT=$#words
_evently_workers`,
	"fish": `
evently-workers completion fish | source
complete -C"evently-workers $argv"`,
}

// testCompletion lets the real shells complete command lines.
func testCompletion(t *testing.T, p binary) {
	for shell, script := range shells {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			for _, test := range []struct {
				words []string
				want  []string // among the candidates
				not   string   // of none of them
			}{
				{[]string{"dead"}, []string{"dead-letters"}, "deliveries"},
				{[]string{""}, []string{"run", "dev", "config", "was-it-sent"}, "complete"},
				{[]string{"suppressions", ""}, []string{"list", "release"}, "run"},
				{[]string{"suppressions", "list", "--st"}, []string{"--state"}, "--json"},
				{[]string{"suppressions", "list", "--state", "e"}, []string{"expired"}, "active"},
				{[]string{"suppressions", "list", "--state", "any", "--js"}, []string{"--json"}, "--state"},
			} {
				words := test.words
				if shell == "fish" {
					words = []string{strings.Join(words, " ")}
				}
				got := complete(t, p, shell, script, words)
				for _, want := range test.want {
					if !slices.Contains(got, want) {
						t.Errorf("%q: %q has no %q", test.words, got, want)
					}
				}
				if slices.ContainsFunc(got, func(word string) bool { return strings.HasSuffix(word, "shell_test.go") }) {
					t.Errorf("%q: files among the words: %q", test.words, got)
				}
				if slices.Contains(got, test.not) {
					t.Errorf("%q: %q has %q", test.words, got, test.not)
				}
			}
		})
	}
	if out, _, code := p.run(t, nil, "complete", "--", "nonsense", ""); out != "" || code != 0 {
		t.Errorf("unknown command: exit code %d, %q", code, out)
	}
	if _, errs, code := p.run(t, nil, "completion", "tcsh"); code != 2 || !strings.Contains(errs, "bash") {
		t.Errorf("unknown shell: exit code %d, %q", code, errs)
	}
}

// complete returns the candidates that a shell finds for the last word.
func complete(t *testing.T, p binary, shell, script string, words []string) []string {
	t.Helper()
	args := []string{"-c", script}
	if shell != "fish" {
		args = append(args, shell) // $0
	}
	cmd := exec.CommandContext(t.Context(), shell, append(args, words...)...)
	cmd.Env = []string{"PATH=" + filepath.Dir(string(p)) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), testkit.RaceOptions}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		found = append(found, word)
	}
	return found
}

// testManualPage lets mandoc look for mistakes in the page, and for each command in what it
// draws.
func testManualPage(t *testing.T, p binary) {
	page, _, code := p.run(t, nil, "man")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	mandoc := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "mandoc", args...)
		cmd.Stdin = strings.NewReader(page)
		out, err := cmd.CombinedOutput()
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			t.Fatalf("%v: %v", cmd, err)
		}
		return string(out)
	}
	for line := range strings.Lines(mandoc("-Tlint", "-Wwarning")) {
		if !strings.Contains(line, "missing date") { // of a build without history
			t.Error(line)
		}
	}
	drawn := mandoc("-Tutf8", "-Owidth=78")
	for _, want := range []string{"was-it-sent", "dead-letters retry", "--state", "SYNOPSIS", "EVENTLY-WORKERS(1)"} {
		if !strings.Contains(strings.ReplaceAll(plain(drawn), "‐", "-"), want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

// plain returns what is seen of text in which letters are printed twice to look bold.
func plain(text string) string {
	var out []rune
	for _, r := range text {
		if r == '\b' {
			out = out[:len(out)-1]
			continue
		}
		out = append(out, r)
	}
	return string(out)
}

// testVersionJSON reads the version as a script would.
func testVersionJSON(t *testing.T, p binary) {
	t.Helper()
	out, _, code := p.run(t, nil, "version", "--json")
	var got struct{ Version, Go, System string }
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Version == "" || !strings.HasPrefix(got.Go, "go1.") || !strings.Contains(got.System, "/") {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}
