package mails

import (
	"testing"

	"github.com/evently/workers/store/ledger"
)

// The further mails of an answer have a list where the search box of deliveries has such a word.
func TestAllOfAnAnswer(t *testing.T) {
	t.Parallel()
	user := int64(7)
	m := ledger.Mail{UserID: &user, Booking: "BK-7"}
	for of, want := range map[string]string{
		"ada@mail.example": "/deliveries?q=ada%40mail.example", "7": "/deliveries?q=user%3A7", "BK-7": "/deliveries?q=booking%3ABK-7",
		"4F46E121": "", "<d0b1@evently.com>": "",
	} {
		if got := allHref(m, of); got != want {
			t.Errorf("%q: %q, want %q", of, got, want)
		}
	}
}
