package templates

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/evently/workers/internal/sorting"
)

// Check is one question that [Set.Inspect] has asked about a mail.
type Check struct {
	Name   string   // such as "Links"
	Found  string   // what there is, such as "2 links"
	Faults []string // what is wrong; none: the mail is right
}

// Inspected is a rendered mail with what the checks of its start have found.
type Inspected struct {
	Rendered
	Preheader string
	Checks    []Check
}

// faultAreas are the checks, with the beginnings of the faults that belong to each. The last one
// has the others.
var faultAreas = []struct {
	name   string
	begins []string
}{
	{"Subject", []string{"subject:"}},
	{"Preheader", []string{"preheader:"}},
	{"Size", []string{"HTML: " /* bytes */}},
	{"Links", []string{"a:", "text part: lacks the address"}},
	{"Images", []string{"img:"}},
	{"Contrast", []string{"text \""}},
	{"Text part", []string{"text part"}},
	{"Fields", []string{"a template printed"}},
	{"Structure", nil},
}

// Inspect renders a mail and asks what [New] asks about each sample.
func (s *Set) Inspect(m Mail) (i Inspected, err error) {
	if i.Rendered, err = s.Render(m); err != nil {
		return i, err
	}
	doc, err := html.Parse(strings.NewReader(i.HTML))
	if err != nil {
		return i, fmt.Errorf("parse the HTML: %w", err)
	}
	i.Preheader = preheaderOf(doc)
	found := i.found(doc)
	var faults []error
	for _, f := range lint(i.Rendered, s.colours, s.page.Logo.address()) {
		faults = append(faults, errors.New(f.text))
	}
	if i.LinkLeftOut {
		faults = append(faults, errors.New("a: a link of the data is left out, because the options do not allow it"))
	}
	for _, area := range faultAreas {
		c := Check{Name: area.name, Found: found[area.name]}
		faults = slices.DeleteFunc(faults, func(fault error) bool {
			text := fault.Error()
			mine := area.begins == nil || slices.ContainsFunc(area.begins, func(b string) bool { return strings.HasPrefix(text, b) })
			if mine {
				c.Faults = append(c.Faults, text)
			}
			return mine
		})
		i.Checks = append(i.Checks, c)
	}
	return i, nil
}

// found tells what each check has looked at.
func (i *Inspected) found(doc *html.Node) map[string]string {
	links, images, tables := 0, 0, 0
	for n := range doc.Descendants() {
		switch n.DataAtom {
		case atom.A:
			links++
		case atom.Img:
			images++
		case atom.Table:
			tables++
		}
	}
	return map[string]string{
		"Subject":   fmt.Sprintf("%d characters, %d are shown whole", runes(i.Subject), wholeSubject),
		"Preheader": fmt.Sprintf("%d characters", runes(i.Preheader)),
		"Size":      fmt.Sprintf("%d bytes of HTML, at most %d are allowed", len(i.HTML), maxHTML),
		"Links":     fmt.Sprintf("%d, each to be read in the text as well", links),
		"Images":    fmt.Sprintf("%d: these mails load nothing", images),
		"Contrast":  fmt.Sprintf("%.1f or more, in light and dark", minContrast),
		"Text part": fmt.Sprintf("%d lines that say what the HTML shows", strings.Count(i.Text, "\n")),
		"Fields":    "each field of the template has a value",
		"Structure": fmt.Sprintf("%d tables; language, title, colour schemes and width of the screen", tables),
	}
}

// preheaderOf returns the hidden line that inboxes show beside the subject.
func preheaderOf(doc *html.Node) string {
	body := find(doc, atom.Body)
	if body == nil {
		return ""
	}
	for n := range body.ChildNodes() {
		if n.Type == html.ElementNode {
			if !hidden(n) {
				return ""
			}
			return strings.TrimRight(content(n), " \u00a0\u034f\u200c\n\t")
		}
	}
	return ""
}

// Version returns a fingerprint of the templates of a kind, in all languages: the ones of the mail,
// and the ones that all mails share.
func (s *Set) Version(k Kind) string {
	sum := sha256.New()
	for _, f := range s.Files(k) {
		fmt.Fprintf(sum, "%s %d\n%s", f.Name, len(f.Text), f.Text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}

// A SetFile is a file of the set.
type SetFile struct {
	File
	Own bool // of an operator; false: embedded in the program
}

// Files returns the files of a kind: the shared ones, and those of the mail.
func (s *Set) Files(k Kind) (all []SetFile) {
	for _, name := range sorting.Keys(s.catalog.files) {
		folder, _, ok := strings.Cut(name, "/")
		if ok && folder != string(k) {
			continue
		}
		f := s.catalog.files[name]
		all = append(all, SetFile{File{Name: name, Path: f.path, Text: f.text}, f.own})
	}
	sorting.Stable(all, func(a, b SetFile) int { return strings.Count(a.Name, "/") - strings.Count(b.Name, "/") })
	return all
}

// Embedded returns the files that the program has.
func Embedded() (all []File) {
	_ = fs.WalkDir(embedded, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(embedded, name)
		all = append(all, File{Name: name, Path: name, Text: string(text)})
		return err
	})
	return all
}
