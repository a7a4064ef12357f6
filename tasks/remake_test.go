package tasks_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// A mail is made again of its message without its secrets, and of the history alone with words
// for what is not known.
func TestRemake(t *testing.T) {
	t.Parallel()
	set, err := tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range tasks.Mails() {
		data, err := json.Marshal(m.Example())
		if err != nil {
			t.Fatal(err)
		}
		args := protocol.Raw("[" + string(data) + "]")
		if m.ToUser() {
			args = protocol.Raw("[12, " + string(data) + "]")
		}
		render := func(k tasks.Known) (tasks.Remade, templates.Rendered) {
			t.Helper()
			r, err := m.Remake(k)
			if err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			body, err := set.Render(r.Mail)
			if err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			return r, body
		}
		whole, body := render(tasks.Known{Args: args, To: "a***@example.com"})
		if len(whole.Missing) > 0 {
			t.Errorf("%s: the message is there, and %v is missing", m.Name, whole.Missing)
		}
		for _, secret := range []string{"048213", "c1f0", "book/4217", "ann.keller@"} {
			if strings.Contains(body.Text+body.HTML, secret) {
				t.Errorf("%s: the mail has %q", m.Name, secret)
			}
		}
		if event := "Nordic Jazz Night"; m.ToUser() && !strings.Contains(body.Text, event) {
			t.Errorf("%s: no %q in\n%s", m.Name, event, body.Text)
		}
		bare, body := render(tasks.Known{Booking: "BK-7", To: "a***@example.com"})
		if m.ToUser() && (!slices.Contains(bare.Missing, "Event") || !strings.Contains(body.Text, "[event not kept]")) {
			t.Errorf("%s: without the message %v is missing, and the mail is\n%s", m.Name, bare.Missing, body.Text)
		}
		for _, invented := range []string{"2026", "1 ticket", "30 minutes", "Nordic"} {
			if strings.Contains(body.Text, invented) {
				t.Errorf("%s: the mail has %q, which is not known:\n%s", m.Name, invented, body.Text)
			}
		}
		if strings.HasPrefix(m.Name, "send_booking_") && !strings.Contains(body.Text, "BK-7") {
			t.Errorf("%s: the booking of the history is not in the mail:\n%s", m.Name, body.Text)
		}
	}
}
