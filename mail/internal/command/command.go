// Package command writes the commands of a mail transaction, with the parameters of the extensions
// that the server offers.
package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"
)

// Offered reports whether the server offers an extension.
type Offered func(extension string) bool

// Mail returns the command MAIL for the sender from, without CRLF. Options of extensions that the
// server lacks are left out, except SMTPUTF8, which must be offered.
func Mail(offered Offered, from string, o smtp.MailOptions) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s>", from)
	if offered("8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if o.Size > 0 && offered("SIZE") {
		fmt.Fprintf(&b, " SIZE=%d", o.Size)
	}
	if o.UTF8 {
		if !offered("SMTPUTF8") {
			return "", errors.New("the server offers no SMTPUTF8")
		}
		b.WriteString(" SMTPUTF8")
	}
	if offered("DSN") {
		if o.Return != "" {
			b.WriteString(" RET=" + string(o.Return))
		}
		if o.EnvelopeID != "" {
			b.WriteString(" ENVID=" + xtext(o.EnvelopeID))
		}
	}
	return line(b.String())
}

// Rcpt returns the command RCPT for the recipient to, without CRLF. Options of extensions that
// the server lacks are left out.
func Rcpt(offered Offered, to string, o smtp.RcptOptions) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "RCPT TO:<%s>", to)
	if !offered("DSN") {
		return line(b.String())
	}
	for i, notify := range o.Notify {
		b.WriteString([]string{" NOTIFY=", ","}[min(i, 1)] + string(notify))
	}
	switch {
	case o.OriginalRecipient == "":
	case o.OriginalRecipientType == smtp.DSNAddressTypeRFC822:
		b.WriteString(" ORCPT=rfc822;" + xtext(o.OriginalRecipient))
	case o.OriginalRecipientType == smtp.DSNAddressTypeUTF8:
		b.WriteString(" ORCPT=utf-8;" + utf8Address(o.OriginalRecipient, offered("SMTPUTF8")))
	default:
		return "", errors.New("unknown type of the original recipient")
	}
	return line(b.String())
}

// line refuses a command of several lines, which would be several commands.
func line(s string) (string, error) {
	if strings.ContainsAny(s, "\r\n\x00") {
		return "", errors.New("line end in a command")
	}
	return s, nil
}

// xtext encodes a parameter, RFC 3461 section 4.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "+%02X", c)
		}
	}
	return b.String()
}

// utf8Address encodes an address, RFC 6533 section 3: as it is where SMTPUTF8 is offered, and in
// ASCII otherwise.
func utf8Address(s string, asIs bool) string {
	var b strings.Builder
	for _, c := range s {
		if c > ' ' && c < 0x7f && !strings.ContainsRune(`+=\`, c) || c > 0x7f && asIs {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		}
	}
	return b.String()
}
