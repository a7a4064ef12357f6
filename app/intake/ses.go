package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/evently/workers/store/ledger"
)

// snsMessage is what SNS posts; the notification of SES is a text in it. With "raw message
// delivery" the notification comes alone.
type snsMessage struct {
	Type         string
	MessageID    string `json:"MessageId"`
	Message      string
	SubscribeURL string
	TopicArn     string
}

type sesRecipient struct {
	Address    string `json:"emailAddress"`
	Action     string `json:"action"`
	Status     string `json:"status"`
	Diagnostic string `json:"diagnosticCode"`
}

type sesNotification struct {
	NotificationType string `json:"notificationType"`
	EventType        string `json:"eventType"`
	Mail             struct {
		MessageID string `json:"messageId"`
		Source    string `json:"source"`
		Headers   []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"headers"`
	} `json:"mail"`
	Bounce struct {
		FeedbackID   string         `json:"feedbackId"`
		Recipients   []sesRecipient `json:"bouncedRecipients"`
		ReportingMTA string         `json:"reportingMTA"`
	} `json:"bounce"`
	Complaint struct {
		FeedbackID string         `json:"feedbackId"`
		Recipients []sesRecipient `json:"complainedRecipients"`
	} `json:"complaint"`
	Delivery struct {
		Recipients []string `json:"recipients"`
		Response   string   `json:"smtpResponse"`
		Timestamp  string   `json:"timestamp"`
	} `json:"delivery"`
	Delay struct {
		Recipients []sesRecipient `json:"delayedRecipients"`
		Timestamp  string         `json:"timestamp"`
	} `json:"deliveryDelay"`
}

// subscription asks for the confirmation of a subscription.
type subscription struct{ url string }

func (s *subscription) Error() string { return "SNS asks for a confirmation" }

func readSES(body []byte) ([]event, error) {
	var m snsMessage
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, plainJSONError(err)
	}
	switch m.Type {
	case "SubscriptionConfirmation":
		return nil, &subscription{m.SubscribeURL}
	case "UnsubscribeConfirmation":
		return nil, nil
	case "Notification":
		body = []byte(m.Message)
	}
	var n sesNotification
	if err := json.Unmarshal(body, &n); err != nil {
		if m.Type == "Notification" {
			return nil, nil // such as the words that SES sends when a topic is set
		}
		return nil, plainJSONError(err)
	}
	return n.events(), nil
}

func (n *sesNotification) events() (events []event) {
	base := event{Sender: n.Mail.Source, Reporting: "ses"}
	for _, h := range n.Mail.Headers {
		if strings.EqualFold(h.Name, "Message-ID") {
			base.MessageID = h.Value
		}
		if strings.EqualFold(h.Name, "X-Entity-Ref-ID") {
			base.Header = h.Name + ": " + h.Value
		}
	}
	add := func(kind ledger.BounceKind, id string, recipients []sesRecipient) {
		for _, r := range recipients {
			e := base
			e.ID, e.Kind, e.Recipient, e.Status, e.Text = strings.Join([]string{n.Mail.MessageID, string(kind), id, r.Address}, " "), kind, r.Address, r.Status, r.Diagnostic
			_, e.Text, _ = strings.Cut("; "+strings.TrimPrefix(e.Text, "smtp; "), "; ")
			events = append(events, e)
		}
	}
	switch firstOf(n.EventType, n.NotificationType) {
	case "Bounce":
		if mta, ok := strings.CutPrefix(n.Bounce.ReportingMTA, "dns; "); ok {
			base.Reporting = mta
		}
		add(ledger.BounceFailed, n.Bounce.FeedbackID, n.Bounce.Recipients)
	case "Complaint":
		add(ledger.BounceComplaint, n.Complaint.FeedbackID, n.Complaint.Recipients)
	case "DeliveryDelay":
		add(ledger.BounceDelayed, n.Delay.Timestamp, n.Delay.Recipients)
	case "Delivery":
		for _, address := range n.Delivery.Recipients {
			add(ledger.BounceDelivered, n.Delivery.Timestamp, []sesRecipient{{Address: address, Diagnostic: n.Delivery.Response}})
		}
	}
	return events
}

// snsHost is a host of SNS. No other host is asked for a confirmation, even if the request
// names it.
var snsHost = regexp.MustCompile(`^sns\.[a-z0-9-]{1,30}\.amazonaws\.com(\.cn)?$`)

// confirm confirms the subscription of SNS to this webhook.
func (w *Webhook) confirm(ctx context.Context, out http.ResponseWriter, s *subscription) {
	if err := w.visit(ctx, s.url); err != nil {
		w.cfg.Logger.WarnContext(ctx, "subscription of SNS not confirmed", "error", err)
		http.Error(out, "the subscription was not confirmed", http.StatusBadGateway)
		return
	}
	w.cfg.Logger.InfoContext(ctx, "subscription of SNS confirmed")
	out.WriteHeader(http.StatusNoContent)
}

func (w *Webhook) visit(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || !snsHost.MatchString(u.Host) || u.User != nil {
		return errors.New("address of the confirmation is not one of SNS")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("address of the confirmation cannot be used")
	}
	answer, err := w.cfg.Client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the rest repeats the address, which has a token
		}
		return fmt.Errorf("ask SNS: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("SNS answers %d", answer.StatusCode)
	}
	return nil
}
