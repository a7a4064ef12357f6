package templates

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// carries reports whether n shows a fact, which the text part must show too.
func carries(n *html.Node) bool {
	if n.DataAtom == atom.Bdi {
		return true
	}
	for _, class := range strings.Fields(attr(n, "class")) {
		if slices.Contains([]string{"event", "lone", "th", "td", "amount", "value", "number", "dated", "code", "strong", "h2", "steptext"}, class) {
			return true
		}
	}
	return false
}

// describes reports whether every row of a table has a header for its data.
func describes(table *html.Node) bool {
	rows, named := 0, 0
	for n := range table.Descendants() {
		switch {
		case n.DataAtom == atom.Tr:
			rows++
		case n.DataAtom == atom.Th && attr(n, "scope") == "row":
			named++
		}
	}
	return rows > 0 && rows == named
}

func hidden(n *html.Node) bool { return strings.Contains(attr(n, "style"), "display:none") }

func find(n *html.Node, tag atom.Atom) *html.Node {
	for c := range n.Descendants() {
		if c.DataAtom == tag {
			return c
		}
	}
	return nil
}

func attr(n *html.Node, key string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func content(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// fold returns text on one line with single spaces.
func fold(s string) string { return strings.Join(strings.Fields(s), " ") }

// onto returns the colours of an element on those around it: of its looks, and of its style.
func (l *linter) onto(n *html.Node, g ground) ground {
	var fg, bg bool // from a look
	for _, class := range strings.Fields(attr(n, "class")) {
		if token, ok := strings.CutPrefix(class, "c-"); ok {
			g.fg, fg = token, true
		}
		if token, ok := strings.CutPrefix(class, "b-"); ok {
			g.bg, bg = token, true
		}
	}
	if colour := attr(n, "bgcolor"); colour != "" && !bg {
		g.bg = colour
	}
	for declaration := range strings.SplitSeq(attr(n, "style"), ";") {
		name, value, _ := strings.Cut(declaration, ":")
		value = strings.ToLower(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "!important")))
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "color":
			if !fg {
				g.fg = value
			}
		case "background-color", "background":
			if !bg && value != "transparent" && value != "none" {
				g.bg = value
			}
		}
	}
	return g
}

// shadeOf returns the colour of a token, or of #rrggbb or #rgb, which is the same in both schemes.
func (l *linter) shadeOf(colour string) (shade, bool) {
	if s, ok := l.colours[colour]; ok {
		return s, true
	}
	if len(colour) == 4 && colour[0] == '#' {
		colour = "#" + strings.Repeat(colour[1:2], 2) + strings.Repeat(colour[2:3], 2) + strings.Repeat(colour[3:4], 2)
	}
	_, err := luminance(colour)
	return shade{colour, colour}, err == nil
}
