package dev_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/smtp"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evently/workers/app"
	"github.com/evently/workers/config"
	"github.com/evently/workers/dev"
	"github.com/evently/workers/store/ledger"
)

// running is a development mode under test.
type running struct {
	dev.Addresses
	out, logs *syncBuffer
	stop      func() error // ends it and returns what Run returned
}

// start runs the whole development mode on free ports.
func start(t *testing.T, o dev.Options) running {
	t.Helper()
	r := running{out: new(syncBuffer), logs: new(syncBuffer)}
	ready := make(chan dev.Addresses, 1)
	o.Out, o.Ready = r.out, func(a dev.Addresses) { ready <- a }
	o.Logger = slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.RunWorker = func(ctx context.Context, w dev.Worker) error {
		cfg, err := config.Load(w.Settings)
		if err != nil {
			return err
		}
		return app.RunWorker(ctx, cfg, app.WorkerParts{Users: w.Users, Middleware: w.Middleware, Health: w.Health, HealthEvery: w.HealthEvery}, o.Logger)
	}
	for _, port := range []*int{&o.RedisPort, &o.SMTPPort, &o.HTTPPort, &o.HealthPort} {
		if *port == 0 {
			*port = -1
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- dev.Run(ctx, o) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { r.stop() })
	select {
	case r.Addresses = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("Run: %v", err)
	}
	return r
}

// eventually polls until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	eventuallyOr(t, what, done, func() any { return "" })
}

// eventuallyOr is eventually with what is told when done never returns true.
func eventuallyOr(t *testing.T, what string, done func() bool, tell func() any) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("%s: still not after 30 s %v", what, tell())
		case <-poll.C:
		}
	}
}

