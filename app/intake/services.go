package intake

import (
	"fmt"
	"strings"

	"github.com/evently/workers/mail/bounce"
	"github.com/evently/workers/store/ledger"
)

// The forms of the services are those of their documentation. Events that are no bounce, such
// as clicks, have no kind.

type sendGridEvent struct {
	Event     string  `json:"event"`
	ID        string  `json:"sg_event_id"`
	Email     string  `json:"email"`
	SMTPID    string  `json:"smtp-id"`
	Timestamp float64 `json:"timestamp"`
	Reason    string  `json:"reason"`
	Response  string  `json:"response"`
	Status    string  `json:"status"`
}

func readSendGrid(body []byte) ([]event, error) {
	all, err := oneOrMany[sendGridEvent](body)
	if err != nil {
		return nil, err
	}
	kinds := map[string]ledger.BounceKind{
		"bounce": ledger.BounceFailed, "deferred": ledger.BounceDelayed, "delivered": ledger.BounceDelivered, "spamreport": ledger.BounceComplaint,
	}
	events := make([]event, len(all))
	for n, s := range all {
		events[n] = event{
			ID: s.ID, Kind: kinds[s.Event], MessageID: s.SMTPID, Recipient: s.Email, Status: s.Status, Text: firstOf(s.Reason, s.Response),
			Reporting: "sendgrid",
		}
		if s.ID == "" {
			events[n].ID = fmt.Sprint(s.SMTPID, " ", s.Event, " ", s.Timestamp)
		}
	}
	return events, nil
}

type postmarkEvent struct {
	RecordType  string
	ID          float64
	Type        string
	MessageID   string
	Email       string
	Recipient   string // of a delivery
	From        string
	Description string
	Details     string
	Content     string // the bounce, if the webhook is set to include it
	BouncedAt   string
	DeliveredAt string
}

func readPostmark(body []byte) ([]event, error) {
	all, err := oneOrMany[postmarkEvent](body)
	if err != nil {
		return nil, err
	}
	kinds := map[string]ledger.BounceKind{
		"HardBounce": ledger.BounceFailed, "SoftBounce": ledger.BounceFailed, "Blocked": ledger.BounceFailed, "BadEmailAddress": ledger.BounceFailed,
		"DnsError": ledger.BounceFailed, "SpamNotification": ledger.BounceFailed, "DMARCPolicy": ledger.BounceFailed, "Unknown": ledger.BounceFailed,
		"Transient": ledger.BounceDelayed, "AutoResponder": ledger.BounceAutoReply, "AddressChange": ledger.BounceAutoReply,
		"ChallengeVerification": ledger.BounceAutoReply, "SpamComplaint": ledger.BounceComplaint,
	}
	classes := map[string]bounce.Class{"SpamNotification": bounce.Content, "DMARCPolicy": bounce.Auth}
	events := make([]event, len(all))
	for n, p := range all {
		e := event{
			ID: fmt.Sprint(p.ID, " ", p.MessageID, " ", p.Type, p.BouncedAt, p.DeliveredAt), Kind: kinds[p.Type], MessageID: p.MessageID,
			Recipient: firstOf(p.Email, p.Recipient), Class: string(classes[p.Type]), Text: firstOf(p.Details, p.Description), Header: p.Content,
			Reporting: "postmark",
		}
		switch p.RecordType {
		case "Delivery":
			e.Kind = ledger.BounceDelivered
		case "SpamComplaint":
			e.Kind = ledger.BounceComplaint
		}
		if e.Kind != "" && p.Content != "" {
			e.Sender = firstOf(tagged.FindString(p.Content), p.From)
		}
		events[n] = e
	}
	return events, nil
}

type mailgunEvent struct {
	Data struct {
		Event     string  `json:"event"`
		ID        string  `json:"id"`
		Severity  string  `json:"severity"`
		Timestamp float64 `json:"timestamp"`
		Recipient string  `json:"recipient"`
		Status    struct {
			Code        int    `json:"code"`
			Enhanced    string `json:"enhanced-code"`
			Message     string `json:"message"`
			Description string `json:"description"`
			MX          string `json:"mx-host"`
		} `json:"delivery-status"`
		Envelope struct {
			Sender string `json:"sender"`
		} `json:"envelope"`
		Message struct {
			Headers struct {
				MessageID string `json:"message-id"`
			} `json:"headers"`
		} `json:"message"`
	} `json:"event-data"`
}

func readMailgun(body []byte) ([]event, error) {
	all, err := oneOrMany[mailgunEvent](body)
	if err != nil {
		return nil, err
	}
	kinds := map[string]ledger.BounceKind{"failed": ledger.BounceFailed, "complained": ledger.BounceComplaint, "delivered": ledger.BounceDelivered}
	events := make([]event, len(all))
	for n, m := range all {
		d := m.Data
		e := event{
			ID: d.ID, Kind: kinds[d.Event], Sender: d.Envelope.Sender, MessageID: d.Message.Headers.MessageID, Recipient: d.Recipient,
			Code: d.Status.Code, Status: d.Status.Enhanced, Text: firstOf(d.Status.Message, d.Status.Description), RemoteMTA: d.Status.MX,
			Reporting: "mailgun",
		}
		if d.Severity == "temporary" && e.Kind == ledger.BounceFailed {
			e.Kind = ledger.BounceDelayed
		}
		if e.ID == "" {
			e.ID = fmt.Sprint(e.MessageID, " ", d.Event, " ", d.Timestamp)
		}
		events[n] = e
	}
	return events, nil
}

type brevoEvent struct {
	Event     string  `json:"event"`
	ID        float64 `json:"id"`
	Email     string  `json:"email"`
	MessageID string  `json:"message-id"`
	Time      float64 `json:"ts_event"`
	Reason    string  `json:"reason"`
}

func readBrevo(body []byte) ([]event, error) {
	all, err := oneOrMany[brevoEvent](body)
	if err != nil {
		return nil, err
	}
	kinds := map[string]ledger.BounceKind{
		"hard_bounce": ledger.BounceFailed, "soft_bounce": ledger.BounceFailed, "blocked": ledger.BounceFailed, "invalid_email": ledger.BounceFailed,
		"deferred": ledger.BounceDelayed, "delivered": ledger.BounceDelivered, "spam": ledger.BounceComplaint, "complaint": ledger.BounceComplaint,
	}
	events := make([]event, len(all))
	for n, b := range all {
		events[n] = event{
			ID: fmt.Sprint(b.MessageID, " ", b.Event, " ", b.Email, " ", b.Time), Kind: kinds[b.Event], MessageID: b.MessageID, Recipient: b.Email,
			Text: b.Reason, Reporting: "brevo",
		}
		if b.Event == "blocked" {
			events[n].Class = string(bounce.Policy)
		}
	}
	return events, nil
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if strings.TrimSpace(text) != "" {
			return text
		}
	}
	return ""
}
