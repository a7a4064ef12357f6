package templates

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/templates/internal/wording"
)

// File is a template of an operator. It takes the place of the embedded one of its name, or
// adds a language.
type File struct {
	// Name is the name below the folder, with slashes: "otp/html.tmpl", "otp/html.de.tmpl",
	// "layout.html.tmpl", "words.de.txt". A folder may be a part of the name instead, as keys
	// of a ConfigMap have no slashes: "otp.html.de.tmpl".
	Name string
	Path string // by which faults name the file
	Text string // UTF-8 with LF line ends
}

// parts of a kind, each a file.
var partNames = []string{"subject", "preheader", "html", "text"}

// source is one file of a catalog.
type source struct {
	path, text string
	own        bool
}

// catalog has all files by their full names, those of operators over the embedded ones.
type catalog struct {
	files   map[string]source
	locales []string // in order; those with a file
	words   map[string]wording.Table
}

// newCatalog sorts out the files. The faults are those of names and words.
func newCatalog(embedded fs.FS, own []File, kinds []Kind) (*catalog, []Fault) {
	c := &catalog{files: map[string]source{}, words: map[string]wording.Table{}}
	_ = fs.WalkDir(embedded, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(embedded, name)
		c.files[name] = source{path: name, text: string(text)}
		return err
	})
	var faults []Fault
	for _, f := range own {
		name, locale, reason := fullName(f.Name, kinds)
		if reason != "" {
			faults = append(faults, Fault{File: f.Path, Text: reason})
			continue
		}
		if twice := c.files[name]; twice.own {
			faults = append(faults, Fault{File: f.Path, Text: "stands for the same template as " + twice.path + "; remove one of the two"})
			continue
		}
		c.files[name] = source{f.Path, f.Text, true}
		if locale != "" && !slices.Contains(c.locales, locale) {
			c.locales = append(c.locales, locale)
		}
		if strings.HasPrefix(name, "words.") {
			table, bad := wording.Parse(f.Text)
			c.words[locale] = table
			for _, b := range bad {
				faults = append(faults, Fault{File: f.Path, Line: b.Line, Text: b.Text})
			}
		}
	}
	sort.Strings(c.locales)
	return c, append(faults, c.unused()...)
}

// definition and use match where a template is defined and where it is used.
var (
	definition = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{\{-?\s*define\s+"([^"]+)"`) })
	use        = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{\{-?\s*(?:template|block)\s+"([^"]+)"`) })
)

// unused returns warnings about further templates that no file uses. The name of a mail with a
// mistake, such as "opt.html.tmpl", is one of them.
func (c *catalog) unused() (faults []Fault) {
	users := map[string]map[string]bool{} // files by the name of the template that they use
	for full, f := range c.files {
		for _, m := range use().FindAllStringSubmatch(f.text, -1) {
			if users[m[1]] == nil {
				users[m[1]] = map[string]bool{}
			}
			users[m[1]][full] = true
		}
	}
	for full, f := range c.files {
		stem, _, _ := strings.Cut(full, ".")
		if !f.own || strings.Contains(full, "/") || slices.Contains([]string{"layout", "partials", "words"}, stem) {
			continue
		}
		used := false
		for _, m := range definition().FindAllStringSubmatch(f.text, -1) {
			if m[1] == "content" || m[1] == "hero" || m[1] == "why" {
				continue // the file of the mail has its own
			}
			used = used || len(users[m[1]]) > 1 || len(users[m[1]]) == 1 && !users[m[1]][full]
		}
		if !used {
			faults = append(faults, Fault{File: f.path, Warning: true, Text: "no file uses a template that it defines; the files of a mail begin with its kind, as otp.html.tmpl"})
		}
	}
	return faults
}

// fullName returns the name of a file in a catalog and its language, or why it has none.
func fullName(name string, kinds []Kind) (full, locale, reason string) {
	folder, base := path.Split(name)
	folder = strings.TrimSuffix(folder, "/")
	words := strings.Split(base, ".")
	if folder == "" && len(words) > 2 && slices.Contains(kinds, Kind(words[0])) {
		folder, words = words[0], words[1:]
	}
	end := words[len(words)-1]
	words = words[:len(words)-1]
	stem, reason := stemOf(folder, words, end, kinds)
	if reason != "" {
		return "", "", reason
	}
	if len(words) > stem+1 {
		return "", "", "has too many dots in its name; write the part and the language, as in html.de.tmpl"
	}
	if len(words) > stem {
		if locale = wording.Locale(words[stem]); locale == "" {
			return "", "", fmt.Sprintf("%q is no language; write one such as de, de-AT or zh-Hant", words[stem])
		}
		words[stem] = locale
	}
	return path.Join(folder, strings.Join(append(words, end), ".")), locale, ""
}

