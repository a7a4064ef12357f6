package verdict

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
)

const (
	// SameRefusals is the number of different recipients in a row after which the same
	// refusal is about the account. An accepted mail ends the row.
	SameRefusals = 5

	maxStreaks = 16 // different refusals that are counted at a time
)

// Streaks counts the recipients of each refusal since the server last accepted a mail. The
// count shows that a server refuses all mails, which no text says. Its methods may be called
// by several goroutines.
type Streaks struct {
	mu   sync.Mutex
	last []streak // the latest refusal comes last
}

// streak is one refusal with its recipients.
type streak struct {
	key        string
	recipients []string // at most SameRefusals
}

// Accepted ends all rows, because the server accepted a mail.
func (s *Streaks) Accepted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = nil
}

// Refused records the refusal of a mail to recipient and returns how many different
// recipients met the same one.
func (s *Streaks) Refused(recipient string, code int, status [3]int, text string) int {
	key := streakKey(code, status, text)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.last)
	for i := range s.last {
		if s.last[i].key == key {
			at = i
		}
	}
	one := streak{key: key}
	if at < len(s.last) {
		one = s.last[at]
		s.last = append(s.last[:at], s.last[at+1:]...)
	}
	one.add(strings.ToLower(recipient))
	if len(s.last) == maxStreaks {
		s.last = append(s.last[:0], s.last[1:]...)
	}
	s.last = append(s.last, one)
	return len(one.recipients)
}

func (s *streak) add(recipient string) {
	if len(s.recipients) == SameRefusals {
		return
	}
	for _, known := range s.recipients {
		if known == recipient {
			return
		}
	}
	s.recipients = append(s.recipients, recipient)
}

// streakKey returns the codes and words of a refusal without the parts that differ from mail
// to mail.
func streakKey(code int, status [3]int, text string) string {
	fields := strings.Fields(normalize(text))
	words := fields[:0]
	for _, word := range fields {
		if !strings.ContainsFunc(word, unicode.IsDigit) && word != "@" {
			words = append(words, word)
		}
	}
	return fmt.Sprint(code, status, words)
}
