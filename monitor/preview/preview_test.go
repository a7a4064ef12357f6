package preview_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// letters has one dead letter.
type letters struct{ broker.DeadLetter }

func (l letters) List(context.Context, int, int) ([]broker.DeadLetter, int, error) {
	return []broker.DeadLetter{l.DeadLetter}, 1, nil
}

func (l letters) Get(context.Context, string) (broker.DeadLetter, error) { return l.DeadLetter, nil }

func TestMake(t *testing.T) {
	t.Parallel()
	set, err := tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com"})
	if err != nil {
		t.Fatal(err)
	}
	sender, err := mail.New(mail.Config{Host: "127.0.0.1", Security: mail.Plain, HelloName: "localhost", FromName: "Evently", FromAddress: "noreply@evently.com", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	data := protocol.Raw(`[{"email": "ada@example.com", "otp": "481516", "user_data": {"full_name": "Ada Lovelace"}}]`)
	raw, err := json.Marshal(map[string]any{
		"body": string(data[:0]), "headers": map[string]any{}, "properties": map[string]any{}, "content-type": "application/json",
	})
	if err != nil {
		t.Fatal(err)
	}
	m := preview.New(preview.Config{
		Templates: set, Composer: sender,
		Letters: letters{broker.DeadLetter{ID: "l", TaskID: "other", Raw: raw}},
		Arguments: func(id string) (args, kwargs protocol.Raw) {
			if id != "seen" {
				return nil, nil
			}
			return data, nil
		},
	})
	first := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	p, err := m.Make(t.Context(), ledger.History{Mail: ledger.Mail{TaskID: "seen", Mail: "print", Kind: "otp", To: "a***@example.com", FirstSeen: first, State: ledger.Dead}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"text": p.Text, "HTML": p.HTML} {
		if strings.Contains(text, "481516") || strings.Contains(text, "ada@") || !strings.Contains(text, "Ada") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if !slices.Contains(p.Hidden, "Code") || slices.Contains(p.Missing, "Full name") || !strings.Contains(p.Source, "event") {
		t.Errorf("hidden %q, missing %q, %s", p.Hidden, p.Missing, p.Source)
	}
	if !slices.Contains(p.Headers, preview.Header{Name: "To", Value: "a***@example.com"}) || !slices.Contains(p.Headers, preview.Header{Name: "Message-ID", Value: "<" + mail.Reference("print") + "@evently.com>"}) {
		t.Errorf("headers: %v", p.Headers)
	}
	if len(p.Parts) != 3 || p.Parts[0].Depth != 0 || !strings.HasPrefix(p.Parts[2].Type, "text/html") || p.Parts[2].Depth != 1 || p.Parts[2].Size == 0 {
		t.Errorf("parts: %+v", p.Parts)
	}
	p, err = m.Make(t.Context(), ledger.History{Mail: ledger.Mail{TaskID: "old", Mail: "print", Kind: "booking_confirmation", Booking: "BK-1", To: "(user 12)", FirstSeen: first, State: ledger.Accepted}})
	if err != nil || !slices.Contains(p.Missing, "Event") || !strings.Contains(p.Source, "gone") {
		t.Errorf("missing %q, %s, %v", p.Missing, p.Source, err)
	}
	for _, gone := range []ledger.Mail{{Kind: "of another program"}, {Kind: "otp", Erased: true}} {
		if _, err := m.Make(t.Context(), ledger.History{Mail: gone}); err == nil {
			t.Errorf("%+v: no error", gone)
		}
	}
	if dark := preview.Scheme(p.HTML, true); strings.Contains(dark, "prefers-color-scheme:dark)") || !strings.Contains(dark, "@media all{") {
		t.Error("the dark scheme depends on the reader")
	}
}