// stemOf returns how many words of a name stand before the language, or why it is no name.
func stemOf(folder string, words []string, end string, kinds []Kind) (stem int, reason string) {
	switch {
	case len(words) == 0:
		return 0, "has no name"
	case folder != "" && !slices.Contains(kinds, Kind(folder)):
		return 0, fmt.Sprintf("there is no kind of mail %q; kinds are %s", folder, joinKinds(kinds))
	case folder != "" && (end != "tmpl" || !slices.Contains(partNames, words[0])):
		return 0, fmt.Sprintf("a mail has no part of this name; parts are %s.tmpl, with a language as in html.de.tmpl", strings.Join(partNames, ".tmpl, "))
	case folder != "", words[0] == "words" && end == "txt":
		return 1, ""
	case end == "tmpl" && len(words) > 1 && (words[1] == "html" || words[1] == "txt"):
		return 2, ""
	}
	return 0, "is no template; names are layout.html.tmpl, layout.txt.tmpl, partials.html.tmpl, words.de.txt, and folders such as otp"
}

func joinKinds(kinds []Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// localized returns the name of a file in a language: "otp/html.de.tmpl".
func localized(name, locale string) string {
	if locale == "" {
		return name
	}
	end := path.Ext(name)
	return strings.TrimSuffix(name, end) + "." + locale + end
}

// find returns a file in a language or one that it falls back to; ok is false if there is none
// of these, and only one without a language.
func (c *catalog) find(name, locale string) (found source, ok bool) {
	for l := locale; l != ""; l = wording.Parent(l) {
		if s, ok := c.files[localized(name, l)]; ok {
			return s, true
		}
	}
	return c.files[name], locale == ""
}

// shared returns the names of the templates that all mails share, with an ending: "html" or
// "txt". The layout is the first.
func (c *catalog) shared(end string) []string {
	names := map[string]bool{}
	for full := range c.files {
		words := strings.Split(full, ".")
		if !strings.Contains(full, "/") && len(words) > 2 && words[1] == end {
			names[words[0]+"."+end+".tmpl"] = true
		}
	}
	layout := "layout." + end + ".tmpl"
	delete(names, layout)
	return append([]string{layout}, sorting.Keys(names)...)
}

// wordsOf returns the words of a language, nil for English as the program has it.
func (c *catalog) wordsOf(locale string) *wording.Words {
	if locale == "" {
		if t, ok := c.words[""]; ok {
			return wording.Reworded(t)
		}
		return nil
	}
	var tables []wording.Table
	for l := locale; l != ""; l = wording.Parent(l) {
		if t, ok := c.words[l]; ok {
			tables = append(tables, t)
		}
	}
	return wording.New(locale, tables...)
}

// Fault is one thing that is wrong with templates, or incomplete.
type Fault struct {
	File    string `json:"file,omitempty"` // "": it is none of a file
	Line    int    `json:"line,omitempty"` // 0: it is about the whole file
	Column  int    `json:"column,omitempty"`
	Kind    Kind   `json:"kind,omitempty"` // "": it is about all mails
	Locale  string `json:"locale,omitempty"`
	Text    string `json:"text"`              // what is wrong, and what to do
	Warning bool   `json:"warning,omitempty"` // templates with it are used nevertheless
}

// Error returns the fault on one line, as compilers do: file:line:column: text.
func (f Fault) Error() string {
	where := f.File
	if f.Line > 0 {
		where += fmt.Sprintf(":%d", f.Line)
	}
	if f.Line > 0 && f.Column > 0 {
		where += fmt.Sprintf(":%d", f.Column)
	}
	text := f.Text
	if f.Locale != "" {
		text = f.Locale + ": " + text
	}
	if f.Kind != "" {
		text = string(f.Kind) + ": " + text
	}
	if where != "" {
		text = where + ": " + text
	}
	return text
}

// compareFaults orders by file and line.
func compareFaults(a, b Fault) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
}
