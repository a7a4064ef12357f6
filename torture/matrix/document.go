package matrix

import (
	"fmt"
	"slices"
	"strings"
)

const head = `# SMTP matrix

A mail server can misbehave by each class of reply, at each stage of the dialogue, with each fate of
the connection. The tables tell the outcome of the mail. The expectations are code
(` + "`torture/matrix/expect.go`" + `), and this page is made from them. A test runs each of the %d cells in
each of the three ways to send a mail, through the sender and the tasks, against a TCP server. It
compares the outcome of the task, and the mails that the server has taken. The way makes no
difference to the right outcome, so the tables do not name it.

The columns are the fates of the connection: the dialogue goes on after the reply; the connection is
reset or closed after it; nothing more is read or written; the reply comes octet by octet and never
ends.

| outcome | meaning | mails that the server has |
|---|---|---|
| sent | the result says so | exactly 1 |
| put back | tried again, no attempt spent | 0 |
| paused | the server refuses all mails of ours: put back for longer, ` + "`/health`" + ` says why | 0 |
| retried | an attempt is spent | 0 |
| final | the result says that the mail was not sent, dead letter | 0 |
| unknown | dead letter "delivery unsure"; codes and offers are sent once more, with the same Message-ID and Date | 0 or 1 |

The class 554 is a mail that is refused as spam, 552 one that is too large, 550 an unknown
recipient, 454 a login that is not possible for now. Numbers in brackets are those of the reasons at
the end.
`

// Document returns docs/smtp-matrix.md.
func Document() string {
	var b strings.Builder
	fmt.Fprintf(&b, head, len(Cells())/len(Ways))
	var reasons []string
	for _, stage := range Stages {
		fmt.Fprintf(&b, "\n## %s\n\n", title(stage))
		if stage == Connect {
			e := Expect(Cell{Connect, None, RST, Stepwise})
			fmt.Fprintf(&b, "Refused: %s.\n", e.cell(&reasons))
			continue
		}
		fmt.Fprint(&b, "| reply |")
		for _, f := range Faults {
			fmt.Fprintf(&b, " %s |", f)
		}
		fmt.Fprintf(&b, "\n|%s\n", strings.Repeat("---|", 1+len(Faults)))
		for _, row := range stage.merged(&reasons) {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(row.names, ", "), row.cells)
		}
	}
	fmt.Fprint(&b, "\n## Reasons\n\n")
	for i, why := range reasons {
		number := fmt.Sprintf("%d. ", i+1)
		b.WriteString(wrap(number+why, 100, strings.Repeat(" ", len(number))))
	}
	return b.String()
}

func title(s Stage) string { return strings.ToUpper(string(s[:1])) + string(s[1:]) }

type row struct {
	names []string
	cells string
}

// merged returns the rows of a stage; replies with equal cells share one.
func (s Stage) merged(reasons *[]string) []row {
	var rows []row
	for _, reply := range Replies {
		var cells []string
		for _, fault := range Faults {
			cells = append(cells, Expect(Cell{s, reply, fault, Stepwise}).cell(reasons))
		}
		text := strings.Join(cells, " | ")
		if i := slices.IndexFunc(rows, func(r row) bool { return r.cells == text }); i >= 0 {
			rows[i].names = append(rows[i].names, reply.Name)
			continue
		}
		rows = append(rows, row{[]string{reply.Name}, text})
	}
	return rows
}

// cell returns the outcomes with the number of the reason.
func (e Expectation) cell(reasons *[]string) string {
	i := slices.Index(*reasons, e.Why)
	if i < 0 {
		i = len(*reasons)
		*reasons = append(*reasons, e.Why)
	}
	var words []string
	for _, o := range e.Outcomes {
		words = append(words, string(o))
	}
	return fmt.Sprintf("%s (%d)", strings.Join(words, " or "), i+1)
}

// wrap breaks text into lines of at most width octets; indent begins all but the first.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			b.WriteString(line + "\n")
			line = indent + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}
