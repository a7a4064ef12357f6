package intake

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/evently/workers/mail/bounce"
	"github.com/evently/workers/mail/verp"
	"github.com/evently/workers/store/ledger"
)

// tags finds signed addresses for bounces.
type tags struct {
	tagger *verp.Tagger // nil: there are none
}

// tagged finds what looks like an address for bounces.
var tagged = regexp.MustCompile(`(?i)b\+[a-z0-9]{1,40}-[a-z0-9]{1,26}@[a-z0-9.-]{1,253}`)

// entityRef finds the field of our mails with their reference. Some services replace the
// Message-ID and keep this one.
var entityRef = regexp.MustCompile(`(?im)^x-entity-ref-id:[ \t]*([a-z0-9]{1,64})[ \t]*\r?$`)

// of returns the reference in an address, and whether the address claims to have one.
func (t tags) of(address string) (reference string, claimed bool) {
	address = strings.Trim(address, "<> ")
	if t.tagger == nil || !strings.Contains(address, "@") {
		return "", false
	}
	reference, err := t.tagger.Check(address)
	return reference, err == nil || tagged.FindString(address) == address && t.isOurDomain(address)
}

// isOurDomain reports whether an address is in the domain for bounces.
func (t tags) isOurDomain(address string) bool {
	mine, err := t.tagger.Address("1")
	return err == nil && strings.EqualFold(address[strings.LastIndexByte(address, '@'):], mine[strings.LastIndexByte(mine, '@'):])
}

// in returns the reference that all signed addresses in a text have; "" if they have several.
// forged reports whether there are only unsigned ones.
func (t tags) in(text []byte) (reference string, forged bool) {
	if t.tagger == nil {
		return "", false
	}
	const most = 100 // a hostile text may have thousands
	for _, found := range tagged.FindAll(text, most) {
		one, claimed := t.of(strings.TrimRight(string(found), ".-"))
		switch {
		case one == "":
			forged = forged || claimed
		case reference != "" && one != reference:
			return "", false
		default:
			reference = one
		}
	}
	return reference, forged && reference == ""
}

// references returns the ids by which a message names its mail, the most trusted first. The
// recipient of the envelope decides if it is an address for bounces. If not, such an address
// may be in the header, when a mailbox or a list of aliases lies between, or in the returned
// header. The tag proves as much there: it is known to those alone who saw the mail.
func (i *Intake) references(raw []byte, envelopeRecipient string, msg bounce.Message) []ledger.BounceReference {
	forged := []ledger.BounceReference{{By: ledger.MatchForged}}
	switch reference, claimed := i.tags.of(envelopeRecipient); {
	case reference != "":
		return []ledger.BounceReference{{By: ledger.MatchTag, ID: reference}}
	case claimed:
		return forged
	}
	header, _ := cutHeader(raw)
	reference, isForged := i.tags.in(header)
	switch {
	case isForged:
		return forged
	case reference == "":
		reference, _ = i.tags.of(msg.ReturnPath)
	}
	if reference == "" {
		reference, _ = i.tags.in(raw)
	}
	if reference != "" {
		return []ledger.BounceReference{{By: ledger.MatchTag, ID: reference}}
	}
	return weakReferences(msg.EnvelopeID, msg.MessageID, raw)
}

// weakReferences returns the ids that a reader of the mail may know.
func weakReferences(envelopeID, messageID string, raw []byte) (all []ledger.BounceReference) {
	add := func(by ledger.BounceMatch, id string) {
		id = strings.ToLower(strings.Trim(id, "<> \t"))
		if id != "" && !slices.ContainsFunc(all, func(r ledger.BounceReference) bool { return r.ID == id }) {
			all = append(all, ledger.BounceReference{By: by, ID: id})
		}
	}
	add(ledger.MatchEnvelopeID, envelopeID)
	local, _, _ := strings.Cut(messageID, "@")
	add(ledger.MatchMessageID, local)
	if m := entityRef.FindSubmatch(raw); m != nil {
		add(ledger.MatchMessageID, string(m[1]))
	}
	return all
}

// digestPrefix returns the part of the hash of a message that tells a forged copy from the
// true one: the forged copy must not make the true one a copy.
func digestPrefix(references []ledger.BounceReference) []byte {
	if len(references) == 0 {
		return []byte("\n")
	}
	return []byte(string(references[0].By) + " " + references[0].ID + "\n")
}

// traces are the fields that servers add on the way of a message. Two copies differ in them.
var traces = []string{
	"received", "return-path", "delivered-to", "x-original-to", "x-delivered-to", "envelope-to", "x-envelope-to", "delivery-date", "x-received",
	"authentication-results", "received-spf", "status", "x-uid", "x-spam-status", "x-spam-score", "x-spam-level", "x-spam-flag", "x-spam-checker-version",
	"arc-seal", "arc-message-signature", "arc-authentication-results", "x-virus-scanned", "x-envelope-from",
}

// canonical returns a message without its fields of the way, with line feeds alone between
// lines and without empty lines at the end.
func canonical(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	header, body := cutHeader(raw)
	var b bytes.Buffer
	skipping := false
	for n, line := range bytes.SplitAfter(header, []byte("\n")) {
		isFolded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
		if !isFolded {
			name, _, _ := bytes.Cut(line, []byte(":"))
			skipping = slices.Contains(traces, strings.ToLower(string(bytes.TrimSpace(name)))) || n == 0 && bytes.HasPrefix(line, []byte("From "))
		}
		if !skipping {
			b.Write(line)
		}
	}
	b.Write(bytes.TrimRight(body, "\n \t"))
	return b.Bytes()
}

// cutHeader splits a message after its header.
func cutHeader(raw []byte) (header, body []byte) {
	for _, end := range []string{"\n\n", "\n\r\n"} {
		if at := bytes.Index(raw, []byte(end)); at >= 0 && (header == nil || at < len(header)) {
			header, body = raw[:at+1], raw[at+1:]
		}
	}
	if header == nil {
		return raw, nil
	}
	return header, body
}
