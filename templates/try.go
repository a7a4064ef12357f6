package templates

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/evently/workers/internal/sorting"
)

// Probe is a text that samples have in place of all texts of users, so that [New] finds templates
// which print such a text in a way that makes markup or a link of it.
const Probe = `Zoë, see evil.example <b>now</b> & "go"`

// probeLink is what a mail program would make a link of in Probe.
const probeLink = "evil.example"

// maxWidth is the width of the widest column that fits reading panes, in pixels.
const maxWidth = 680

// secret is an optional interface of [Mail]: it returns texts that must not be in the subject or
// the preheader, because lists of mails and notifications show these.
type secret interface{ Secrets() []string }

// try renders and lints the samples of a kind. It returns the faults of the first sample that has
// any: those of the others are mostly the same.
func (s *Set) try(p *parts, samples []Mail) []Fault {
	for i, m := range samples {
		faults := s.trySample(p, m, i == 0)
		if len(faults) == 0 {
			continue
		}
		if i < len(s.sampleNames) && s.sampleNames[i] != "" {
			for j := range faults {
				faults[j].Text += " (in a mail " + s.sampleNames[i] + ")"
			}
		}
		return faults
	}
	return nil
}

func (s *Set) trySample(p *parts, m Mail, ordinary bool) (faults []Fault) {
	view, err := m.View(s.pageOf(p))
	if err != nil {
		return []Fault{{Kind: p.kind, Locale: p.locale, Text: "sample: " + err.Error()}}
	}
	r, err := s.render(p, m)
	if err != nil {
		return []Fault{p.faultOf(err, partOf(err), view)}
	}
	found := lint(r, s.colours, s.page.Logo.address())
	// A long name of an event may make a subject long. Our own words must not.
	if n := runes(r.Subject); ordinary && n > wholeSubject {
		found = append(found, finding{"subject", "", fmt.Sprintf("subject: %d characters, at most %d are shown whole", n, wholeSubject)})
	}
	if sec, ok := bare(m).(secret); ok {
		found = append(found, misplaced(r, sec.Secrets())...)
	}
	if p.bounded {
		found = append(found, escapes(r)...)
		found = append(found, unequal(r, view)...)
	}
	for _, f := range found {
		faults = append(faults, p.locate(f))
	}
	return faults
}

// partOf returns the part whose execution failed.
func partOf(err error) string {
	for _, part := range partNames {
		if strings.HasPrefix(err.Error(), "render "+part) {
			return part
		}
	}
	return "html" // "render HTML"
}

// misplaced returns a fault for each secret that lists of mails would show, and for each that a
// body lacks.
func misplaced(r Rendered, secrets []string) (found []finding) {
	doc, err := html.Parse(strings.NewReader(r.HTML))
	if err != nil {
		return nil // lint has told
	}
	preheader, body := preheaderOf(doc), content(doc)
	for _, s := range secrets {
		if strings.Contains(r.Subject, s) {
			found = append(found, finding{"subject", "", "subject: shows the code, which lists of mails and logs of servers keep; write it into the bodies only"})
		}
		if strings.Contains(preheader, s) {
			found = append(found, finding{"preheader", "", "preheader: shows the code, which lists of mails show; write it into the bodies only"})
		}
		if !strings.Contains(body, s) {
			found = append(found, finding{"html", "", "HTML: lacks the code; write {{.Code}}, in one piece"})
		}
		if !strings.Contains(r.Text, s) {
			found = append(found, finding{"text", "", "text part: lacks the code; write {{.Code}}"})
		}
	}
	return found
}

// unequal returns a fault for each value of the data that the HTML shows and the text does not.
func unequal(r Rendered, view View) (found []finding) {
	doc, err := html.Parse(strings.NewReader(r.HTML))
	if err != nil {
		return nil
	}
	body := find(doc, atom.Body)
	if body == nil {
		return nil
	}
	shown, text := fold(content(body)), fold(r.Text)
	for _, value := range valuesOf(view) {
		if value = fold(value); value != "" && strings.Contains(shown, value) && !strings.Contains(text, value) {
			found = append(found, finding{"text", "", fmt.Sprintf("text part: lacks %q, which the HTML shows", value)})
		}
	}
	return found
}

// valuesOf returns the texts of a view, without those of its page.
func valuesOf(view View) (all []string) {
	v := reflect.Indirect(reflect.ValueOf(view))
	for _, f := range reflect.VisibleFields(v.Type()) {
		if !f.IsExported() || f.Anonymous {
			continue
		}
		if _, ofPage := reflect.TypeFor[Page]().FieldByName(f.Name); ofPage {
			continue
		}
		switch value := v.FieldByIndex(f.Index).Interface().(type) {
		case string:
			all = append(all, value)
		case []Fact:
			for _, fact := range value {
				all = append(all, fact.Value)
			}
		}
	}
	return all
}

// escapes looks for the probe as markup or as a bare link, and for what is wider than a phone or
// a reading pane.
func escapes(r Rendered) (found []finding) {
	doc, err := html.Parse(strings.NewReader(r.HTML))
	if err != nil {
		return nil // lint has told
	}
	body := find(doc, atom.Body)
	if body == nil {
		return nil
	}
	told := map[string]bool{}
	tell := func(f finding) {
		if !told[f.text] {
			told[f.text] = true
			found = append(found, f)
		}
	}
	for n := range body.Descendants() {
		switch {
		case n.Type == html.TextNode && strings.Contains(n.Data, probeLink):
			tell(finding{"html", "", "escaping: a text of a user is printed so that mail programs make a link of it; write {{unlink .Name}}"})
		case n.DataAtom == atom.B && content(n) == "now":
			tell(finding{"html", "", "escaping: a text of a user becomes markup"})
		}
		if w := widthOf(n); w > maxWidth {
			tell(finding{"html", strconv.Itoa(w), fmt.Sprintf("%s: is %d pixels wide, at most %d fit; write a max-width and width:100%%", n.Data, w, maxWidth)})
		}
	}
	return found
}

// widthOf returns the fixed width of an element, 0 without one.
func widthOf(n *html.Node) int {
	widest, _ := strconv.Atoi(strings.TrimSuffix(attr(n, "width"), "px")) // per cent is no number
	for declaration := range strings.SplitSeq(attr(n, "style"), ";") {
		name, value, _ := strings.Cut(declaration, ":")
		if !slices.Contains([]string{"width", "min-width"}, strings.TrimSpace(name)) {
			continue
		}
		if w, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), "px")); err == nil {
			widest = max(widest, w)
		}
	}
	return widest
}

// locate returns the fault of a finding, with the line of the template that has the text near it.
func (p *parts) locate(f finding) Fault {
	fault := Fault{File: p.file(f.part), Kind: p.kind, Locale: p.locale, Text: f.text}
	if f.near == "" {
		return fault
	}
	sources := slices.Clone(p.sources[f.part])
	slices.Reverse(sources)
	sorting.Stable(sources, func(a, b source) int {
		if a.own != b.own && a.own {
			return -1
		}
		if a.own != b.own {
			return 1
		}
		return 0
	})
	for _, src := range sources {
		if i := strings.Index(src.text, f.near); i >= 0 {
			fault.File, fault.Line = src.path, 1+strings.Count(src.text[:i], "\n")
			return fault
		}
	}
	return fault
}
