package templates

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxHTML is the largest HTML of a mail, in bytes. Gmail cuts off at 102 kB, and forwarding
// adds to it.
const maxHTML = 60_000

// wholeSubject is how many characters of a subject fit into a line of at most 78, as RFC
// 5322 section 2.1.1 recommends. Most lists of mails show as many.
const wholeSubject = 77

// finding is a fault of a rendered mail: in which part, and near which of its texts.
type finding struct{ part, near, text string }

// lint checks one rendered sample for mail programs and their readers. It returns all
// faults. logo is the address of the one image that is allowed, "" for none.
func lint(r Rendered, colours map[string]shade, logo string) []finding {
	l := &linter{rendered: r, colours: colours, logo: logo, links: map[string]bool{}, text: fold(r.Text)}
	l.plain()
	l.markup()
	doc, err := html.Parse(strings.NewReader(r.HTML))
	if err != nil {
		l.fault("html", "", "parse the HTML: %w", err)
		return l.faults
	}
	for n := range doc.Descendants() {
		if n.DataAtom == atom.A {
			l.links[content(n)] = true
		}
	}
	l.frame(doc)
	l.preheader(doc)
	l.walk(doc, ground{})
	return l.faults
}

type linter struct {
	rendered Rendered
	colours  map[string]shade
	logo     string
	links    map[string]bool // texts of the links
	text     string          // the text part on one line
	faults   []finding
}

// fault adds a fault of a part. near is a text of its template, or "".
func (l *linter) fault(part, near, format string, args ...any) {
	l.faults = append(l.faults, finding{part, near, fmt.Errorf(format, args...).Error()})
}

// plain checks the subject, the text part and the size of the HTML.
func (l *linter) plain() {
	s := l.rendered.Subject
	if s == "" || strings.IndexFunc(s, unicode.IsControl) >= 0 || runes(s) > maxSubject {
		l.fault("subject", "", "subject: want one line of 1 to %d characters", maxSubject)
	}
	if strings.TrimSpace(l.rendered.Text) == "" {
		l.fault("text", "", "text part: is empty")
	}
	for i, line := range strings.Split(l.rendered.Text, "\n") {
		if strings.IndexFunc(line, unicode.IsControl) >= 0 {
			l.fault("text", "", "text part, line %d: holds a control character", i+1)
		}
	}
	if n := len(l.rendered.HTML); n > maxHTML {
		l.fault("html", "", "HTML: %d bytes, at most %d are allowed", n, maxHTML)
	}
}

// markup looks for faults that the parser would hide: traces of html/template, and
// conditional comments without an end.
func (l *linter) markup() {
	h := l.rendered.HTML
	for _, trace := range []string{"ZgotmplZ", "<no value>", "&lt;no value&gt;", "%!s(", "%!d(", "%!v("} {
		if strings.Contains(h, trace) || strings.Contains(l.rendered.Text, trace) {
			part := "html"
			if !strings.Contains(h, trace) {
				part = "text"
			}
			l.fault(part, "", "a template printed %q", trace)
		}
	}
	open, end := strings.Count(h, "<!--[if mso]>"), strings.Count(h, "<![endif]-->")
	if open == 0 || open != end {
		l.fault("html", "[if mso]", "HTML: %d conditional comments for Outlook begin and %d end", open, end)
	}
	for _, want := range []string{"@media (prefers-color-scheme:dark)", "@media (max-width:"} {
		if !strings.Contains(h, want) {
			l.fault("html", "", "HTML: no %q", want)
		}
	}
}

// frame checks the root and the head.
func (l *linter) frame(doc *html.Node) {
	root := find(doc, atom.Html)
	if attr(root, "lang") == "" || attr(root, "dir") == "" {
		l.fault("html", "<html", "html: want lang and dir")
	}
	if title := find(doc, atom.Title); title == nil || strings.TrimSpace(content(title)) == "" {
		l.fault("html", "<title", "title: is missing")
	}
	metas := map[string]string{}
	for n := range doc.Descendants() {
		if n.DataAtom == atom.Meta {
			metas[attr(n, "name")] = attr(n, "content")
		}
	}
	if metas["color-scheme"] != "light dark" || metas["supported-color-schemes"] != "light dark" {
		l.fault("html", "color-scheme", "meta: want color-scheme and supported-color-schemes of light dark")
	}
	if !strings.HasPrefix(metas["viewport"], "width=device-width") {
		l.fault("html", "viewport", "meta: want a viewport of the width of the device")
	}
	// Yahoo turns the body into a div and drops its attributes.
	column := find(doc, atom.Table)
	for column != nil && attr(column, "lang") == "" {
		column = find(column, atom.Table)
	}
	if attr(column, "dir") == "" {
		l.fault("html", "<table", "table: want lang and dir on the column as well")
	}
}

