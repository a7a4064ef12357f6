package shell

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// writePage writes the manual page of the program in the macros of man(7). Without a time of
// the build the page has no date.
func writePage(b *bytes.Buffer, app *kong.Application, built time.Time) {
	date := ""
	if !built.IsZero() {
		date = built.UTC().Format(time.DateOnly)
	}
	fmt.Fprintf(b, ".TH %s 1 \"%s\"\n", roff(strings.ToUpper(app.Name)), date)
	section(b, "NAME")
	first, rest, _ := strings.Cut(app.Help, "\n\n")
	summary, _, _ := strings.Cut(strings.Join(strings.Fields(first), " "), ":")
	fmt.Fprintf(b, "%s \\- %s\n", roff(app.Name), roff(lower(strings.TrimSuffix(summary, "."))))
	section(b, "SYNOPSIS")
	b.WriteString(".nf\n")
	for _, leaf := range app.Leaves(true) {
		fmt.Fprintf(b, "\\fB%s\\fR %s\n", roff(leaf.FullPath()), roff(synopsis(leaf)))
	}
	b.WriteString(".fi\n")
	section(b, "DESCRIPTION")
	text(b, first+"\n\n"+rest)
	section(b, "COMMANDS")
	for _, leaf := range app.Leaves(true) {
		command(b, leaf)
	}
}

// synopsis is what follows the name of a command.
func synopsis(node *kong.Node) string {
	return strings.TrimSpace(strings.TrimPrefix(node.Summary(), node.Path()))
}

func command(b *bytes.Buffer, node *kong.Node) {
	fmt.Fprintf(b, ".SS %s\n", roff(strings.TrimSpace(strings.TrimPrefix(node.FullPath(), root(node).Name))))
	text(b, node.Help+"\n\n"+node.Detail)
	for _, p := range node.Positional {
		fmt.Fprintf(b, ".TP\n.I %s\n%s\n", roff(p.Summary()), roff(p.Help))
	}
	for _, f := range node.Flags {
		if !f.Hidden && f.Name != "help" {
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(flagName(f)), roff(f.Help))
		}
	}
}

func root(node *kong.Node) *kong.Node {
	for node.Parent != nil {
		node = node.Parent
	}
	return node
}

func flagName(f *kong.Flag) string {
	name := "--" + f.Name
	if f.Short != 0 {
		name = "-" + string(f.Short) + ", " + name
	}
	if f.IsBool() {
		return name
	}
	return name + "=" + strings.ToUpper(f.FormatPlaceHolder())
}

func section(b *bytes.Buffer, title string) { fmt.Fprintf(b, ".SH %s\n", title) }

// text writes the paragraphs of a section. Indented ones keep their lines.
func text(b *bytes.Buffer, s string) {
	between := ""
	for paragraph := range strings.SplitSeq(strings.Trim(s, "\n"), "\n\n") {
		if strings.TrimSpace(paragraph) == "" {
			continue
		}
		b.WriteString(between)
		between = ".PP\n"
		if strings.HasPrefix(paragraph, " ") {
			fmt.Fprintf(b, ".nf\n%s\n.fi\n", roff(paragraph))
			continue
		}
		b.WriteString(roff(paragraph) + "\n")
	}
}

// roff escapes text for roff: no line of it is a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
