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
	"slices"
	"strings"
	"sync"
	text "text/template"
	"unicode/utf8"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/templates/internal/wording"
)

//go:embed *.tmpl */*.tmpl
var embedded embed.FS

// Options are the facts about the service that the mails show.
type Options struct {
	// Brand is the name of the service; default "Evently".
	Brand string
	// Color is the colour of buttons and of the initial, as #rrggbb. LinkColor is that of links
	// and accents, ButtonTextColor that of the text on buttons. Empty: derived from Color, so
	// that they can be read; without Color, those of Evently.
	Color, LinkColor, ButtonTextColor string
	// Logo takes the place of the initial and the name in the head; nil: there is none.
	Logo *Logo
	// Address is the postal address in the foot, on one line. Empty: the line is left out.
	Address string
	// SiteURL is the https URL of the web site that buttons lead to. Empty: no such
	// button.
	SiteURL string
	// SupportAddress is the address for help. Empty: the line is left out.
	SupportAddress string
	// LinkHosts are the hosts, with a port unless it is 443, that links of task data may
	// lead to. The host of SiteURL is always one of them.
	LinkHosts []string

	// Locale is the language of mails whose data names none, or one that has no templates;
	// default: English.
	Locale string
	// Files are the templates of an operator. Their functions, size and steps are bounded.
	Files []File
	// SampleNames tell, for faults, what is special about the samples of each kind, in their
	// order: "with little data".
	SampleNames []string
}

// Set is the parsed templates of all kinds. It is safe for concurrent use.
type Set struct {
	page     Page
	colours  map[string]shade
	dress    *dress
	locale   string // of mails whose data names none; "": that of files without a language
	catalog  *catalog
	mails    map[Kind]*translations
	warnings []Fault

	sampleNames []string
}

// translations are the templates of a kind.
type translations struct {
	base    *parts
	locales map[string]*parts // complete ones
}

// parts are the templates of a kind in one language.
type parts struct {
	kind                     Kind
	locale                   string // "": English, and files without a language
	words                    *wording.Words
	bounded                  bool // some are of an operator
	subject, preheader, text *text.Template
	html                     *html.Template
	sources                  map[string][]source // by the name of the part; the one of the kind is the last
}

// Rendered is a finished mail. The subject is one line; Text has LF line ends.
type Rendered struct {
	Subject, Text, HTML string
	// Locale is the language of the mail.
	Locale string
	// LinkLeftOut says that the data has a link that Options do not allow.
	LinkLeftOut bool
}

// New parses the templates of the mails in samples, and renders and lints each sample
// with o. The first sample of a kind is an ordinary mail. The error is of type [Faults], with
// file and line, unless Options are wrong.
func New(o Options, samples []Mail) (*Set, error) { return newSet(embedded, o, samples) }

func newSet(files fs.FS, o Options, samples []Mail) (*Set, error) {
	p, err := newPage(o)
	if err != nil {
		return nil, err
	}
	s := &Set{page: p, colours: o.palette(), locale: wording.Locale(o.Locale), mails: map[Kind]*translations{}, sampleNames: o.SampleNames}
	if s.dress, err = newDress(s.colours, o.looks()); err != nil {
		return nil, fmt.Errorf("dress the mails: %w", err)
	}
	var kinds []Kind
	ofKind := map[Kind][]Mail{}
	for _, m := range samples {
		k := m.Kind()
		if s.mails[k] == nil {
			s.mails[k] = &translations{locales: map[string]*parts{}}
			kinds = append(kinds, k)
		}
		ofKind[k] = append(ofKind[k], m)
	}
	faults := Faults(nil)
	s.catalog, faults = newCatalog(files, o.Files, kinds)
	found := each(kinds, func(k Kind) []Fault { return s.build(k, ofKind[k]) })
	faults = append(faults, found...)
	faults = append(faults, s.checkLocale(kinds)...)
	sorting.By(faults, compareFaults)
	faults = slices.CompactFunc(faults, func(a, b Fault) bool {
		if a.Line > 0 { // one mistake, met in several languages or mails
			b.Kind, b.Locale = a.Kind, a.Locale
		}
		return a == b
	})
	if faults.fatal() {
		return nil, faults
	}
	s.warnings = faults
	return s, nil
}

// Faults are all faults of templates, in the order of their files.
type Faults []Fault

// Error returns one fault a line, without the warnings.
func (f Faults) Error() string {
	const most = 20
	return f.Short(most)
}

// Short returns the first n faults, one a line, and how many there are beside them.
func (f Faults) Short(n int) string {
	var lines []string
	for _, fault := range f {
		if !fault.Warning {
			lines = append(lines, fault.Error())
		}
	}
	if more := len(lines) - n; more > 0 {
		lines = append(lines[:n], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// fatal reports whether there is more than warnings.
func (f Faults) fatal() bool {
	return slices.ContainsFunc(f, func(fault Fault) bool { return !fault.Warning })
}

// Warnings are what is incomplete: languages in which a kind of mails is not sent, because
// something is missing.
func (s *Set) Warnings() []Fault { return s.warnings }

// Locales returns the languages in which a kind is sent, in order. The first one is English, or
// the language of templates whose names have none.
func (s *Set) Locales(k Kind) []string {
	t := s.mails[k]
	if t == nil {
		return nil
	}
	return append([]string{baseLocale}, sorting.Keys(t.locales)...)
}

// SiteURL returns the address of the web site, "" if there is none.
func (s *Set) SiteURL() string { return s.page.SiteURL }

// each calls do for all kinds concurrently, and returns all faults.
func each(kinds []Kind, do func(Kind) []Fault) (all []Fault) {
	faults := make([][]Fault, len(kinds))
	var running sync.WaitGroup
	for i, k := range kinds {
		running.Go(func() { faults[i] = do(k) })
	}
	running.Wait()
	return slices.Concat(faults...)
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
	p := Page{Brand: cmp.Or(Clean(o.Brand, MaxName), "Evently"), Lang: baseLocale, Dir: "ltr", links: linkPolicy{}}
	first, _ := utf8.DecodeRuneInString(p.Brand)
	p.Initial = strings.ToUpper(string(first))
	faults := o.checkBrand(&p)
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

// Render returns a mail in the language that [InLocale] has set, or in the nearest one that
// there is. The error is an *InvalidError if the data is wrong. It never has the data in it.
func (s *Set) Render(m Mail) (Rendered, error) {
	if m == nil {
		return Rendered{}, errors.New("render: no mail given")
	}
	p, err := s.choose(m)
	if err != nil {
		return Rendered{}, err
	}
	return s.render(p, m)
}
