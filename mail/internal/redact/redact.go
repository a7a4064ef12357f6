// Package redact removes secrets from the replies of a mail server. Servers repeat parts of
// mails, addresses and passwords, in many forms, and their words end in logs and on pages.
package redact

import "strings"

const (
	// MaxQuoted is the number of octets in a row that a reply may share with a message.
	MaxQuoted = 16

	secretPiece = 2 // shortest part of a mail's secret that is masked by itself
	loginPiece  = 4 // shortest such part of a password, which may contain ordinary words
)

// Mask stands for each removed part.
const Mask = "***"

// Secrets holds the texts that must not be shown.
type Secrets struct {
	Mail    []string // secrets of the mail, such as a code
	Login   []string // the password, in the forms in which it is sent
	Quoted  []string // the mail itself, such as its subject and its bodies
	Process []Secret // secrets of this process that were never sent to the server
	Past    *History // earlier mails; nil: none
	Live    *Live    // secrets that change while a mail is on its way; nil: none
}

// Join returns all of these secrets together.
func Join(all ...Secrets) Secrets {
	var joined Secrets
	for _, one := range all {
		joined.Process = append(joined.Process, one.Process...)
		if one.Past != nil {
			joined.Past = one.Past
		}
		if one.Live != nil {
			joined.Live = one.Live
		}
		joined.Mail = append(joined.Mail, one.Mail...)
		joined.Login = append(joined.Login, one.Login...)
		joined.Quoted = append(joined.Quoted, one.Quoted...)
	}
	return joined
}

// Text returns text with [Mask] instead of each secret.
func (s Secrets) Text(text string) string {
	text = strings.ToValidUTF8(text, "")
	// All together, because one secret may be the beginning of another one.
	m := newMarks(text)
	for _, secret := range s.Mail {
		m.markSecret(secret, secretPiece)
	}
	logins := append(s.Live.logins(), s.Login...)
	for _, secret := range logins {
		m.markSecret(secret, loginPiece)
	}
	m.markSecrets(s.Process)
	m.markSecrets(s.Live.found(text))
	text = m.masked()
	for _, message := range append(logins, s.Quoted...) {
		text = maskQuoted(text, message)
	}
	if s.Past != nil {
		text = s.Past.mask(text)
	}
	return text
}

// Error returns err, wrapped if its text contains secrets. The text of an error may contain
// words of the server, such as the names in a certificate.
func (s Secrets) Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if masked := s.Text(text); masked != text {
		return &maskedError{error: err, text: masked}
	}
	return err
}

// maskedError shows the text of an error without secrets.
type maskedError struct {
	error
	text string
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.error }
