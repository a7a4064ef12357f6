package mail

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Limits of RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.3, in octets. The path
// limit of 256 includes the angle brackets.
const (
	maxLocalPart = 64
	maxAddress   = 254
)

// ErrAddress matches every [*AddressError] by [errors.Is].
var ErrAddress = errors.New("not a usable e-mail address")

// AddressError is the refusal of an address by [ParseAddress].
type AddressError struct {
	Masked string // the address as [MaskAddress] shows it
	Reason string
}

func (e *AddressError) Error() string { return "address " + e.Masked + ": " + e.Reason }

// Is reports whether target is [ErrAddress].
func (e *AddressError) Is(target error) bool { return target == ErrAddress }

// Address is a mailbox that needs no further quoting in an SMTP envelope or a header field.
// [ParseAddress] makes one.
type Address struct {
	Local  string // with its quotes, if any
	Domain string // A-labels, lower case
}

func (a Address) String() string { return a.Local + "@" + a.Domain }

// UTF8 reports whether the address needs a server with SMTPUTF8 (RFC 6531). Only the local
// part can need it, because the domain consists of A-labels.
func (a Address) UTF8() bool { return !isASCII(a.Local) }

// ParseAddress parses exactly one addr-spec. It refuses everything else that RFC 5322 allows:
// display names, angle brackets, lists, source routes, comments, white space, IP literals.
// [TidyAddress] removes some of them.
//
// The local part is a dot-atom, or a quoted string of the same characters with dots at any
// place. A lenient parser cannot read it as a second address or as an SMTP parameter. Two
// dots in a row or a dot at an edge, as in old addresses of NTT docomo, are quoted by the
// rules of RFC 5321 section 4.1.2.
//
// The domain has at least two labels and may end in a dot. An internationalised domain is
// composed (NFC) and converted to A-labels (RFC 5891); ideographic and full-width dots are
// dots.
//
// All errors are of type [*AddressError].
func ParseAddress(s string) (Address, error) {
	refuse := func(reason string) (Address, error) {
		return Address{}, &AddressError{Masked: MaskAddress(s), Reason: reason}
	}
	switch {
	case s == "":
		return refuse("empty")
	case len(s) > 4*maxAddress: // U-labels may be longer than their A-labels
		return refuse("too long")
	case !utf8.ValidString(s):
		return refuse("not valid UTF-8")
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return refuse("no @")
	}
	local, domain := quoteDots(norm.NFC.String(s[:at])), s[at+1:]
	if reason := checkLocal(local); reason != "" {
		return refuse(reason)
	}
	ascii, reason := asciiDomain(domain)
	if reason != "" {
		return refuse(reason)
	}
	a := Address{Local: local, Domain: ascii}
	if len(a.Local)+1+len(a.Domain) > maxAddress {
		return refuse("longer than 254 octets")
	}
	return a, nil
}

// checkLocal returns the reason why a local part is refused, or "".
func checkLocal(local string) string {
	if len(local) > maxLocalPart {
		return "local part longer than 64 octets"
	}
	atoms := local
	quoted := len(local) >= 2 && local[0] == '"' && local[len(local)-1] == '"'
	if quoted {
		atoms = local[1 : len(local)-1]
	}
	if strings.Trim(atoms, ".") == "" {
		return "local part empty"
	}
	for _, r := range atoms {
		if r != '.' && !isAtext(r) {
			return "character in the local part that is not allowed"
		}
	}
	if first, _ := utf8.DecodeRuneInString(atoms); unicode.IsMark(first) {
		return "local part begins with a combining mark"
	}
	// Software that normalises turns compatibility forms, such as a full-width @, into
	// special characters. RFC 6530 section 10.1 advises against them.
	if !norm.NFKC.IsNormalString(atoms) {
		return "local part not in normal form"
	}
	return ""
}

// quoteDots quotes a local part with dots at places where a dot-atom has none.
func quoteDots(local string) string {
	if strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		if !strings.Contains(local, `"`) && strings.Trim(local, ".") != "" {
			return `"` + local + `"`
		}
	}
	return local
}

// isAtext reports whether r is atext of RFC 5322 section 3.2.3, or a visible character of
// UTF-8, which RFC 6531 section 3.3 adds.
func isAtext(r rune) bool {
	switch {
	case r >= utf8.RuneSelf:
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !isBlank(r)
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// isBlank reports whether a graphic character shows nothing, such as a filler or a variation
// selector, so that two mailboxes would look the same. The replacement character stands for
// one that was lost.
func isBlank(r rune) bool {
	const blankBraille = '\u2800'
	return r == blankBraille || r == utf8.RuneError || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// asciiDomain returns a domain as lower-case A-labels, or the reason why it is refused.
func asciiDomain(domain string) (ascii, reason string) {
	if strings.HasPrefix(domain, "[") {
		return "", "IP literal"
	}
	domain = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(norm.NFC.String(domain))
	domain = strings.TrimSuffix(domain, ".") // the root
	// The profile replaces or removes some characters before it checks the rest. No
	// mailbox has such characters in its domain.
	for _, r := range domain {
		if r >= utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) {
			return "", "character in the domain that is not allowed"
		}
	}
	if !norm.NFKC.IsNormalString(domain) {
		return "", "domain not in normal form"
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", "not a domain name"
	}
	// The checks of the profile differ between its versions. The grammar of RFC 5321
	// section 4.1.2 is checked here.
	labels := strings.Split(ascii, ".")
	if len(labels) < 2 {
		return "", "domain of one label"
	}
	for _, label := range labels {
		if !isLabel(label) {
			return "", "not a domain name"
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", "domain ends in a number"
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", "IP address"
	}
	return ascii, ""
}

// isLabel reports whether s is a label of letters, digits and inner hyphens
// (RFC 1123 section 2.1), in lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// MaskAddress returns an address, valid or not, in a form for logs, errors and pages:
// j***@example.com. The result has no white space, no control characters, and at most 64
// characters of the domain. It shows nothing of a local part of one or two characters:
// ***@example.com.
func MaskAddress(s string) string {
	const hidden, few = "***", 2
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return hidden
	}
	first, _ := utf8.DecodeRuneInString(s[:at])
	domain := s[at+1:]
	for _, r := range domain {
		if r == utf8.RuneError || r != '.' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			domain = hidden
			break
		}
	}
	if domain == "" || utf8.RuneCountInString(domain) > 64 {
		domain = hidden
	}
	if utf8.RuneCountInString(s[:at]) <= few || first == utf8.RuneError || !unicode.IsLetter(first) && !unicode.IsDigit(first) {
		return hidden + "@" + domain
	}
	return string(first) + hidden + "@" + domain
}

// MaskAddresses returns a text that a person typed, with its addresses masked and with single
// spaces.
func MaskAddresses(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if strings.Contains(w, "@") {
			words[i] = MaskAddress(strings.Trim(w, `<>"',;:.()`))
		}
	}
	return strings.Join(words, " ")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
