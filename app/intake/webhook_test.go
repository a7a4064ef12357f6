package intake_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
)

const webhookKey, oldWebhookKey = "webhook-key-0123456789", "webhook-key-fedcba9876"

// transport answers requests that the webhook makes.
type transport struct{ asked []string }

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.asked = append(t.asked, req.URL.String())
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("")), Request: req}, nil
}

// webhook starts a server and returns its URL.
func (f *fixture) webhook(i *intake.Intake, sns *transport) string {
	f.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	w, err := intake.NewWebhook(intake.WebhookConfig{Intake: i, Keys: []string{webhookKey, oldWebhookKey}, Listener: l,
		Logger: slog.New(slog.DiscardHandler), Client: &http.Client{Transport: sns}})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	f.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			f.Errorf("Run: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// post sends a body, and returns the status.
func post(t *testing.T, address, body string, header map[string]string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// signed returns the header of a signed request, sent at a time.
func signed(key, body string, at time.Time) map[string]string {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	return map[string]string{intake.HeaderTimestamp: timestamp, intake.HeaderSignature: "sha256=" + intake.Sign(key, timestamp, []byte(body))}
}

// Only requests with a fresh signature count.
func TestWebhookSignature(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	base := f.webhook(f.intake, nil) + "/webhooks/bounces/"
	body := fmt.Sprintf(`{"id": "1", "kind": "failed", "message_id": "<%s@example.com>", "recipient": "ada@example.com", "diagnostic": "550 5.1.1 user unknown"}`, mail.Reference(task))
	now := noon.Add(time.Hour) // of the intake
	without := func(h map[string]string, name string) map[string]string { delete(h, name); return h }
	for name, c := range map[string]struct {
		path, body string
		header     map[string]string
		want       int
	}{
		"no signature":         {"generic", body, nil, 401},
		"no timestamp":         {"generic", body, without(signed(webhookKey, body, now), intake.HeaderTimestamp), 401},
		"another key":          {"generic", body, signed("another key of sixteen", body, now), 401},
		"another body":         {"generic", body + " ", signed(webhookKey, body, now), 401},
		"old":                  {"generic", body, signed(webhookKey, body, now.Add(-6*time.Minute)), 401},
		"of the future":        {"generic", body, signed(webhookKey, body, now.Add(6*time.Minute)), 401},
		"token for generic":    {"generic?token=" + intake.Token(webhookKey, "generic"), body, nil, 401},
		"token of another one": {"ses?token=" + intake.Token(webhookKey, "brevo"), "{}", nil, 401},
		"no token":             {"ses", "{}", nil, 401},
		"unknown source":       {"aol?token=x", "{}", nil, 404},
		"numbers":              {"generic", "[1]", signed(webhookKey, "[1]", now), 400},
		"no JSON":              {"generic", "x", signed(webhookKey, "x", now), 400},
		"no id":                {"generic", `{"kind": "failed"}`, signed(webhookKey, `{"kind": "failed"}`, now), 400},
		"unknown kind":         {"generic", `{"id": "1", "kind": "opened"}`, signed(webhookKey, `{"id": "1", "kind": "opened"}`, now), 400},
		"too large":            {"generic", strings.Repeat(" ", 1<<20+1), nil, 413},
	} {
		if got := post(t, base+c.path, c.body, c.header); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if n := len(f.stored()); n != 0 || f.state(task) != ledger.Accepted {
		t.Fatalf("%d rows, the mail is %s", n, f.state(task))
	}
	for range 2 { // the second one is a replay
		if got := post(t, base+"generic", body, signed(oldWebhookKey, body, now)); got != 204 {
			t.Errorf("signed: %d", got)
		}
	}
	if n := len(f.stored()); n != 1 || f.state(task) != ledger.Bounced || f.suppressed() != 1 {
		t.Errorf("%d rows, the mail is %s, suppressed %d times", n, f.state(task), f.suppressed())
	}
	if b := f.stored()[0]; b.Code != 550 || b.Enhanced != "5.1.1" || b.Class != "bad_address" || b.Source != "generic" {
		t.Errorf("stored %+v", b)
	}
	if answer, err := http.Get(base + "generic"); err != nil || answer.StatusCode != 405 {
		t.Errorf("GET: %v, %v", answer, err)
	} else {
		answer.Body.Close()
	}
	raw := unknownUser().String() // proves nothing by itself: anybody may have written it
	header := signed(webhookKey, raw, now)
	header["Content-Type"], header[intake.HeaderRecipient] = "message/rfc822", addressOf(t, wrongKey, mail.Reference(task))
	if got := post(t, base+"generic", raw, header); got != 204 || f.stored()[0].MatchedBy != ledger.MatchForged && f.stored()[1].MatchedBy != ledger.MatchForged {
		t.Errorf("raw message: %d, %+v", got, f.stored())
	}
}

// Services send their own forms. Samples are those of their documentation, with our ids.
func TestServices(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	base := f.webhook(f.intake, nil)
	number := 0
	for name, c := range map[string]struct {
		source, body string
		kind         ledger.BounceKind
		class        string
		code         int
		status       string
	}{
		"SES bounce": {"ses", `{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:eu-west-1:1:x","Message":"{\"notificationType\":\"Bounce\",\"bounce\":{\"bounceType\":\"Permanent\",\"reportingMTA\":\"dns; a8-1.smtp-out.amazonses.com\",\"bouncedRecipients\":[{\"emailAddress\":\"ada@example.com\",\"status\":\"5.1.1\",\"action\":\"failed\",\"diagnosticCode\":\"smtp; 550 5.1.1 <ada@example.com>... User unknown\"}],\"feedbackId\":\"000001\"},\"mail\":{\"source\":\"{tag}\",\"messageId\":\"00000138111222aa\",\"destination\":[\"ada@example.com\"]}}"}`,
			ledger.BounceFailed, "bad_address", 550, "5.1.1"},
		"SES complaint, raw delivery": {"ses", `{"eventType":"Complaint","complaint":{"complainedRecipients":[{"emailAddress":"ada@example.com"}],"complaintFeedbackType":"abuse","feedbackId":"2"},"mail":{"source":"noreply@example.com","messageId":"2","headers":[{"name":"From","value":"x"},{"name":"X-Entity-Ref-ID","value":"{ref}"}]}}`,
			ledger.BounceComplaint, "complaint", 0, ""},
		"SES delay": {"ses", `{"eventType":"DeliveryDelay","deliveryDelay":{"timestamp":"2026-11-29T13:00:00Z","delayType":"TransientCommunicationFailure","delayedRecipients":[{"emailAddress":"ada@example.com","status":"4.4.1","diagnosticCode":"smtp; 421 4.4.1 Unable to connect to remote host"}]},"mail":{"source":"{tag}","messageId":"3"}}`,
			ledger.BounceDelayed, "", 421, "4.4.1"},
		"SES delivery": {"ses", `{"notificationType":"Delivery","delivery":{"timestamp":"2026-11-29T13:00:00Z","recipients":["ada@example.com"],"smtpResponse":"250 ok"},"mail":{"source":"{tag}","messageId":"4"}}`,
			ledger.BounceDelivered, "", 0, ""},
		"SendGrid": {"sendgrid", `[{"email":"ada@example.com","timestamp":1764421200,"smtp-id":"<{ref}@example.com>","event":"bounce","category":"cat","sg_event_id":"e1","reason":"550 5.1.1 The email account that you tried to reach does not exist.","status":"5.0.0","type":"bounce"},{"email":"ada@example.com","timestamp":1,"event":"open","sg_event_id":"e2"}]`,
			ledger.BounceFailed, "bad_address", 550, "5.1.1"},
		"SendGrid complaint": {"sendgrid", `[{"email":"ada@example.com","timestamp":1764421200,"smtp-id":"<{ref}@example.com>","event":"spamreport","sg_event_id":"e3"}]`, ledger.BounceComplaint, "complaint", 0, ""},
		"Postmark": {"postmark", `{"RecordType":"Bounce","MessageStream":"outbound","ID":4323372036854775807,"Type":"HardBounce","TypeCode":1,"MessageID":"883953f4-6105-42a2-a16a-77a8eac79483","Description":"The server was unable to deliver your message (ex: unknown user, mailbox not found).","Details":"smtp;550 5.1.1 The email account that you tried to reach does not exist","Email":"ada@example.com","From":"noreply@example.com","BouncedAt":"2026-11-29T13:00:00Z","Content":"Return-Path: <>\r\n\r\nX-Entity-Ref-ID: {ref}\r\n"}`,
			ledger.BounceFailed, "bad_address", 550, "5.1.1"},
		"Postmark out of office": {"postmark", `{"RecordType":"Bounce","ID":5,"Type":"AutoResponder","MessageID":"x","Email":"ada@example.com","Content":"x-entity-ref-id: {ref}"}`, ledger.BounceAutoReply, "", 0, ""},
		"Mailgun": {"mailgun", `{"signature":{"token":"x","timestamp":"1","signature":"y"},"event-data":{"event":"failed","severity":"permanent","id":"G9Bn5sl1TC6nu79C8C0bwg","timestamp":1521233195.375624,"recipient":"ada@example.com","delivery-status":{"code":550,"enhanced-code":"5.2.2","message":"5.2.2 mailbox full","mx-host":"mx.example.com"},"envelope":{"sender":"{tag}"},"message":{"headers":{"message-id":"x@example.com"}}}}`,
			ledger.BounceFailed, "mailbox_full", 550, "5.2.2"},
		"Mailgun, will try again": {"mailgun", `{"event-data":{"event":"failed","severity":"temporary","id":"g2","recipient":"ada@example.com","delivery-status":{"code":452,"message":"4.2.2 over quota"},"message":{"headers":{"message-id":"{ref}@example.com"}}}}`,
			ledger.BounceDelayed, "", 452, "4.2.2"},
		"Brevo": {"brevo", `{"event":"hard_bounce","email":"ada@example.com","id":26224,"date":"2026-11-29 13:00:00","ts":1604933619,"message-id":"<{ref}@example.com>","ts_event":1604933654,"subject":"x","reason":"550 5.1.1 user unknown"}`,
			ledger.BounceFailed, "bad_address", 550, "5.1.1"},
	} {
		number++
		id := fmt.Sprintf("%s%d", task, number)
		f.write(accepted(id))
		reference := mail.Reference(id)
		body := strings.NewReplacer("{ref}", reference, "{tag}", addressOf(t, key, reference)).Replace(c.body)
		path, err := intake.WebhookPath(webhookKey, c.source)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := post(t, base+path, body, nil); got != 204 {
				t.Errorf("%s: %d", name, got)
			}
		}
		page, err := f.bounces.List(t.Context(), ledger.BounceFilter{Mail: id})
		if err != nil || len(page.Bounces) != 1 {
			t.Errorf("%s: %+v, %v", name, page.Bounces, err)
			continue
		}
		b := page.Bounces[0]
		if b.Kind != c.kind || b.Class != c.class || b.Code != c.code || b.Enhanced != c.status || !b.Proven || b.Source != c.source || strings.Contains(b.Text, "ada@") {
			t.Errorf("%s: %+v", name, b)
		}
	}
}

// A service that sends a bounce of an address that no mail is known for, or a forged tag,
// changes nothing. Basic authentication and bearer tokens count as the token in the URL.
func TestServiceForgery(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	f.write(accepted(task))
	base := f.webhook(f.intake, nil)
	body := func(id, sender string) string {
		return fmt.Sprintf(`{"eventType":"Bounce","bounce":{"feedbackId":"%s","bouncedRecipients":[{"emailAddress":"ada@example.com","status":"5.1.1"}]},"mail":{"source":"%s","messageId":"1","headers":[{"name":"Message-ID","value":"<%s@example.com>"}]}}`, id, sender, mail.Reference(task))
	}
	address := base + "/webhooks/bounces/ses"
	bearer := map[string]string{"Authorization": "Bearer " + intake.Token(oldWebhookKey, "ses")}
	if got := post(t, address, body("1", addressOf(t, wrongKey, mail.Reference(task))), bearer); got != 204 {
		t.Errorf("bearer token: %d", got)
	}
	with, _ := url.Parse(address)
	with.User = url.UserPassword("any", intake.Token(webhookKey, "ses"))
	if got := post(t, with.String(), `{"eventType":"Bounce","bounce":{"feedbackId":"9","bouncedRecipients":[{"emailAddress":"ada@example.com","status":"5.1.1"}]},"mail":{"source":"x@example.com"}}`, nil); got != 204 {
		t.Errorf("basic authentication: %d", got)
	}
	if f.state(task) != ledger.Accepted || f.suppressed() != 0 || len(f.stored()) != 2 {
		t.Errorf("mail is %s, suppressed %d times, %+v", f.state(task), f.suppressed(), f.stored())
	}
}

// While the database is unavailable the service keeps the events.
func TestWebhookWithoutDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	store := &brokenStore{store: f.bounces}
	store.broken.Store(true)
	i := f.newIntake(store)
	address := f.webhook(i, nil) + "/webhooks/bounces/generic"
	body := `[{"id":"1","kind":"failed","recipient":"a@example.com"},{"id":"2","kind":"failed","recipient":"b@example.com"}]`
	send := func() int { return post(t, address, body, signed(webhookKey, body, noon.Add(time.Hour))) }
	if got := send(); got != 503 || i.Status().Failing.IsZero() {
		t.Errorf("%d, %+v", got, i.Status())
	}
	store.broken.Store(false)
	if got := send(); got != 204 || len(f.stored()) != 2 || !i.Status().Failing.IsZero() || i.Status().Stored != 2 {
		t.Errorf("%d, %d rows, %+v", got, len(f.stored()), i.Status())
	}
}

// slowStore takes its time, as a database far away does.
type slowStore struct {
	store intake.Store
	pause time.Duration
}

func (s *slowStore) Store(ctx context.Context, b ledger.Bounce) (ledger.Bounce, bool, error) {
	select {
	case <-ctx.Done():
		return b, false, ctx.Err()
	case <-time.After(s.pause):
		return s.store.Store(ctx, b)
	}
}

// memory counts bounces, and stores nothing.
type memory struct{ n atomic.Int64 }

func (m *memory) Store(_ context.Context, b ledger.Bounce) (ledger.Bounce, bool, error) {
	m.n.Add(1)
	return b, true, nil
}

// A request with many events is stored as a whole, also by a database that is slow. Events that
// concern no bounce do not count.
func TestWebhookOfManyEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	var stored memory
	i := f.newIntake(&slowStore{&stored, 200 * time.Millisecond})
	path, err := intake.WebhookPath(webhookKey, "sendgrid")
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for n := range 3250 {
		kind := "open"
		if n%50 == 0 {
			kind = "bounce"
		}
		events = append(events, fmt.Sprintf(`{"event":%q,"sg_event_id":"%d","email":"a@example.com","status":"5.1.1"}`, kind, n))
	}
	if got := post(t, f.webhook(i, nil)+path, "["+strings.Join(events, ",")+"]", nil); got != 204 || stored.n.Load() != 65 {
		t.Errorf("%d, %d stored", got, stored.n.Load())
	}
}

// stuckStore answers when its context ends.
type stuckStore struct{ asked, ended atomic.Bool }

func (s *stuckStore) Store(ctx context.Context, b ledger.Bounce) (ledger.Bounce, bool, error) {
	s.asked.Store(true)
	<-ctx.Done()
	time.Sleep(50 * time.Millisecond)
	s.ended.Store(true)
	return b, false, ctx.Err()
}

// Run leaves no request behind that still uses the database.
func TestWebhookStop(t *testing.T) {
	t.Parallel()
	store := new(stuckStore)
	i, err := intake.New(intake.Config{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w, err := intake.NewWebhook(intake.WebhookConfig{Intake: i, Keys: []string{webhookKey}, Listener: l, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	body := `{"id":"1","kind":"failed","recipient":"a@example.com"}`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/webhooks/bounces/generic", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range signed(webhookKey, body, time.Now()) {
		request.Header.Set(name, value)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
		}
	}()
	for !store.asked.Load() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil || !store.ended.Load() {
		t.Errorf("Run: %v, store left behind: %v", err, !store.ended.Load())
	}
	<-answered
}

// SNS is asked to confirm a subscription, and no other host is.
func TestSubscription(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqlite(t))
	sns := &transport{}
	path, err := intake.WebhookPath(webhookKey, "ses")
	if err != nil {
		t.Fatal(err)
	}
	address := f.webhook(f.intake, sns) + path
	for url, want := range map[string]int{
		"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1": 204,
		"http://sns.eu-west-1.amazonaws.com/":                                     502,
		"https://sns.eu-west-1.amazonaws.com.evil.example/":                       502,
		"https://sns.eu-west-1.amazonaws.com@127.0.0.1/":                          502,
		"https://127.0.0.1/": 502,
		"file:///etc/passwd": 502,
	} {
		if got := post(t, address, fmt.Sprintf(`{"Type":"SubscriptionConfirmation","SubscribeURL":%q}`, url), nil); got != want {
			t.Errorf("%s: %d, want %d", url, got, want)
		}
	}
	if len(sns.asked) != 1 || !strings.HasPrefix(sns.asked[0], "https://sns.eu-west-1.amazonaws.com/") {
		t.Errorf("asked %q", sns.asked)
	}
}
