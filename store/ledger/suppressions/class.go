package suppressions

import (
	"fmt"
	"strings"
)

// Class says what a piece of evidence tells about an address. The words are those of
// mail/bounce, and more.
type Class string

// Classes of evidence that can suppress an address.
const (
	BadAddress  Class = "bad_address"  // the mailbox does not exist
	BadDomain   Class = "bad_domain"   // the domain does not exist, or takes no mail
	MailboxFull Class = "mailbox_full" // the mailbox takes no mail for now
	Unknown     Class = "unknown"      // refused as a recipient, without a code that says why
	Complaint   Class = "complaint"    // the recipient has reported a mail as unwanted
	Operator    Class = "operator"     // a person has said so
)

// Delivered is the class of evidence that a mail has arrived, or was accepted.
const Delivered Class = "delivered"

// Classes returns the classes of suppressions, the strongest first.
func Classes() []Class {
	return []Class{Operator, BadAddress, Complaint, BadDomain, MailboxFull, Unknown}
}

// UnmarshalText implements [encoding.TextUnmarshaler]; it accepts the classes of suppressions.
func (c *Class) UnmarshalText(text []byte) error { return parse(c, string(text), Classes(), "class") }

// IsSoft reports whether the cause may end by itself, so that a suppression ends, and gives
// way to a mail that is delivered.
func (c Class) IsSoft() bool { return c == BadDomain || c == MailboxFull || c == Unknown }

// Scope says which mails a suppression concerns.
type Scope string

// The scopes.
const (
	AllMails      Scope = "all"      // every kind of mail
	OptionalMails Scope = "optional" // kinds that the recipient can do without
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Scope) UnmarshalText(text []byte) error {
	return parse(s, string(text), []Scope{AllMails, OptionalMails}, "scope")
}

// Source says where evidence or a suppression comes from.
type Source string

// The sources.
const (
	FromReply     Source = "reply"     // of a mail server, while the mail was sent
	FromBounce    Source = "bounce"    // a message that came later
	FromComplaint Source = "complaint" // a report of the recipient
	FromOperator  Source = "operator"  // a person
	FromImport    Source = "import"    // a file
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Source) UnmarshalText(text []byte) error {
	return parse(s, string(text), []Source{FromReply, FromBounce, FromComplaint, FromOperator, FromImport}, "source")
}

// isManual reports whether a person decided, so that evidence does not change it.
func (s Source) isManual() bool { return s == FromOperator || s == FromImport }

// parse sets word to the one of the known words that text is.
func parse[T ~string](word *T, text string, known []T, what string) error {
	var names []string
	for _, k := range known {
		if string(k) == text {
			*word = k
			return nil
		}
		names = append(names, string(k))
	}
	return fmt.Errorf("no %s is called %q: use %s", what, line(text, maxWord), strings.Join(names, ", "))
}
