// Package dkim signs mails: RFC 6376, and RFC 8463 for Ed25519. Header and body are relaxed, so
// that the changes of white space on the way do not break the signature.
package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signed are the fields that a signature covers. A reader sees them, or they decide how the body
// is read. Each is named once more than it occurs, so that none can be added.
var signed = []string{
	"From", "To", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
}

// signature is one signature to make.
type signature struct {
	domain, selector string
	key              crypto.Signer
}

// field returns the DKIM-Signature field of mail, with its CRLF. The time is at, so that the same
// mail has the same signature.
func (s signature) field(mail []byte, at time.Time) ([]byte, error) {
	head, body, ok := bytes.Cut(mail, []byte("\r\n\r\n"))
	if !ok {
		return nil, errors.New("no end of header")
	}
	fields := parse(append(head, '\r', '\n'))
	algorithm, hash := "rsa-sha256", crypto.SHA256
	if _, ok := s.key.Public().(ed25519.PublicKey); ok {
		algorithm, hash = "ed25519-sha256", 0 // RFC 8463 section 3: the digest is the message
	}
	digest := sha256.New()
	var names []string
	for _, name := range signed {
		for i := len(fields) - 1; i >= 0; i-- { // from the last one, RFC 6376 section 5.4.2
			if strings.EqualFold(fields[i].name, name) {
				names = append(names, name)
				digest.Write(fields[i].relaxed())
				digest.Write([]byte("\r\n"))
			}
		}
		names = append(names, name)
	}
	bodyHash := sha256.Sum256(relaxedBody(body))
	var b strings.Builder
	fmt.Fprintf(&b, "v=1; a=%s; c=relaxed/relaxed; d=%s;\r\n s=%s; t=%d;\r\n", algorithm, s.domain, s.selector, at.Unix())
	fold(&b, " h=", ":", names)
	b.WriteString(";\r\n bh=" + base64.StdEncoding.EncodeToString(bodyHash[:]) + ";\r\n")
	digest.Write(headerField{"DKIM-Signature", b.String() + " b="}.relaxed())
	sum, err := s.key.Sign(rand.Reader, digest.Sum(nil), hash)
	if err != nil {
		return nil, err
	}
	var parts []string
	for part := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(sum)), 70) {
		parts = append(parts, string(part))
	}
	return []byte("DKIM-Signature: " + b.String() + " b=" + strings.Join(parts, "\r\n ") + "\r\n"), nil
}

// fold writes values with a separator between them, on lines of at most 76 octets.
func fold(b *strings.Builder, begin, separator string, values []string) {
	b.WriteString(begin)
	column := len(begin)
	for i, value := range values {
		if i < len(values)-1 {
			value += separator
		}
		if column+len(value) > 76 {
			b.WriteString("\r\n ")
			column = 1
		}
		b.WriteString(value)
		column += len(value)
	}
}

// headerField is a field of a header. The value may have several lines.
type headerField struct{ name, value string }

// parse returns the fields of a header.
func parse(head []byte) (fields []headerField) {
	for line := range bytes.Lines(head) {
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			fields[len(fields)-1].value += string(line)
			continue
		}
		name, value, _ := strings.Cut(string(line), ":")
		fields = append(fields, headerField{name, value})
	}
	return fields
}

// relaxed returns the field as RFC 6376 section 3.4.2 defines it, without its CRLF.
func (f headerField) relaxed() []byte {
	return []byte(strings.ToLower(strings.TrimRight(f.name, " \t")) + ":" + strings.Join(strings.FieldsFunc(f.value, isSpace), " "))
}

func isSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// relaxedBody returns the body as RFC 6376 section 3.4.4 defines it.
func relaxedBody(body []byte) []byte {
	out := make([]byte, 0, len(body)+2)
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, " \t\r\n")
		space := false
		for _, c := range line {
			if c == ' ' || c == '\t' {
				space = true
				continue
			}
			if space {
				out = append(out, ' ')
			}
			space = false
			out = append(out, c)
		}
		out = append(out, '\r', '\n')
	}
	for bytes.HasSuffix(out, []byte("\r\n\r\n")) {
		out = out[:len(out)-2]
	}
	if len(out) == 2 {
		return nil
	}
	return out
}

// checkName returns the fault of a selector or a domain, or "".
func checkName(name string) string {
	if name == "" {
		return "empty"
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "-") != label {
			return "not a name of labels with dots between them: " + strconv.Quote(name)
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return "not a name of letters, digits, hyphens and dots: " + strconv.Quote(name)
			}
		}
	}
	return ""
}
