package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strconv"
	"strings"

	"github.com/evently/workers/mail/bounce"
	"github.com/evently/workers/store/ledger"
)

// event is one bounce, complaint or receipt, as a service reports it.
type event struct {
	ID         string            // by which the service names the event
	Kind       ledger.BounceKind // "": nothing that concerns us, such as a click
	Sender     string            // of the envelope: it may have a tag
	EnvelopeID string
	MessageID  string
	Header     string // of the mail or of a bounce, as text
	Recipient  string
	Code       int
	Status     string // enhanced code
	Class      string // "": that of the codes and words
	Text       string
	RemoteMTA  string
	Reporting  string
}

// adapter reads the body of a request.
type adapter func(body []byte) ([]event, error)

var adapters = map[string]adapter{
	generic: readGeneric, "ses": readSES, "sendgrid": readSendGrid, "postmark": readPostmark, "mailgun": readMailgun, "brevo": readBrevo,
}

// report stores an event. The source is authentic, so each id by which it names the mail
// proves as much as a tag.
func (i *Intake) report(ctx context.Context, e event, source string) (Outcome, error) {
	if e.Kind == "" {
		return Outcome{}, nil
	}
	e.complete()
	b := ledger.Bounce{
		ID: ledger.BounceID([]byte("webhook " + source + " " + e.ID)), Source: source, Kind: e.Kind, Address: e.Recipient, Action: string(e.Kind),
		Code: e.Code, Enhanced: e.Status, Class: e.Class, Text: bounce.Clean(e.Text), RemoteMTA: e.RemoteMTA, Reporting: e.Reporting,
	}
	if reference, claimed := i.tags.of(e.Sender); reference != "" {
		b.References = []ledger.BounceReference{{By: ledger.MatchTag, ID: reference}}
	} else if claimed {
		b.References = []ledger.BounceReference{{By: ledger.MatchForged}}
	} else {
		b.References = weakReferences(e.EnvelopeID, e.MessageID, []byte(e.Header))
	}
	b.Proven = len(b.References) > 0 && b.References[0].By != ledger.MatchForged
	return i.keep(ctx, b)
}

var (
	replyCode = regexp.MustCompile(`(?:^|[^0-9.])([45]\d\d)(?:[ -]|$)`)
	statusOf  = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)
)

// complete takes what the service left out from the words of the server.
func (e *event) complete() {
	if address, err := mail.ParseAddress(e.Recipient); err == nil {
		e.Recipient = address.Address
	}
	e.Sender = strings.Trim(e.Sender, "<> ")
	if e.Kind == ledger.BounceComplaint {
		e.Class = "complaint"
	}
	if e.Kind != ledger.BounceFailed && e.Kind != ledger.BounceDelayed {
		return
	}
	if m := replyCode.FindStringSubmatch(e.Text); e.Code == 0 && m != nil {
		e.Code, _ = strconv.Atoi(m[1])
	}
	if found := statusOf.FindString(e.Text); (e.Status == "" || strings.HasSuffix(e.Status, ".0.0")) && found != "" {
		e.Status = found
	}
	if e.Class == "" && e.Kind == ledger.BounceFailed {
		e.Class = string(bounce.Classify(e.Code, e.Status, e.Text))
	}
}

// genericEvent is the form that is documented for services of one's own.
type genericEvent struct {
	ID         string `json:"id"`
	Kind       string `json:"kind"`
	Sender     string `json:"sender"`
	EnvelopeID string `json:"envelope_id"`
	MessageID  string `json:"message_id"`
	Recipient  string `json:"recipient"`
	Code       int    `json:"code"`
	Status     string `json:"status"`
	Diagnostic string `json:"diagnostic"`
	RemoteMTA  string `json:"remote_mta"`
}

// readGeneric reads one event or an array of them.
func readGeneric(body []byte) ([]event, error) {
	all, err := oneOrMany[genericEvent](body)
	if err != nil {
		return nil, err
	}
	events := make([]event, len(all))
	for n, g := range all {
		kind := ledger.BounceKind(g.Kind)
		switch kind {
		case ledger.BounceFailed, ledger.BounceDelayed, ledger.BounceDelivered, ledger.BounceComplaint, ledger.BounceAutoReply:
		default:
			return nil, fmt.Errorf("event %d: kind must be failed, delayed, delivered, complaint or autoreply", n+1)
		}
		if g.ID == "" {
			return nil, fmt.Errorf("event %d: id is required, and the same one for each copy of an event", n+1)
		}
		events[n] = event{
			ID: g.ID, Kind: kind, Sender: g.Sender, EnvelopeID: g.EnvelopeID, MessageID: g.MessageID, Recipient: g.Recipient,
			Code: g.Code, Status: g.Status, Text: g.Diagnostic, RemoteMTA: g.RemoteMTA,
		}
	}
	return events, nil
}

// oneOrMany reads a JSON object or an array of objects. The errors show no values.
func oneOrMany[T any](body []byte) (all []T, err error) {
	if text := strings.TrimSpace(string(body)); strings.HasPrefix(text, "[") {
		err = json.Unmarshal(body, &all)
	} else {
		all = make([]T, 1)
		err = json.Unmarshal(body, &all[0])
	}
	if err != nil {
		return nil, plainJSONError(err)
	}
	return all, nil
}

// plainJSONError names the field of a fault, and no value.
func plainJSONError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return errors.New("body is neither a JSON object nor an array of objects")
		}
		return fmt.Errorf("field %s has a wrong type", e.Field)
	}
	return errors.New("body is not the JSON of this source")
}
