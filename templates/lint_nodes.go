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
