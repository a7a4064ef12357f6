package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// StreamName is the name of the stream of the broker that the events go through.
const StreamName = "mail"

// Event is one thing that happened to a mail. Mail, TaskID, Kind, State and At are required;
// the zero value of any other field means that it is not known.
//
// An Event never holds a code, a password, a link with a token or the body of a mail. The
// producer cleans Reason and Text; Secrets is a second line of defence.
type Event struct {
	Mail   string // identifies the mail: the fingerprint of its task
	TaskID string // id that the producer chose; several mails may share one
	Kind   string // kind of the mail, such as "otp"
	State  State  // state to which the event leads

	At        time.Time // when it happened, by the clock of the worker
	FirstSeen time.Time // when a worker first claimed the task; zero: At
	Attempt   int       // number of the attempt, from 1
	Reason    string    // why, in few words, such as "relay unavailable"
	NextAt    time.Time // when the next attempt is due

	UserID  int64  // user who gets the mail
	Booking string // id of the booking or event that the mail is about

	// Address is the recipient. [Encode] passes it through a [Sealer] and drops it.
	// Recipient is its result, which [Decode] returns.
	Address   string
	Recipient Recipient

	Stage    string // step that failed or ended, such as "RCPT"; see mail.SendError.Command
	Code     int    // reply code of the server
	Enhanced string // enhanced code of the reply, such as "5.1.1"
	Class    string // class of the failure, such as "mailbox_full"
	Text     string // words of the server, cleaned by the producer

	// Fault is what the reply says about the address of the recipient, such as
	// "bad_address"; "" if it says nothing about it. It is for a [Follower], and is not
	// stored in the history.
	Fault string

	Endpoint  string  // relay, as host and port
	TLS       string  // version and cipher of the connection
	QueueID   string  // id of the mail in the queue of the server
	MessageID string  // header field Message-ID
	Worker    string  // node name of the worker
	Phases    []Phase // durations of the steps, in their order

	// Secrets are texts that no field may show. Encode replaces them with ***. Texts of
	// less than four characters are ignored.
	Secrets []string
}

// Phase is the duration of one step of an attempt.
type Phase struct {
	Name string        `json:"name"` // such as "lookup", "dial" or "data"
	Took time.Duration `json:"-"`
}

// Recipient is an address in the form that is stored.
type Recipient struct {
	Hash   []byte // HMAC of the normalised address; nil: not known
	Masked string // for people, such as j***@example.com
	Domain string // in lower case
	Sealed []byte // address, encrypted; nil without a key of the operator
}

// Most characters of the fields of an event. Longer texts are cut.
const (
	maxName   = 64  // names and identifiers that the program chooses
	maxID     = 255 // identifiers that others choose
	maxReason = 200
	maxText   = 300
	maxPhases = 20
	maxCode   = 999
)

// tidy returns e with every text bounded, valid and on one line, and without its secrets.
func (e Event) tidy() Event {
	if len(e.Secrets) > 0 {
		e.hide() // before texts are cut, which could leave the half of a secret
	}
	if len(e.Mail) > maxName || !isPlain(e.Mail) {
		sum := sha256.Sum256([]byte(e.Mail))
		e.Mail = hex.EncodeToString(sum[:16])
	}
	e.Attempt = min(max(e.Attempt, 0), math.MaxInt16)
	e.Code = min(max(e.Code, 0), maxCode)
	for _, f := range []struct {
		text *string
		most int
	}{
		{&e.TaskID, maxID}, {&e.Kind, maxName}, {&e.Booking, maxName},
		{&e.Reason, maxReason}, {&e.Stage, maxName}, {&e.Enhanced, maxName}, {&e.Class, maxName}, {&e.Fault, maxName},
		{&e.Text, maxText}, {&e.Endpoint, maxID}, {&e.TLS, maxName}, {&e.QueueID, maxName},
		{&e.MessageID, maxID}, {&e.Worker, maxID},
		{&e.Recipient.Masked, maxID}, {&e.Recipient.Domain, maxID},
	} {
		*f.text = line(*f.text, f.most)
	}
	e.Phases = e.Phases[:min(len(e.Phases), maxPhases)]
	if e.FirstSeen.IsZero() {
		e.FirstSeen = e.At
	}
	e.Secrets = nil
	return e
}

// hide replaces the secrets in the texts that do not come from the program itself.
func (e *Event) hide() {
	var pairs []string
	for _, s := range e.Secrets {
		const fewest = 4 // less would hide ordinary words
		if utf8.RuneCountInString(s) >= fewest {
			pairs = append(pairs, s, "***")
		}
	}
	replacer := strings.NewReplacer(pairs...)
	for _, text := range []*string{&e.Reason, &e.Text, &e.Endpoint, &e.TLS, &e.QueueID} {
		*text = replacer.Replace(*text)
	}
}

// line returns text on one line, valid, and of at most most characters.
func line(text string, most int) string {
	if isPlain(text) && len(text) <= most {
		return text
	}
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, text)
	n := 0
	for i := range text {
		if n == most {
			return text[:i]
		}
		n++
	}
	return text
}

// isPlain reports whether text is visible ASCII and spaces.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
