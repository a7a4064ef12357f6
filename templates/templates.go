// Package templates writes the mails of Evently: subject, text and HTML, from typed
// data. The templates of each mail are a folder here; its data is a [Mail]. [New] parses
// the templates, executes them with samples and lints the results, so that a mistake in a
// template stops the start and not a mail.
package templates

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	html "html/template"
	"io/fs"
	"net/mail"
	"strings"
	"sync"
	text "text/template"
	"unicode/utf8"
)

//go:embed *.tmpl */*.tmpl
var embedded embed.FS

// Options are the facts about the service that the mails show.
type Options struct {
	// Brand is the name of the service; default "Evently".
	Brand string
	// SiteURL is the https URL of the web site that buttons lead to. Empty: no such
	// button.
	SiteURL string
	// SupportAddress is the address for help. Empty: the line is left out.
	SupportAddress string
	// LinkHosts are the hosts, with a port unless it is 443, that links of task data may
	// lead to. The host of SiteURL is always one of them.
	LinkHosts []string
}

// Set is the parsed templates of all kinds. It is safe for concurrent use.
type Set struct {
	page  Page
	mails map[Kind]*parts
}

type parts struct {
	subject, preheader, text *text.Template
	html                     *html.Template
}

// Rendered is a finished mail. The subject is one line; Text has LF line ends.
type Rendered struct {
	Subject, Text, HTML string
	// LinkLeftOut says that the data has a link that Options do not allow.
	LinkLeftOut bool
}

// New parses the templates of the mails in samples, and renders and lints each sample
// with o. The error lists every fault with file and line.
func New(o Options, samples []Mail) (*Set, error) { return newSet(embedded, o, samples) }

func newSet(files fs.FS, o Options, samples []Mail) (*Set, error) {
	p, err := newPage(o)
	if err != nil {
		return nil, err
	}
	d, err := newDress()
	if err != nil {
		return nil, fmt.Errorf("dress the mails: %w", err)
	}
	s := &Set{page: p, mails: map[Kind]*parts{}}
	var kinds []Kind
	ofKind := map[Kind][]Mail{}
	for _, m := range samples {
		k := m.Kind()
		if s.mails[k] == nil {
			s.mails[k] = new(parts)
			kinds = append(kinds, k)
		}
		ofKind[k] = append(ofKind[k], m)
	}
	if err := each(kinds, func(k Kind) error { return s.mails[k].parse(files, k, d) }); err != nil {
		return nil, err
	}
	// A wrong field name passes the parser and fails only here.
	if err := each(kinds, func(k Kind) error { return s.try(k, ofKind[k]) }); err != nil {
		return nil, err
	}
	return s, nil
}

// SiteURL returns the address of the web site, "" if there is none.
func (s *Set) SiteURL() string { return s.page.SiteURL }

// each calls do for all kinds concurrently, and returns all errors.
func each(kinds []Kind, do func(Kind) error) error {
	faults := make([]error, len(kinds))
	var all sync.WaitGroup
	for i, k := range kinds {
		all.Go(func() { faults[i] = do(k) })
	}
	all.Wait()
	return errors.Join(faults...)
}

// try renders and lints the samples of a mail, and returns the faults of the first sample
// that has any.
func (s *Set) try(k Kind, samples []Mail) error {
	for i, m := range samples {
		r, err := s.Render(m)
		if err == nil {
			err = lint(r)
		}
		// A long name of an event may make a subject long. Our own words must not.
		if n := runes(r.Subject); err == nil && i == 0 && n > wholeSubject {
			err = fmt.Errorf("subject: %d characters, at most %d are shown whole", n, wholeSubject)
		}
		if err != nil {
			return fmt.Errorf("%s, sample %d: %w", k, i, err)
		}
	}
	return nil
}

// OptionError is one fault of [Options].
type OptionError struct {
	Field  string // as in "SiteURL"
	Reason string // what is wrong
	Want   string // what would be right
}

