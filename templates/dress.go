package templates

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/evently/workers/internal/sorting"
)

// dress has the looks as attributes, and the style sheets of the dark scheme.
type dress struct {
	attrs         map[string]template.HTMLAttr
	dark, outlook template.CSS
}

func newDress(colours map[string]shade, looks map[string]look) (*dress, error) {
	d := &dress{attrs: map[string]template.HTMLAttr{}}
	used := map[string]bool{}
	for name, l := range looks {
		tones := []Tone{""}
		if strings.Contains(l.fg+l.bg+l.border, "@") {
			tones = []Tone{Good, Bad, Wait, Info, Calm}
		}
		for _, t := range tones {
			attr, err := l.attributes(name, t, colours, used)
			if err != nil {
				return nil, err
			}
			d.attrs[strings.TrimSpace(name+" "+string(t))] = attr
		}
	}
	d.dark, d.outlook = darkSheets(colours, used)
	return d, nil
}

// attributes returns a look as inline styles, with a class for each token that the dark
// sheets select. It adds these classes to used.
func (l look) attributes(name string, t Tone, colours map[string]shade, used map[string]bool) (template.HTMLAttr, error) {
	classes, css := []string{name}, []string{}
	if l.css != "" {
		css = append(css, l.css)
	}
	for _, c := range []struct{ token, prefix string }{{l.fg, "c"}, {l.bg, "b"}, {l.border, "l"}} {
		if c.token == "" {
			continue
		}
		token := strings.ReplaceAll(c.token, "@", string(t))
		colour, ok := colours[token]
		if !ok {
			return "", fmt.Errorf("look %q: no colour %q", name, token)
		}
		class := c.prefix + "-" + token
		used[class] = true
		classes = append(classes, class)
		css = append(css, property(c.prefix)+":"+colour.light)
	}
	attrs := fmt.Sprintf(`class="%s"`, strings.Join(classes, " "))
	if len(css) > 0 {
		attrs += fmt.Sprintf(` style="%s"`, strings.Join(css, ";"))
	}
	return template.HTMLAttr(attrs), nil
}

// property returns the CSS property that a class with the prefix sets.
func property(prefix string) string {
	switch prefix {
	case "c":
		return "color"
	case "b":
		return "background-color"
	default:
		return "border-color"
	}
}

// darkSheets returns the rules of the dark scheme, once for clients that know the media
// query and once for Outlook's apps, which mark inverted elements with attributes. There
// are two sheets because some clients drop a whole sheet for one unknown selector.
func darkSheets(colours map[string]shade, used map[string]bool) (dark, outlook template.CSS) {
	var media, marked strings.Builder
	for _, class := range sorting.Keys(used) {
		prefix, token, _ := strings.Cut(class, "-")
		rule := fmt.Sprintf(".%s{%s:%s!important}", class, property(prefix), colours[token].dark)
		media.WriteString(rule)
		switch prefix {
		case "c":
			marked.WriteString("[data-ogsc] " + rule)
		case "b":
			marked.WriteString("[data-ogsb] " + rule)
		}
	}
	return template.CSS("@media (prefers-color-scheme:dark){" + media.String() + "}"), template.CSS(marked.String())
}

// look is the template function: it returns the attributes of a named look, in a tone if
// the look depends on one. All attributes are made by newDress, so the arguments cannot
// reach a mail.
func (d *dress) look(name string, tones ...Tone) (template.HTMLAttr, error) {
	key := name
	for _, t := range tones {
		key += " " + string(t)
	}
	a, ok := d.attrs[key]
	if !ok {
		return "", fmt.Errorf("no look %q", key)
	}
	return a, nil
}
