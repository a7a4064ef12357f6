package e2e_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDev runs the development mode as a newcomer does: nothing installed,
// nothing configured, the printed Redis URL given to a real Celery producer.
func TestDev(t *testing.T) {
	p := start(t, "evently-workers dev", nil, bin.service, "dev")
	printed := func(pattern string) string {
		var found string
		eventually(t, 30*time.Second, "dev prints "+pattern, func() bool {
			if p.ended() {
				t.Fatalf("dev has ended:\n%s", p.out.String())
			}
			found = regexp.MustCompile(pattern).FindString(p.out.String())
			return found != ""
		})
		return found
	}
	broker, page := printed(`redis://[0-9a-z.:]+(/\d+)?`), strings.TrimSuffix(printed(`http://[0-9a-z.:]+`), "/")
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			code := map[string]string{celeryOld: "519203", celeryNew: "604718"}[celery]
			address := celery + "@mail.example"
			answers := produce(t, celery, broker, []call{
				{Label: "otp", Via: "send_task", Task: prefix + "send_otp_verification_email",
					Args: []any{map[string]any{"email": address, "otp": code}}},
				{Label: "later", Via: "delay", Task: prefix + "send_booking_confirmation",
					Args: []any{1, map[string]any{"event_name": "Matinée"}}},
			})
			for label, got := range answers {
				if got.State != "SUCCESS" || !strings.Contains(string(got.Value), `"success": true`) && !strings.Contains(string(got.Value), `"success":true`) {
					t.Errorf("%s: state %s, %s %s(%q)", label, got.State, got.Value, got.Error, got.Message)
				}
			}
			list := fetch(t, page+"/")
			for _, want := range []string{address, "Verify Your Email - Evently", "Booking Confirmation - Matinée"} {
				if !strings.Contains(list, want) {
					t.Errorf("the page does not show %q", want)
				}
			}
			// One mail leads to its content.
			link := regexp.MustCompile(`/mails/[0-9A-Za-z_-]+`).FindString(list)
			if link == "" {
				t.Fatal("the page has no link to a mail")
			}
			if source := fetch(t, page+link+"/source"); !strings.Contains(source, "multipart/alternative") {
				t.Errorf("source of the mail: %s", clip(source, 300))
			}
		})
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(30 * time.Second); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	reply, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, reply.Status, err)
	}
	return string(body)
}
