package templates

import (
	"errors"
	"fmt"
	"html/template"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	text "text/template"
	"text/template/parse"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/templates/internal/bound"
	"github.com/evently/workers/templates/internal/wording"
)

// baseLocale is the language of templates whose names have none.
const baseLocale = "en"

// build parses and tries all languages of a kind.
func (s *Set) build(k Kind, samples []Mail) (faults []Fault) {
	t := s.mails[k]
	t.base = &parts{kind: k, words: s.catalog.wordsOf("")}
	if faults = t.base.parse(s); len(faults) > 0 {
		return faults
	}
	faults = s.try(t.base, samples)
	for _, locale := range s.catalog.locales {
		missing, some := s.catalog.missing(k, locale)
		switch {
		case !some:
			continue
		case len(missing) > 0:
			faults = append(faults, Fault{Kind: k, Locale: locale, Warning: true, Text: fmt.Sprintf(
				"mails are not sent in this language, because %s missing; write all four parts", isMissing(missing))})
			continue
		}
		p := &parts{kind: k, locale: locale, words: s.catalog.wordsOf(locale)}
		found := p.parse(s)
		var untranslated []string
		if len(found) == 0 {
			untranslated = p.record(func() { found = s.try(p, samples) })
		}
		if len(untranslated) > 0 {
			faults = append(faults, Fault{File: s.catalog.files[localized("words.txt", locale)].path, Kind: k, Locale: locale, Warning: true, Text: fmt.Sprintf(
				"mails are not sent in this language, because words.%s.txt lacks %s", locale, quotedWords(untranslated))})
		} else if len(found) == 0 {
			t.locales[locale] = p
		}
		faults = append(faults, found...)
	}
	return faults
}

func isMissing(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " are"
}

