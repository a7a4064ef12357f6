package templates

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/evently/workers/templates/internal/bound"
	"github.com/evently/workers/templates/internal/wording"
)

const (
	minPreheader = 40
	maxPreheader = 110
)

// choose returns the templates for a mail.
func (s *Set) choose(m Mail) (*parts, error) {
	t, ok := s.mails[m.Kind()]
	if !ok {
		return nil, fmt.Errorf("render: no templates for %q", m.Kind())
	}
	if len(t.locales) == 0 {
		return t.base, nil
	}
	if in, ok := m.(inLocale); ok {
		for l := in.locale; l != ""; l = wording.Parent(l) {
			if p := t.locales[l]; p != nil {
				return p, nil
			}
			if l == baseLocale {
				return t.base, nil
			}
		}
	}
	for l := s.locale; l != ""; l = wording.Parent(l) {
		if p := t.locales[l]; p != nil {
			return p, nil
		}
	}
	return t.base, nil
}

// pageOf returns the page of a language.
func (s *Set) pageOf(p *parts) Page {
	page := s.page
	page.words = p.words
	if p.locale != "" {
		page.Lang = p.locale
		if wording.IsRightToLeft(p.locale) {
			page.Dir = "rtl"
		}
	}
	return page
}

func (s *Set) render(p *parts, m Mail) (Rendered, error) {
	data, err := m.View(s.pageOf(p))
	if err != nil {
		return Rendered{}, err
	}
	var buf bytes.Buffer
	if err := p.execute(p.subject, &buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render subject: %w", err)
	}
	head := data.head()
	head.Subject = Clean(buf.String(), maxSubject)

	buf.Reset()
	if err := p.execute(p.preheader, &buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render preheader: %w", err)
	}
	head.Preview = Clean(buf.String(), maxPreheader)

	buf.Reset()
	if err := p.execute(p.text, &buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render text: %w", err)
	}
	text := tidy(buf.String())

	buf.Reset()
	if err := p.execute(p.html, &buf, data); err != nil {
		return Rendered{}, fmt.Errorf("render HTML: %w", err)
	}
	return Rendered{Subject: head.Subject, Text: text, HTML: buf.String(), Locale: head.Lang, LinkLeftOut: head.linkLeftOut}, nil
}

// executer is a template of package text/template or html/template.
type executer interface {
	Execute(w io.Writer, data any) error
}

// execute runs a template, within bounds if it is of an operator.
func (p *parts) execute(t executer, buf *bytes.Buffer, data View) error {
	if !p.bounded {
		return t.Execute(buf, data)
	}
	return t.Execute(&bound.Writer{Buffer: buf}, data)
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
