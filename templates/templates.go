// Package templates writes the seven mails of Evently: subject, text and HTML,
// from typed data. Everything is parsed, executed with samples and linted in
// New, so that a mistake in a template stops the start and not a mail.
package templates

import (
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

// Options are the facts about the service that the mails mention.
type Options struct {
	// Brand is the name of the service; default "Evently".
	Brand string
	// SiteURL is where "what to do next" leads; https. Empty: no such button.
	SiteURL string
	// SupportAddress is where readers get help. Empty: the line is left out.
	SupportAddress string
	// LinkHosts are the hosts, with a port unless it is 443, to which links out
	// of task data may lead. The host of SiteURL is always one of them.
	LinkHosts []string
}

// Set is the parsed templates of all kinds. It is safe for concurrent use.
type Set struct {
	page  page
	mails map[Kind]*parts
}

type parts struct {
	subject, preheader, text *text.Template
	html                     *html.Template
}

// Rendered is a finished mail. The subject is one line; Text has LF line ends.
type Rendered struct {
	Subject, Text, HTML string
	// LinkLeftOut: the data has a link that Options do not allow.
	LinkLeftOut bool
}

// New parses all templates and checks a mail of each with o. The error lists every
// fault with file and line.
func New(o Options) (*Set, error) {
	// The templates are those that the tests have tried with every sample; what is new
	// is o, and a worker that starts has no time for more.
	return newSet(embedded, o, 1)
}

// newSet makes a set that has rendered the first samples of each mail.
func newSet(files fs.FS, o Options, samples int) (*Set, error) {
	p, err := newPage(o)
	if err != nil {
		return nil, err
	}
	d, err := newDress()
	if err != nil {
		return nil, fmt.Errorf("dress the mails: %w", err)
	}
	s := &Set{page: p, mails: map[Kind]*parts{}}
	for _, k := range Kinds() {
		s.mails[k] = new(parts)
	}
	if err := each(func(k Kind) error { return s.mails[k].parse(files, k, d) }); err != nil {
		return nil, err
	}
	// A wrong field name passes the parser and fails only here.
	if err := each(func(k Kind) error { return s.tryKind(k, samples) }); err != nil {
		return nil, err
	}
	return s, nil
}

// each does something for all kinds side by side, and returns all errors.
func each(do func(Kind) error) error {
	kinds := Kinds()
	faults := make([]error, len(kinds))
	var all sync.WaitGroup
	for i, k := range kinds {
		all.Go(func() { faults[i] = do(k) })
	}
	all.Wait()
	return errors.Join(faults...)
}

// tryKind renders and lints the first samples of a mail, and returns what is wrong with
// the first that has a fault.
func (s *Set) tryKind(k Kind, samples int) error {
	all := Samples(k)
	for i, m := range all[:min(samples, len(all))] {
		r, err := s.Render(m)
		if err == nil {
			err = lint(r)
		}
		// Long names make long subjects; ours alone must not.
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

// Check returns every fault that [New] would refuse o for, each of them an
// [*OptionError] below [errors.Join].
func (o Options) Check() error {
	_, err := newPage(o)
	return err
}

func newPage(o Options) (page, error) {
	p := page{Brand: cleanOr(o.Brand, maxName, "Evently"), links: linkPolicy{}}
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

// checkSupport returns what is wrong with an address that readers click on, or
// "". It is stricter than the RFCs: the characters are those that stay what they
// are in every link and every mail program.
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

// parse makes the parts of a kind.
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

// Render writes a mail. Errors are *InvalidError when the data is at fault.
// They never hold the data.
func (s *Set) Render(m Mail) (Rendered, error) {
	if m == nil {
		return Rendered{}, errors.New("render: no mail given")
	}
	return s.render(m)
}