// quotedWords returns the first words of a list, and how many there are beside them.
func quotedWords(words []string) string {
	const most = 5
	var quoted []string
	for _, w := range words[:min(most, len(words))] {
		quoted = append(quoted, strconv.Quote(w))
	}
	text := strings.Join(quoted, ", ")
	if more := len(words) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// missing returns the parts that a kind lacks in a language. some reports whether it has any,
// so that the language is meant for this kind.
func (c *catalog) missing(k Kind, locale string) (names []string, some bool) {
	for _, part := range partNames {
		name := string(k) + "/" + part + ".tmpl"
		if _, ok := c.find(name, locale); !ok {
			names = append(names, localized(name, locale))
		}
	}
	return names, len(names) < len(partNames)
}

// record returns the words without a translation that are asked for while do runs, in order.
func (p *parts) record(do func()) (untranslated []string) {
	p.words.Asked = func(key string, found bool) {
		if !found && !slices.Contains(untranslated, key) {
			untranslated = append(untranslated, key)
		}
	}
	do()
	p.words.Asked = nil
	return untranslated
}

// checkLocale returns a fault if there are no templates in the language of mails that name none.
func (s *Set) checkLocale(kinds []Kind) []Fault {
	if s.locale == "" || strings.HasPrefix(s.locale+"-", baseLocale+"-") {
		return nil
	}
	for l := s.locale; l != ""; l = wording.Parent(l) {
		if slices.Contains(s.catalog.locales, l) {
			return nil
		}
	}
	name := localized(string(kinds[0])+"/html.tmpl", s.locale)
	return []Fault{{Text: fmt.Sprintf("no templates are in the language of DEFAULT_LOCALE, %s; add files such as %s to TEMPLATES_DIR, or choose another language", s.locale, name)}}
}

// functions returns the functions of templates in one language.
func (s *Set) functions(w *wording.Words) map[string]any {
	d := s.dress
	return map[string]any{
		"look": d.look, "darkSheet": func() template.CSS { return d.dark }, "outlookSheet": func() template.CSS { return d.outlook },
		"msoHead": msoHead, "msoColumn": msoColumn, "msoColumnEnd": msoColumnEnd,
		"msoPad": msoPad, "msoPadEnd": msoPadEnd,
		"action": newAction, "status": newStatus, "step": newStep, "filler": filler,
		"column": column, "whole": whole, "upper": strings.ToUpper, "unlink": unlink, "word": w.Word,
	}
}

// boundedFunctions are the same, with bounds for the templates of operators.
func boundedFunctions(of map[string]any) map[string]any {
	plain := func(f func(string) string) func(string) (string, error) {
		return func(s string) (string, error) { return f(s), bound.Short(s) }
	}
	for _, name := range []string{"column", "whole", "upper", "word"} {
		of[name] = plain(of[name].(func(string) string))
	}
	of["unlink"] = func(s string) (template.HTML, error) { return unlink(s), bound.Short(s) }
	for name, f := range bound.Functions() {
		of[name] = f
	}
	return of
}

// parse parses the templates.
func (p *parts) parse(s *Set) (faults []Fault) {
	p.sources = map[string][]source{}
	for _, part := range partNames {
		var names []string
		switch part {
		case "html":
			names = s.catalog.shared("html")
		case "text":
			names = s.catalog.shared("txt")
		}
		for _, name := range append(names, string(p.kind)+"/"+part+".tmpl") {
			src, _ := s.catalog.find(name, p.locale)
			switch {
			case src.path != "":
				p.sources[part] = append(p.sources[part], src)
				p.bounded = p.bounded || src.own
			case strings.HasPrefix(name, "layout.") || strings.HasPrefix(name, string(p.kind)+"/"):
				return []Fault{{File: name, Kind: p.kind, Text: "parse: there is no such file"}}
			}
		}
	}
	funcs := s.functions(p.words)
	if p.bounded {
		funcs = boundedFunctions(funcs)
	}
	p.subject, faults = p.parseText(funcs, "subject", faults)
	p.preheader, faults = p.parseText(funcs, "preheader", faults)
	p.text, faults = p.parseText(funcs, "text", faults)
	p.html, faults = p.parseHTML(funcs, faults)
	return faults
}

// parseText parses a part of plain text.
func (p *parts) parseText(funcs map[string]any, part string, faults []Fault) (*text.Template, []Fault) {
	root := text.New("").Funcs(funcs).Option("missingkey=error")
	var first *text.Template
	for _, src := range p.sources[part] {
		t, err := root.New(src.path).Parse(src.text)
		if err != nil {
			faults = append(faults, p.faultOf(err, part, nil))
			continue
		}
		if first == nil {
			first = t
		}
	}
	if p.bounded {
		trees := map[string]*parse.Tree{}
		for _, t := range root.Templates() {
			trees[t.Name()] = t.Tree
		}
		faults = append(faults, p.bind(trees)...)
	}
	return first, faults
}

// parseHTML parses the HTML.
func (p *parts) parseHTML(funcs map[string]any, faults []Fault) (*template.Template, []Fault) {
	root := template.New("").Funcs(funcs).Option("missingkey=error")
	var first *template.Template
	for _, src := range p.sources["html"] {
		t, err := root.New(src.path).Parse(src.text)
		if err != nil {
			faults = append(faults, p.faultOf(err, "html", nil))
			continue
		}
		if first == nil {
			first = t
		}
	}
	if p.bounded {
		trees := map[string]*parse.Tree{}
		for _, t := range root.Templates() {
			trees[t.Name()] = t.Tree
		}
		faults = append(faults, p.bind(trees)...)
	}
	return first, faults
}

// bind refuses functions that are not for operators and templates that call themselves, and makes
// the rest countable.
func (p *parts) bind(trees map[string]*parse.Tree) (faults []Fault) {
	if t, call, ok := bound.Cycle(trees); ok {
		faults = append(faults, Fault{File: t.ParseName, Line: call.Line, Kind: p.kind, Locale: p.locale, Text: fmt.Sprintf("the template %q calls itself; write it without", call.Name)})
	}
	for _, name := range sorting.Keys(trees) {
		t := trees[name]
		if t == nil || t.Root == nil {
			continue
		}
		for _, call := range bound.Denied(t) {
			faults = append(faults, Fault{File: t.ParseName, Line: call.Line, Kind: p.kind, Locale: p.locale, Text: fmt.Sprintf("the function %q is not for mails; remove it: HTML is escaped where it must be", call.Name)})
		}
		bound.Count(t)
	}
	return faults
}

// templateError matches the errors of both packages: name, line, column, text.
var templateError = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?s)^(?:html/)?template: ?(.+?):(\d+)(?::(\d+))?: (.*)$`)
})

// faultOf returns the fault of an error of parsing or executing a part. view is its data.
func (p *parts) faultOf(err error, part string, view View) Fault {
	f := Fault{Kind: p.kind, Locale: p.locale, File: p.file(part)}
	reason := err.Error()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if m := templateError().FindStringSubmatch(e.Error()); m != nil {
			f.File, reason = m[1], m[4]
			f.Line, _ = strconv.Atoi(m[2]) // digits
			f.Column, _ = strconv.Atoi(m[3])
		}
	}
	// Behind the place stands what the template did: executing "name" at <.Field>: reason.
	if _, place, ok := strings.Cut(reason, " at <"); ok && strings.HasPrefix(reason, "executing ") {
		reason = "<" + place
	}
	f.Text = reason
	switch {
	case view != nil && strings.Contains(reason, "can't evaluate field"):
		f.Text, _, _ = strings.Cut(f.Text, " in type ")
		f.Text += "; the data has " + strings.Join(fieldsOf(view), ", ")
	case undefined(reason) != "":
		// The layout uses it, and the file of the mail has to define it.
		f.File, f.Line, f.Column = p.file(part), 0, 0
		f.Text = fmt.Sprintf("has no {{define %q}}; docs/templates.md says what a file has to define", undefined(reason))
	case strings.Contains(reason, "function ") && strings.Contains(reason, "not defined"):
		f.Text += "; docs/templates.md lists the functions"
	}
	return f
}

// undefinedError matches the errors of both packages about a template that is used and that none of
// the files defines.
var undefinedError = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:no such template "(content|hero|why)"|template "(content|hero|why)" not defined)`)
})

// undefined returns the template of a mail that an error misses, "" if it is about another fault.
func undefined(reason string) string {
	m := undefinedError().FindStringSubmatch(reason)
	if m == nil {
		return ""
	}
	return m[1] + m[2]
}

// file returns the file of the kind for a part.
func (p *parts) file(part string) string {
	all := p.sources[part]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].path
}

// fieldsOf returns the names of the fields that templates can use.
func fieldsOf(view View) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.Indirect(reflect.ValueOf(view)).Type()) {
		if f.IsExported() && !f.Anonymous {
			names = append(names, "."+f.Name)
		}
	}
	sort.Strings(names)
	return names
}
