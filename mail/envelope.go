package mail

import (
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/mail/verp"
)

// bounceAddress returns the envelope sender of the mail with that id.
func bounceAddress(bounces *verp.Tagger, ref string) (Address, error) {
	text, err := bounces.Address(ref)
	local, domain, _ := strings.Cut(text, "@")
	return Address{Local: local, Domain: domain}, err
}

// sameAs reports whether a mail of both has the same sender, Message-ID and address for bounces.
func (id identity) sameAs(other identity) bool {
	const ref = "1"
	if id.name != other.name || id.from != other.from || id.replyTo != other.replyTo || (id.bounces == nil) != (other.bounces == nil) {
		return false
	}
	if id.bounces == nil {
		return true
	}
	one, _ := id.bounces.Address(ref)
	two, _ := other.bounces.Address(ref)
	return one == two
}

// The client omits the parameters of DSN (RFC 3461) unless the server offers it.

// mailOptions returns the parameters of MAIL. The envelope id is that of the Message-ID, so that
// a notification can be told to be about this mail. It must not repeat the body with its codes.
func (m Composed) mailOptions() smtp.MailOptions {
	return smtp.MailOptions{
		Size:       int64(len(m.Bytes)),
		UTF8:       m.To.UTF8(),
		Return:     smtp.DSNReturnHeaders,
		EnvelopeID: m.ref,
	}
}

// rcptOptions returns the parameters of RCPT. The original recipient is in the notification even
// if the mail was forwarded, RFC 3461 section 4.2 and RFC 6533 section 3.
func (m Composed) rcptOptions() smtp.RcptOptions {
	original := smtp.DSNAddressTypeRFC822
	if m.To.UTF8() {
		original = smtp.DSNAddressTypeUTF8
	}
	return smtp.RcptOptions{
		Notify:                []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed},
		OriginalRecipientType: original,
		OriginalRecipient:     m.To.String(),
	}
}
