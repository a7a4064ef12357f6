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

// ErrAddress is what every [*AddressError] is, in the sense of [errors.Is].
var ErrAddress = errors.New("not a usable e-mail address")

// AddressError tells why [ParseAddress] refused an address.
type AddressError struct {
	Masked string // the address as [MaskAddress] shows it
	Reason string
}

func (e *AddressError) Error() string { return "address " + e.Masked + ": " + e.Reason }

// Is reports whether target is [ErrAddress].
func (e *AddressError) Is(target error) bool { return target == ErrAddress }

// Address is a mailbox that may stand in an SMTP envelope and in a header
// field without further quoting. Make one with [ParseAddress].
type Address struct {
	Local  string // with quotes if it has or needs any
	Domain string // A-labels, lower case
}

func (a Address) String() string { return a.Local + "@" + a.Domain }

// UTF8 reports whether the address needs a server that offers SMTPUTF8
// (RFC 6531). A domain never does: it was converted to A-labels.
func (a Address) UTF8() bool { return !isASCII(a.Local) }

// ParseAddress reads exactly one addr-spec and refuses all else that RFC 5322
// would let pass: display names, angle brackets, lists, source routes, comments,
// white space, IP literals. [TidyAddress] removes some of them.
//
// The local part is a dot-atom, or a quoted string of the same characters with dots in
// any place; nothing that a careless parser further down the road could read as a second
// address or as an SMTP parameter. Dots in a row or at an edge, as NTT docomo gave them
// out, are quoted here, as RFC 5321 section 4.1.2 wants it. The domain has at least two
// labels, and may end in a dot; an internationalised one is composed (NFC) and converted
// to A-labels (RFC 5891), with its ideographic and full-width dots as dots.
//
// Its errors are of type [*AddressError].
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

// checkLocal returns what is wrong with a local part, or "".
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
	// Compatibility forms (a full-width @, say) become specials in the hands of
	// whoever normalises; RFC 6530 section 10.1 advises against them.
	if !norm.NFKC.IsNormalString(atoms) {
		return "local part not in normal form"
	}
	return ""
}

// quoteDots puts a local part in quotes that has dots where an atom has none.
func quoteDots(local string) string {
	if strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		if !strings.Contains(local, `"`) && strings.Trim(local, ".") != "" {
			return `"` + local + `"`
		}
	}
	return local
}

// isAtext is atext of RFC 5322 section 3.2.3 with the visible part of UTF-8 that
// RFC 6531 section 3.3 adds.
func isAtext(r rune) bool {
	switch {
	case r >= utf8.RuneSelf:
		return unicode.IsGraphic(r) && !unicode.IsSpace(r)
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

// asciiDomain converts a domain to lower-case A-labels, or says what is wrong
// with it.
func asciiDomain(domain string) (ascii, reason string) {
	if strings.HasPrefix(domain, "[") {
		return "", "IP literal"
	}
	domain = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(norm.NFC.String(domain))
	domain = strings.TrimSuffix(domain, ".") // the root
	// The profile maps characters to others and to nothing before it looks at
	// them. Nobody's address is spelt with those.
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
	// The profile leaves checks out that differ between its versions; the
	// grammar of RFC 5321 section 4.1.2 is short enough to be sure of.
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

// MaskAddress makes an address, or what was meant as one, fit for logs, errors
// and pages: j***@example.com. The text that it returns has no white space, no
// control characters, and at most 64 characters of the domain. Of a local part of
// one or two letters nothing is left: ***@example.com.
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

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
