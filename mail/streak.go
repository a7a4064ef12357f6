package mail

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
)

const (
	// sameRefusals is how many different recipients the server must have refused
	// in the same words, without taking a mail in between, for the refusal to be
	// about us.
	sameRefusals = 5

	maxStreaks = 16 // different refusals that are counted at one time
)

// streaks counts the recipients of each refusal since the server last took a
// mail. The count sees what no text says: that all mails are refused.
type streaks struct {
	mu   sync.Mutex
	last []streak // the one that was met last comes last
}

type streak struct {
	key        string
	recipients []string // sameRefusals at most
}

// accepted forgets all refusals: the server works, and takes mails of ours.
func (s *streaks) accepted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = nil
}

// refused notes the refusal of a mail to recipient and returns how many
// different recipients have met it.
func (s *streaks) refused(recipient, key string) int {
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
	one.note(strings.ToLower(recipient))
	if len(s.last) == maxStreaks {
		s.last = append(s.last[:0], s.last[1:]...)
	}
	s.last = append(s.last, one)
	return len(one.recipients)
}

func (s *streak) note(recipient string) {
	if len(s.recipients) == sameRefusals {
		return
	}
	for _, known := range s.recipients {
		if known == recipient {
			return
		}
	}
	s.recipients = append(s.recipients, recipient)
}

// streakKey returns what makes two refusals the same: codes and words, without
// what differs from mail to mail.
func streakKey(code int, status [3]int, text string) string {
	fields := strings.Fields(wordsOf(text))
	words := fields[:0]
	for _, word := range fields {
		if !strings.ContainsFunc(word, unicode.IsDigit) && word != "@" {
			words = append(words, word)
		}
	}
	return fmt.Sprint(code, status, words)
}
