// Package mail composes e-mails and hands them to a submission server.
//
// gopkg.in/gomail.v2 builds the MIME structure in memory. github.com/emersion/go-smtp speaks
// SMTP over connections that this package opens, secures, limits in time and reuses. This
// package adds checks that both lack: a strict grammar for recipients, no control characters
// in header fields, CRLF as the only line end, and a size limit.
//
// A [Sender] is one server. [Relays] sends over several, in an order of preference. Package
// verp makes the envelope senders by which a bounce names its mail.
//
// A failed [Sender.Send] returns a [*SendError] with the SMTP command at which it failed and
// with methods that say whether to retry. [SendError.Unknown] needs care: the server may have
// the mail, and sending it again may deliver it twice (RFC 1047).
//
// Errors, receipts and logs never contain the content of a mail or a password, and of a
// recipient only its first letter and its domain.
package mail
