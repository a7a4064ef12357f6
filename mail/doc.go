// Package mail composes e-mails and hands them to a submission server.
//
// gopkg.in/gomail.v2 builds the MIME structure, in memory; github.com/emersion/go-smtp
// speaks SMTP over connections that this package opens, secures, bounds in time
// and reuses. Between the two stand the checks that neither makes: a strict
// grammar for recipients, no control characters in header fields, CRLF line
// ends only, a size limit.
//
// A failed [Sender.Send] returns a [*SendError] that tells at which SMTP command
// it happened and what may be done next. One case deserves care:
// [SendError.Unknown] means that the server may have the mail, and that sending
// again may deliver it twice (RFC 1047).
//
// Everything here that ends in a log, a result or a page, errors and receipts
// included, is free of the content of the mail, of passwords, and of recipients
// beyond their first letter and their domain.
package mail