func get(t *testing.T, address string) string {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// post sends a task as the script of the page does, and returns its id.
func post(t *testing.T, page string, form url.Values) string {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page+"/tasks", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct{ ID, Error string }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.ID == "" {
		t.Fatalf("not sent: %s %q, %v", response.Status, answer.Error, err)
	}
	return answer.ID
}

// Tasks go from the form through Redis and the real worker to the inbox, and their results
// come back.
func TestFormToMailAndResult(t *testing.T) {
	r := start(t, dev.Options{})
	done := regexp.MustCompile(`<h1>[^<]* <span class="chip (good|wait)">SUCCESS`)
	const code = "70419253" // longer than a real one: it occurs nowhere by chance
	for _, c := range []struct {
		task, subject, result string
		form                  url.Values
	}{
		{"send_otp_verification_email", "Verify Your Email - Evently", "otp_sent", url.Values{
			"send_otp_verification_email.task_data.email": {"ada@evently.test"}, "send_otp_verification_email.task_data.otp": {code}}},
		{"send_welcome_email", "Welcome to Evently!", "welcome_sent", url.Values{
			"send_welcome_email.task_data.email": {"ada@evently.test"}, "kwargs": {"1"}}},
		{"send_booking_confirmation", "Booking Confirmation - Gala", "BK-1", url.Values{
			"send_booking_confirmation.user_id.": {"3"}, "send_booking_confirmation.booking_data.event_name": {"Gala"},
			"send_booking_confirmation.booking_data.booking_id": {"BK-1"}, "short": {"1"}}},
		{"send_booking_cancellation", "Booking Cancelled - Event", "user_id", url.Values{"send_booking_cancellation.user_id.": {"4"}, "priority": {"9"}}},
		{"send_waitlist_notification", "Waitlist Spot Available - Event", "waitlist_position", url.Values{"send_waitlist_notification.user_id.": {"2"}, "countdown": {"0.2"}}},
		{"send_waitlist_joined", "Added to Waitlist - Event", "position", url.Values{"send_waitlist_joined.user_id.": {"2"}}},
		{"send_waitlist_cancellation", "Removed from Waitlist - Event", "user_id", url.Values{"send_waitlist_cancellation.user_id.": {"1"}}},
		{"send_waitlist_joined", "", "User email not found", url.Values{"send_waitlist_joined.user_id.": {"5"}}},
		{"health_check", "", "healthy", url.Values{}},
	} {
		c.form.Set("task", c.task)
		id := post(t, r.Page, c.form)
		var page string
		eventually(t, c.task, func() bool {
			page = get(t, r.Page+"/tasks/"+id)
			return done.MatchString(page)
		})
		if !strings.Contains(page, c.result) {
			t.Errorf("%s: the result is not shown", c.task)
		}
		mail := regexp.MustCompile(`<dt>Mail</dt><dd><a href="(/mails/\d+)" data-nav>([^<]*)</a>`).FindStringSubmatch(page)
		if c.subject == "" {
			if mail != nil {
				t.Errorf("%s: sent a mail: %s", c.task, mail[2])
			}
			continue
		}
		if mail == nil || mail[2] != c.subject {
			t.Errorf("%s: mail %v, want %q", c.task, mail, c.subject)
			continue
		}
		if html := get(t, r.Page+mail[1]+"/html"); !strings.Contains(html, "</html>") || (c.task == "send_otp_verification_email") != strings.Contains(html, code) {
			t.Errorf("%s: that is not its mail", c.task)
		}
	}
	for line := range strings.Lines(r.out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("the banner has a line of %d columns: %s", n, line)
		}
	}
	if !strings.Contains(r.out.String(), r.Page) || !strings.Contains(r.out.String(), "\nfrom celery import Celery\n") {
		t.Errorf("the banner tells neither where to look nor how to send:\n%s", r.out)
	}
	db, err := ledger.OpenSQLite(strings.TrimPrefix(r.History, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reader := ledger.NewReader(ledger.ReaderConfig{DB: db})
	eventually(t, "mails in the history", func() bool {
		found, err := reader.Find(t.Context(), "ada@evently.test", 1)
		return err == nil && len(found) == 1 && found[0].State == ledger.Accepted
	})
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if logs := r.logs.String(); strings.Contains(logs, code) || !strings.Contains(logs, "mail caught") {
		t.Error("the log has a one-time code in it, or nothing at all")
	}
}

func TestTwoDevelopmentModesSideBySide(t *testing.T) {
	first := start(t, dev.Options{})
	second := start(t, dev.Options{
		RedisPort: port(t, strings.TrimSuffix(strings.TrimPrefix(first.Redis, "redis://"), "/0")),
		SMTPPort:  port(t, first.SMTP),
		HTTPPort:  port(t, strings.TrimPrefix(first.Page, "http://")),
	})
	if first.Redis == second.Redis || first.SMTP == second.SMTP || first.Page == second.Page {
		t.Errorf("they share an address: %+v and %+v", first.Addresses, second.Addresses)
	}
	post(t, second.Page, url.Values{"task": {"send_welcome_email"}, "send_welcome_email.task_data.email": {"ada@evently.test"}})
	eventually(t, "mail in the second inbox", func() bool { return strings.Contains(get(t, second.Page), "Welcome to Evently!") })
	if strings.Contains(get(t, first.Page), "Welcome to Evently!") {
		t.Error("the mail of the second is in the inbox of the first")
	}
}

// A page that is open, with its event stream, and a client that is connected
// to Redis must not delay the stop; goleak then looks for leaked goroutines.
func TestStopWithEverythingInUse(t *testing.T) {
	r := start(t, dev.Options{})
	response, err := http.Get(r.Page + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	for _, address := range []string{r.SMTP, strings.TrimSuffix(strings.TrimPrefix(r.Redis, "redis://"), "/0")} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	post(t, r.Page, url.Values{"task": {"health_check"}, "countdown": {"3600"}}) // held by the worker
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func port(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// syncBuffer is a bytes.Buffer that may be read while others write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// sendMail hands a message to the catcher.
func sendMail(t *testing.T, address, raw string) {
	t.Helper()
	if err := smtp.SendMail(address, nil, "a@evently.test", []string{"b@evently.test"}, []byte(raw)); err != nil {
		t.Fatal(err)
	}
}

// Variables that say how mails look reach the worker and the monitor, and no others do.
func TestLookOfMails(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	caller := map[string]string{"BRAND_NAME": "Fest", "TEMPLATES_DIR": "/etc/mails", "DEFAULT_LOCALE": "de", "SMTP_HOST": "relay.example", "REDIS_URL": "redis://elsewhere"}
	got := map[string]string{}
	err := dev.Run(ctx, dev.Options{
		RedisPort: -1, SMTPPort: -1, HTTPPort: -1, HealthPort: -1,
		Look: func(name string) (string, bool) { value, ok := caller[name]; return value, ok },
		RunWorker: func(_ context.Context, w dev.Worker) error {
			for name := range caller {
				got[name], _ = w.Settings(name)
			}
			cancel()
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got["BRAND_NAME"] != "Fest" || got["TEMPLATES_DIR"] != "/etc/mails" || got["DEFAULT_LOCALE"] != "de" {
		t.Errorf("the look of the mails: %v", got)
	}
	if got["SMTP_HOST"] != "127.0.0.1" || !strings.HasPrefix(got["REDIS_URL"], "redis://127.0.0.1:") {
		t.Errorf("variables of the caller arrived: %v", got)
	}
}