func (e *OptionError) Error() string { return e.Field + ": " + e.Reason + "; want " + e.Want }

// Check returns all faults for which [New] would refuse o, each of them an [*OptionError]
// below [errors.Join].
func (o Options) Check() error {
	_, err := newPage(o)
	return err
}

func newPage(o Options) (Page, error) {
	p := Page{Brand: cmp.Or(Clean(o.Brand, MaxName), "Evently"), links: linkPolicy{}}
	first, _ := utf8.DecodeRuneInString(p.Brand)
	p.Initial = strings.ToUpper(string(first))
	var faults []error
	if o.SiteURL != "" {
		u, err := httpsURL(o.SiteURL)
		if err != nil {
			faults = append(faults, &OptionError{"SiteURL", err.Error(), "one like https://example.com"})
		} else {
			p.SiteURL = u.String()
			p.links[u.Host] = true
		}
	}
	for _, h := range o.LinkHosts {
		u, err := httpsURL("https://" + strings.TrimSpace(h))
		if err != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			faults = append(faults, &OptionError{"LinkHosts", fmt.Sprintf("%q is not a host", h), "names such as tickets.example.com, with a port unless it is 443"})
			continue
		}
		p.links[u.Host] = true
	}
	if o.SupportAddress != "" {
		if reason := checkSupport(o.SupportAddress); reason != "" {
			faults = append(faults, &OptionError{"SupportAddress", reason, "one like help@example.com"})
		}
		p.Support = o.SupportAddress
	}
	return p, errors.Join(faults...)
}

// checkSupport returns the fault of an address that readers click on, or "". It is stricter
// than the RFCs: it takes only characters that every link and every mail program leaves
// unchanged.
func checkSupport(address string) string {
	a, err := mail.ParseAddress(address)
	switch {
	case err != nil || a.Address != address || len(address) > maxAddress:
		return "not a mail address"
	case strings.Trim(strings.ToLower(address), "abcdefghijklmnopqrstuvwxyz0123456789@._+=-") != "":
		return "a character in it that not every mail program can link to"
	}
	return ""
}

// parse parses the templates of a kind.
func (p *parts) parse(files fs.FS, k Kind, d *dress) error {
	funcs := map[string]any{
		"look": d.look, "darkSheet": func() html.CSS { return d.dark }, "outlookSheet": func() html.CSS { return d.outlook },
		"msoHead": msoHead, "msoColumn": msoColumn, "msoColumnEnd": msoColumnEnd,
		"msoPad": msoPad, "msoPadEnd": msoPadEnd,
		"action": newAction, "status": newStatus, "step": newStep, "filler": filler,
		"column": column, "whole": whole, "upper": strings.ToUpper, "unlink": unlink,
	}
	h := html.New("").Funcs(funcs).Option("missingkey=error")
	for _, name := range []string{"layout.html.tmpl", "partials.html.tmpl", string(k) + "/html.tmpl"} {
		b, err := fs.ReadFile(files, name)
		if err == nil {
			_, err = h.New(name).Parse(string(b))
		}
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
	}
	p.html = h.Lookup("layout.html.tmpl")
	t := text.New("").Funcs(funcs).Option("missingkey=error")
	for _, name := range []string{"layout.txt.tmpl", string(k) + "/text.tmpl", string(k) + "/subject.tmpl", string(k) + "/preheader.tmpl"} {
		b, err := fs.ReadFile(files, name)
		if err == nil {
			_, err = t.New(name).Parse(string(b))
		}
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
	}
	p.text = t.Lookup("layout.txt.tmpl")
	p.subject = t.Lookup(string(k) + "/subject.tmpl")
	p.preheader = t.Lookup(string(k) + "/preheader.tmpl")
	return nil
}

// Render returns a mail. The error is an *InvalidError if the data is wrong. It never has
// the data in it.
func (s *Set) Render(m Mail) (Rendered, error) {
	if m == nil {
		return Rendered{}, errors.New("render: no mail given")
	}
	return s.render(m)
}
