package templates

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/evently/workers/templates/internal/wording"
)

// Kind names a mail. It is the name of the folder with the templates of the mail.
type Kind string

// Mail is the data of one mail. The types are in package tasks, beside the tasks that
// send them.
type Mail interface {
	Kind() Kind
	// View returns the data as the templates see it. Text of users must pass [Clean], or
	// a function of this package that calls it, such as [EventName] or [GreetedName].
	View(p Page) (View, error)
}

// InLocale returns a mail in a language, such as "de", "de-AT" or "de_AT.UTF-8". Without templates
// in that language the nearest one is taken. A name that is none is the default language.
func InLocale(m Mail, locale string) Mail {
	if locale = wording.Locale(locale); locale == "" || m == nil {
		return m
	}
	return inLocale{bare(m), locale}
}

// inLocale is a mail with the language of its reader.
type inLocale struct {
	Mail
	locale string
}

// bare returns a mail without its language.
func bare(m Mail) Mail {
	if in, ok := m.(inLocale); ok {
		return in.Mail
	}
	return m
}

// View is a struct that embeds a [Page]. Its other fields are those of one mail, so that
// a wrong field name in a template fails when [New] executes it.
type View interface{ head() *Page }

// Page is the part of a [View] that all mails have.
type Page struct {
	Brand   string
	Initial string
	Logo    *Logo  // nil: there is none
	Address string // postal address of the service; "": there is none
	SiteURL string
	Support string
	Lang    string // language of the mail, such as "en" or "de-AT"
	Dir     string // "ltr" or "rtl"
	Tone    Tone   // set by Mail.View
	Subject string // for the title; set once the subject is rendered
	Preview string // the preheader

	words       *wording.Words
	links       linkPolicy
	linkLeftOut bool
}

func (p *Page) head() *Page { return p }

// Link returns a URL of task data as the mail shows it, "" when [Options] do not allow
// it. A URL that is left out is reported by [Rendered].LinkLeftOut.
func (p *Page) Link(raw string) string {
	link := p.links.allowed(raw)
	if link == "" && strings.TrimSpace(raw) != "" {
		p.linkLeftOut = true
	}
	return link
}

// InvalidError says that no mail can be made of the data. It never has the value in it.
type InvalidError struct {
	Kind   Kind
	Field  string
	Reason string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s: %s %s", e.Kind, e.Field, e.Reason)
}

// ValidCode reports whether a mail can show a code unchanged: 1 to 32 visible characters,
// which are printable ASCII and the letters and digits of other scripts. The first and the
// last are not spaces. None is one of ". : / \ @", which links and addresses need, so that
// mail programs do not make a link of the code.
func ValidCode(code string) bool {
	if n := runes(code); n == 0 || n > maxCode || strings.TrimSpace(code) != code || strings.ContainsAny(code, `.:/\@`) {
		return false
	}
	for _, r := range code {
		seen := r >= ' ' && r <= '~' || r > unicode.MaxASCII && unicode.In(r, unicode.L, unicode.N) && !invisible(r)
		if !seen {
			return false
		}
	}
	return true
}
