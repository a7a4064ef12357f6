package templates

import (
	"slices"

	"github.com/evently/workers/templates/internal/wording"
)

// Locale returns the usual form of the name of a language, such as "de-AT" for "de_at.UTF-8"; "" if
// it is none.
func Locale(name string) string { return wording.Locale(name) }

// Word returns an English word, such as the label of a fact, in the language of the mail.
func (p *Page) Word(english string) string { return p.words.Word(english) }

// Stock returns a text of a producer or, if it is none, the first of the program's own texts. It
// translates these texts, which producers may send as well.
func (p *Page) Stock(text string, own ...string) string {
	for i, english := range own {
		translated := p.Word(english)
		if text == english || text == "" && i == 0 {
			text = translated
		}
	}
	return text
}

// Words returns the words that a translation of the mails in samples needs, in the order of
// their use. Those of plural forms have the form behind them, as in "ticket [one]".
func (s *Set) Words(locale string, samples []Mail) (all []string, err error) {
	ask := func(key string, _ bool) {
		if !slices.Contains(all, key) {
			all = append(all, key)
		}
	}
	for _, m := range samples {
		p := &parts{kind: m.Kind(), words: wording.New(locale)}
		p.words.Asked = ask
		if faults := p.parse(s); len(faults) > 0 {
			return nil, faults[0]
		}
		if _, err := s.render(p, m); err != nil {
			return nil, err
		}
	}
	return all, nil
}
