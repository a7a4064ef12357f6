package verdict

import (
	"strings"
	"unicode"
)

// Class is the cause of a failed delivery. It is finer than a [Verdict], because it decides
// whether an address may be suppressed.
type Class string

// The classes of failures.
const (
	BadAddress  Class = "bad_address"
	BadDomain   Class = "bad_domain"
	MailboxFull Class = "mailbox_full"
	TooBig      Class = "too_big"
	Content     Class = "content"
	Policy      Class = "policy"
	Reputation  Class = "reputation"
	Auth        Class = "auth"
	Sender      Class = "sender"
	Protocol    Class = "protocol"
	Transient   Class = "transient"
	Unknown     Class = "unknown"
)

// Classify returns the class of a failure with a reply code (0: none), an enhanced code ("":
// none) and the words of the server.
func Classify(code int, status, text string) Class {
	switch status {
	case "5.1.1", "5.1.3", "5.1.6", "5.1.10", "5.2.1":
		return BadAddress
	case "5.1.2", "5.4.4":
		return BadDomain
	case "5.2.2", "4.2.2":
		return MailboxFull
	case "5.2.3", "5.3.4":
		return TooBig
	}
	switch {
	case strings.HasPrefix(status, "5.6."):
		return Content
	case strings.HasPrefix(status, "5.7."):
		return Policy
	case strings.HasPrefix(status, "5.5."):
		return Protocol
	case strings.HasPrefix(status, "4."), code >= 400 && code < 500:
		return Transient
	}
	return Unknown
}

// Clean returns words of a server in one line of at most most characters, without control
// characters and with masked addresses.
func Clean(text string, most int) string {
	text = mailAddress.ReplaceAllStringFunc(text, func(address string) string {
		return "***" + address[strings.LastIndexByte(address, '@'):]
	})
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	}), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
