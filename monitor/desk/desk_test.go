package desk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

func TestCauseOf(t *testing.T) {
	for reason, want := range map[string]string{
		"recipient address refused: 550 5.1.1 at RCPT": "recipient address refused: 550 5.1.1 at RCPT",
		"  not-json ":                     "not-json",
		"":                                "no reason",
		"mail refused: 550 5.7.1 at DATA": "mail refused: 550 5.7.1 at DATA",
		`retry of task 6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a11 "a b" failed`: "retry of task (id) “…” failed",
		"user 123456 of ada@example.com at 10.0.0.7:2525":                 "user (number) of (address) at (host)",
		"queue id 4f5a6b7c8d9e0f1a2b3c":                                   "queue id (id)",
		`otp is not 1 to 32 printable characters without . : / \ @`:       `otp is not 1 to 32 printable characters without . : / \ @`,
		"failed: ValueError":                                              "failed: ValueError",
		"poison: runs that never ended":                                   "poison: runs that never ended",
	} {
		if got := desk.CauseOf(reason); got != want {
			t.Errorf("CauseOf(%q) = %q, want %q", reason, got, want)
		}
	}
	if got := desk.CauseOf(strings.Repeat("長", 5000)); len([]rune(got)) > 200 {
		t.Errorf("a cause of %d characters", len([]rune(got)))
	}
}

func TestAdviceForFullMailboxes(t *testing.T) {
	for _, reason := range []string{
		"mail server did not take the mail: 452 4.2.2 at RCPT", "mail refused: 552 5.2.2 at DATA", "recipient address refused: 550 5.2.2 at RCPT",
	} {
		if got := desk.AdviceFor(reason); !strings.HasPrefix(got, "the mailbox is full: retry in some days") {
			t.Errorf("AdviceFor(%q) = %q", reason, got)
		}
	}
	if got := desk.AdviceFor("mail server did not take the mail: 451 4.3.0 at RCPT"); got != "mend the relay, then retry" {
		t.Errorf("another fault of the server: %q", got)
	}
}

// message returns a message of a task.
func message(t testing.TB, task, args string) []byte {
	t.Helper()
	raw, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: "i-" + task, Task: task, Args: protocol.Raw(args), Kwargs: protocol.Raw(`{}`), DeliveryTag: "d", RoutingKey: "q",
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func letter(t testing.TB, id, task, args, reason string, ago time.Duration) broker.DeadLetter {
	raw := message(t, task, args)
	return broker.DeadLetter{ID: id, TaskName: task, TaskID: "i-" + task, Queue: "q", Reason: reason, At: time.Now().Add(-ago), Size: len(raw), Raw: raw}
}

func items(t testing.TB) []desk.Item {
	open := []broker.DeadLetter{
		letter(t, "a", tasks.Module+".send_booking_confirmation", `[12, {"booking_id": "B-1"}]`, "recipient address refused: 550 5.1.1 at RCPT", time.Hour),
		letter(t, "b", "send_otp_verification_email", `[{"email": "ada@Example.com", "otp": "123456"}]`, "mail refused: 554 5.7.1 at DATA", 2*time.Hour),
		letter(t, "c", "send_welcome_email", `[{"email": "bob@example.org"}]`, "recipient address refused: 550 5.1.1 at RCPT", 3*time.Hour),
		{ID: "d", Reason: "not-json", At: time.Now().Add(-4 * time.Hour), Raw: []byte("{")},
		letter(t, "e", "shop.tasks.unknown", `[]`, "unknown task", 5*time.Hour),
	}
	open[4].State = broker.LetterDealtWith
	var all []desk.Item
	for _, l := range open {
		all = append(all, desk.New(l))
	}
	return all
}

func TestFilter(t *testing.T) {
	open := []broker.LetterState{broker.LetterOpen}
	all := items(t)
	for name, test := range map[string]struct {
		f    desk.Filter
		want string
	}{
		"all":           {desk.Filter{}, "abcde"},
		"open":          {desk.Filter{States: open}, "abcd"},
		"reason":        {desk.Filter{Reasons: []string{"550 5.1.1"}}, "ac"},
		"reason, case":  {desk.Filter{Reasons: []string{"MAIL REFUSED", "json"}}, "bd"},
		"task":          {desk.Filter{Tasks: []string{"send_booking_confirmation"}}, "a"},
		"task, whole":   {desk.Filter{Tasks: []string{tasks.Module + ".send_booking_confirmation"}}, "a"},
		"kind":          {desk.Filter{Kinds: []string{"otp", "welcome"}}, "bc"},
		"domain":        {desk.Filter{Domains: []string{"EXAMPLE.com"}}, "b"},
		"since":         {desk.Filter{Since: time.Now().Add(-150 * time.Minute)}, "ab"},
		"until":         {desk.Filter{Until: time.Now().Add(-150 * time.Minute)}, "cde"},
		"several":       {desk.Filter{Reasons: []string{"550"}, Kinds: []string{"welcome"}, States: open}, "c"},
		"none":          {desk.Filter{Kinds: []string{"otp"}, Domains: []string{"example.org"}}, ""},
		"dealt with":    {desk.Filter{States: []broker.LetterState{broker.LetterDealtWith}}, "e"},
		"parts of kind": {desk.Filter{Kinds: []string{"ot"}}, ""},
	} {
		got := ""
		for i := range all {
			if test.f.Chooses(&all[i]) {
				got += all[i].ID
			}
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// No value of an argument is in what is shown, in any form.
func TestItemHasNoValues(t *testing.T) {
	const secret = "cAnArY5"
	it := desk.New(letter(t, "a", "send_otp_verification_email", `[{"email": "`+secret+`@example.com", "otp": "`+secret+`", "user_data": {"username": "`+secret+`", "`+secret+`": 1}}]`, "mail refused", 0))
	text, err := json.Marshal(it)
	if err != nil || strings.Contains(string(text), secret) || !strings.Contains(string(text), `"to":"c***@example.com"`) || !strings.Contains(string(text), `"state":"open"`) {
		t.Errorf("%v, %s", err, text)
	}
}

// history is a history of mails in pages of one mail.
type history []ledger.Mail

func (h history) List(_ context.Context, f ledger.Filter) (ledger.Page, error) {
	n := 0
	_, _ = fmt.Sscan(f.After, &n)
	p := ledger.Page{Mails: h[n:min(n+1, len(h))]}
	if n+1 < len(h) {
		p.Next = fmt.Sprint(n + 1)
	}
	return p, nil
}

func TestRecipients(t *testing.T) {
	all := items(t)
	err := desk.Recipients(t.Context(), history{
		{TaskID: "other", To: "x***@x.example", Domain: "x.example"},
		{TaskID: all[0].TaskID, To: "g***@gmail.com", Domain: "gmail.com"},
	}, all)
	if err != nil || all[0].To != "g***@gmail.com" || all[0].Domain != "gmail.com" || all[1].To != "***@Example.com" && all[1].To != "a***@Example.com" || all[3].To != "" {
		t.Errorf("%v, %+v", err, all)
	}
}

func BenchmarkItem(b *testing.B) {
	l := letter(b, "a", "send_otp_verification_email", `[{"email": "ada@example.com", "otp": "123456", "user_data": {"username": "ada", "full_name": "Ada"}}]`, "recipient address refused: 550 5.1.1 at RCPT", 0)
	for b.Loop() {
		_ = desk.New(l)
	}
}
