package tasks

import (
	"strings"

	"github.com/evently/workers/mail"
)

// mailboxOf returns what the spellings of one mailbox have in common, for limits by recipient:
// an attacker who spells an address in many ways must not get more mails to it. Besides
// case, quotes and the forms of a domain these are a tag behind a plus sign (RFC 5233), and
// the dots that Gmail does not see.
func mailboxOf(address string) string {
	a, err := mail.ParseAddress(mail.TidyAddress(address))
	if err != nil {
		return strings.ToLower(address)
	}
	local := strings.ToLower(strings.Trim(a.Local, `"`))
	if base, _, tagged := strings.Cut(local, "+"); tagged && base != "" {
		local = base
	}
	domain := strings.ToLower(a.Domain)
	if domain == "googlemail.com" {
		domain = "gmail.com"
	}
	if domain == "gmail.com" {
		local = strings.ReplaceAll(local, ".", "")
	}
	return local + "@" + domain
}