// preheader checks the hidden line that inboxes show beside the subject.
func (l *linter) preheader(doc *html.Node) {
	var first *html.Node
	if body := find(doc, atom.Body); body != nil {
		for n := range body.ChildNodes() {
			if n.Type == html.ElementNode {
				first = n
				break
			}
		}
	}
	if first == nil || !hidden(first) {
		l.fault("html", "<body", "preheader: want a hidden element at the top of the body")
		return
	}
	shown := strings.TrimRightFunc(content(first), func(r rune) bool {
		return unicode.IsSpace(r) || r == '\u034f'
	})
	if n := runes(shown); n < minPreheader || n > maxPreheader {
		l.fault("preheader", "", "preheader: %d visible characters, want %d to %d", n, minPreheader, maxPreheader)
	}
}

// ground has the inherited properties of an element: its colours as tokens of looks or as
// #rrggbb.
type ground struct{ fg, bg string }

func (l *linter) walk(n *html.Node, g ground) {
	if n.Type == html.TextNode {
		l.words(n, g)
	}
	if n.Type == html.ElementNode {
		if n.DataAtom == atom.Head || hidden(n) {
			return
		}
		l.element(n)
		g = l.onto(n, g)
	}
	for c := range n.ChildNodes() {
		l.walk(c, g)
	}
}

func (l *linter) element(n *html.Node) {
	switch n.DataAtom {
	case atom.Table:
		if attr(n, "role") != "presentation" && !describes(n) {
			l.fault("html", "<table", "table: want role=presentation, or a header cell in each row")
		}
	case atom.Img:
		if attr(n, "alt") == "" || attr(n, "width") == "" || attr(n, "height") == "" {
			l.fault("html", "<img", "img: want alt, width and height")
		}
		if l.logo == "" || attr(n, "src") != l.logo {
			l.fault("html", "<img", "img: these mails load nothing from afar")
		}
	case atom.A:
		l.link(n)
	case atom.Script, atom.Iframe, atom.Object, atom.Embed, atom.Form, atom.Input, atom.Link, atom.Base, atom.Video, atom.Audio, atom.Svg:
		l.fault("html", "<"+n.Data, "%s: has no place in a mail", n.Data)
	}
	l.attributes(n)
	if carries(n) && !strings.Contains(l.text, fold(content(n))) {
		l.fault("text", "", "text part: lacks %q, which the HTML shows", fold(content(n)))
	}
}

// attributes checks that an element does nothing, and loads nothing but the logo.
func (l *linter) attributes(n *html.Node) {
	for _, a := range n.Attr {
		logo := l.logo != "" && n.DataAtom == atom.Img && a.Key == "src" && a.Val == l.logo
		if strings.HasPrefix(a.Key, "on") || a.Key == "src" && !logo || a.Key == "background" {
			l.fault("html", a.Key+"=", "%s: attribute %s has no place in a mail", n.Data, a.Key)
		}
		if a.Key == "style" && strings.Contains(a.Val, "url(") {
			l.fault("html", "url(", "%s: a style loads something from afar", n.Data)
		}
	}
}

// link checks the target, and that readers can copy it from the text.
func (l *linter) link(n *html.Node) {
	u, err := url.Parse(attr(n, "href"))
	switch {
	case err == nil && u.Scheme == "mailto" && u.RawQuery == "":
		if !strings.Contains(l.text, u.Opaque) {
			l.fault("text", "", "text part: lacks the address %s", u.Opaque)
		}
		return
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		l.fault("html", "href", "a: want an https or mailto target")
		return
	}
	if strings.TrimSpace(content(n)) == "" {
		l.fault("html", "href", "a: says nothing about where it leads")
	}
	if !l.links[u.String()] {
		l.fault("html", "href", "a: the address is nowhere to be read in the HTML")
	}
	if !strings.Contains(l.text, u.String()) {
		l.fault("text", "", "text part: lacks the address of a link")
	}
}

// words checks the colours of a piece of text in both colour schemes.
func (l *linter) words(n *html.Node, g ground) {
	if strings.TrimSpace(n.Data) == "" {
		return
	}
	fg, ok := l.shadeOf(g.fg)
	bg, ok2 := l.shadeOf(g.bg)
	if !ok || !ok2 {
		l.fault("html", fold(n.Data), "text %q: want a look with a text colour on one with a background, or colours in its style as #rrggbb", fold(n.Data))
		return
	}
	for _, pair := range [][3]string{{"light", fg.light, bg.light}, {"dark", fg.dark, bg.dark}} {
		ratio, err := contrast(pair[1], pair[2])
		if err != nil {
			l.fault("html", fold(n.Data), "text %q: %w", fold(n.Data), err)
		} else if ratio < minContrast {
			l.fault("html", fold(n.Data), "text %q: contrast of %s on %s is %.2f in the %s scheme, want %.1f", fold(n.Data), g.fg, g.bg, ratio, pair[0], minContrast)
		}
	}
}
