package templates

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	minPreheader = 40
	maxPreheader = 110
)

func (s *Set) render(m Mail) (Rendered, error) {
	parts, ok := s.mails[m.Kind()]
	if !ok {
		return Rendered{}, fmt.Errorf("render: no templates for %q", m.Kind())
	}
	data, err := m.View(s.page)
	if err != nil {
		return Rendered{}, err
	}
	var buf bytes.Buffer
	if err := parts.subject.Execute(&buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render subject: %w", err)
	}
	head := data.head()
	head.Subject = Clean(buf.String(), maxSubject)

	buf.Reset()
	if err := parts.preheader.Execute(&buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render preheader: %w", err)
	}
	head.Preview = Clean(buf.String(), maxPreheader)

	buf.Reset()
	if err := parts.text.Execute(&buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render text: %w", err)
	}
	text := tidy(buf.String())

	buf.Reset()
	if err := parts.html.Execute(&buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render HTML: %w", err)
	}
	return Rendered{Subject: head.Subject, Text: text, HTML: buf.String(), LinkLeftOut: head.linkLeftOut}, nil
}

// tidy trims the lines, keeps one of several empty lines, and adds one line end at the end.
func tidy(s string) string {
	var b strings.Builder
	empty := true // at the top too
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" && empty {
			continue
		}
		empty = line == ""
		b.WriteString(line + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func runes(s string) int { return utf8.RuneCountInString(s) }

// action is a button: its label and its target.
type action struct{ Label, URL string }

func newAction(label, url string) action { return action{label, url} }

// status is the line over the headline.
type status struct {
	Tone  Tone
	Label string
}

func newStatus(t Tone, label string) status { return status{t, label} }

// step is one line of "what to do next".
type step struct{ Label, Text string }

func newStep(label, text string) step { return step{label, text} }

// filler returns how often the invisible filler is repeated.
func filler() int { return 60 }

// column pads the label of a fact, so that the values of the text part line up.
func column(label string) string {
	const width = 13
	return label + ":" + strings.Repeat(" ", max(1, width-runes(label)))
}
