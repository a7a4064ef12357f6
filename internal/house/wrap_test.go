package house_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "wrap the documents again")

// textWidth is the longest line of a paragraph in the documents, in characters.
const textWidth = 100

// Paragraphs and list items of the documents are wrapped by this test with -update, so that
// no one wraps them by hand.
func TestDocumentsAreWrapped(t *testing.T) {
	paths, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wrapped := wrapDocument(string(text))
		if !slices.Equal(strings.Fields(wrapped), strings.Fields(string(text))) {
			t.Fatalf("%s: wrapping would change words", path)
		}
		if wrapped == string(text) {
			continue
		}
		if !*update {
			t.Errorf("%s is not wrapped at %d columns; run go test ./internal/house -run %s -update", path, textWidth, t.Name())
		} else if err := os.WriteFile(path, []byte(wrapped), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrapDocument(t *testing.T) {
	long := strings.Repeat("word ", 19) + "word12" // 101 characters
	short := strings.TrimSuffix(long, " word12")
	for name, tt := range map[string]struct{ in, want string }{
		"a long line":            {long, short + "\nword12"},
		"short lines":            {"a\nb\n\nc", "a b\n\nc"},
		"a list":                 {"- " + long + "\n- b\n  c", "- " + short + "\n  word12\n- b c"},
		"a numbered list":        {"10. a\n    b\n11. c", "10. a b\n11. c"},
		"a second paragraph":     {"- a\n  b\n\n  c\n  d", "- a b\n\n  c d"},
		"a nested list":          {"- a\n  b\n  - c\n    d", "- a b\n  - c d"},
		"a table":                {"a\nb\n| x |\n|---|\n| " + long + " |", "a b\n| x |\n|---|\n| " + long + " |"},
		"a heading":              {"# " + long + "\na\nb", "# " + long + "\na b"},
		"a fence":                {"```\na\nb\n```\nc\nd", "```\na\nb\n```\nc d"},
		"indented code":          {"a:\n\n    b\n    c\n\nd\ne", "a:\n\n    b\n    c\n\nd e"},
		"a comment":              {"<!-- a -->\nb\nc", "<!-- a -->\nb c"},
		"a generated part":       {"<!-- x:begin -->\na\nb\n<!-- x:end -->\nc\nd", "<!-- x:begin -->\na\nb\n<!-- x:end -->\nc d"},
		"a generated rest":       {"<!-- generated from x -->\na\nb", "<!-- generated from x -->\na\nb"},
		"a generated beginning":  {"<!-- generated from x -->\na\nb\n<!-- end of the generated part -->\nc\nd", "<!-- generated from x -->\na\nb\n<!-- end of the generated part -->\nc d"},
		"code stays on one line": {strings.TrimSuffix(long, "12") + " `a b c`.", long[:94] + " word\n`a b c`."},
		"links stay on one line": {strings.TrimSuffix(long, "12") + " [a b](c), d", long[:94] + " word\n[a b](c), d"},
		"no new item":            {short + " wordx - b", short + "\nwordx - b"},
		"no new heading":         {short + " wordx # b", short + "\nwordx # b"},
		"a definition of a link": {"a\n\n[x]: y\n[z]: a", "a\n\n[x]: y\n[z]: a"},
	} {
		if got := wrapDocument(tt.in); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tt.want)
		}
		if again := wrapDocument(tt.want); again != tt.want {
			t.Errorf("%s: not stable:\n%s", name, again)
		}
	}
}

var (
	listItem = regexp.MustCompile(`^ *(?:[-*+]|\d+[.)]) +`)
	// keptLine matches a line that is no text of a paragraph: a heading, a row of a table,
	// a quotation, a comment or the definition of a link.
	keptLine       = regexp.MustCompile(`^\s*(?:#|\||>|<!--|\[[^\]]+\]: )`)
	fenceLine      = regexp.MustCompile("^ *(?:```|~~~)")
	generatedBegin = regexp.MustCompile(`^<!-- (?:\S+:begin|generated)`)
	generatedEnd   = regexp.MustCompile(`^<!-- (?:\S+:end|end of)`)
	// textUnit matches what one line must hold: code, a link, or a word, with the
	// characters that stand at them.
	textUnit = regexp.MustCompile("(?:`[^`]*`|!?\\[[^\\]]*\\]\\([^)]*\\)|[^\\s`])+|`")
	// markup matches a word that would begin another kind of block at the start of a line.
	markup = regexp.MustCompile(`^(?:[-*+>|=]+|#+|\d+[.)])$`)
)

// wrapDocument returns a Markdown document with its paragraphs and list items wrapped. It
// keeps all other lines.
func wrapDocument(text string) string {
	var w wrapper
	for line := range strings.SplitSeq(text, "\n") {
		w.line(line)
	}
	w.flush()
	return strings.Join(w.out, "\n")
}

type wrapper struct {
	out       []string
	first     string   // what the first line of the open paragraph begins with
	rest      string   // what its other lines begin with
	words     []string // of the open paragraph; nil: none is open
	inList    bool
	fenced    bool
	generated bool
}

func (w *wrapper) line(line string) {
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	switch {
	case w.generated:
		w.generated = !generatedEnd.MatchString(line)
		w.keep(line)
	case fenceLine.MatchString(line):
		w.fenced = !w.fenced
		w.keep(line)
	case w.fenced, strings.TrimSpace(line) == "":
		w.keep(line)
	case keptLine.MatchString(line):
		w.generated = generatedBegin.MatchString(line)
		w.inList = false
		w.keep(line)
	case listItem.MatchString(line) && (w.inList || len(indent) < 4):
		w.flush()
		w.inList = true
		w.first = listItem.FindString(line)
		w.rest = strings.Repeat(" ", len(w.first))
		w.add(line[len(w.first):])
	case w.words != nil:
		w.add(line)
	case len(indent) >= 4 && !w.inList:
		w.keep(line)
	default:
		w.inList = w.inList && indent != ""
		w.first, w.rest = indent, indent
		w.add(line)
	}
}

// keep ends the open paragraph and writes a line as it is.
func (w *wrapper) keep(line string) {
	w.flush()
	w.out = append(w.out, line)
}

func (w *wrapper) add(text string) { w.words = append(w.words, text) }

// flush writes the open paragraph.
func (w *wrapper) flush() {
	if w.words == nil {
		return
	}
	var units []string
	for _, unit := range textUnit.FindAllString(strings.Join(w.words, " "), -1) {
		if last := len(units) - 1; last >= 0 && markup.MatchString(unit) {
			units[last] += " " + unit
		} else {
			units = append(units, unit)
		}
	}
	w.words = nil
	line := w.first + units[0]
	for _, unit := range units[1:] {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(unit) > textWidth {
			w.out = append(w.out, line)
			line = w.rest + unit
		} else {
			line += " " + unit
		}
	}
	w.out = append(w.out, line)
}
