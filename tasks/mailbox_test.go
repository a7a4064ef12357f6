package tasks_test

import (
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evently/workers/tasks"
)

// An address that is spelled in many ways gets as many codes as one that is spelled in one.
func TestSpellingsOfAMailbox(t *testing.T) {
	for _, spellings := range [][]string{
		{"ann@example.com", "ANN@Example.com", `"ann"@example.com`, "ann@example.com.", "<ann@example.com>", "Ann <ann@example.com>", "mailto:ann@example.com", " ann@example.com ", "ann@example\u3002com", "ann+1@example.com", "ann+a+b@example.com", "ann@\uff45xample.com", "a\u200bnn@example.com"},
		{"ann.lee@gmail.com", "annlee@gmail.com", "a.n.n.l.e.e@gmail.com", "Ann.Lee+x@googlemail.com"},
		{"ann@bücher.example", "ann@xn--bcher-kva.example", "ann@bu\u0308cher.example", "ann@BÜCHER.example"},
	} {
		ofDomain := spellings[0] == "ann@bücher.example"
		synctest.Test(t, func(t *testing.T) {
			p := newPost(t, func(c *tasks.Config) {
				c.Limits.Recipient = map[string]tasks.Rate{"otp": {Mails: 3, Per: 10 * time.Minute}}
				if ofDomain {
					c.Limits.Recipient, c.Limits.Domain = nil, map[string]tasks.Rate{"": {Mails: 3, Per: 10 * time.Minute}}
				}
			})
			for i := range 3 {
				for j, s := range spellings {
					raw, err := json.Marshal(map[string]string{"email": s, "otp": "042917"})
					if err != nil {
						t.Fatal(err)
					}
					p.add(fmt.Sprint(i, " ", j), tasks.NameOTP, "["+string(raw)+"]")
				}
			}
			p.run()
			if n := p.most(10*time.Minute, all); n < 3 || n > 5 {
				t.Errorf("%d codes within ten minutes to the spellings of %s: %+v", n, spellings[0], p.sent)
			}
		})
	}
}

var span = regexp.MustCompile(`</?span[^>]*>`)

// Text that looks like a template is shown as it was written.
func TestTemplatesInText(t *testing.T) {
	b := newBench(t, nil)
	for _, text := range []string{"{{.Code}}", `{{template "why" .}}`, "{{", "}}", "%s%n%!d(x)", "${x}", "#{x}", "<%= x %>", "{%x%}", "$(id)", "`id`", "{0}", "%(name)s"} {
		raw, err := json.Marshal(map[string]string{"event_name": text, "booking_id": text})
		if err != nil {
			t.Fatal(err)
		}
		b.out.sent = nil
		if _, err := b.run(t.Context(), task(tasks.NameBookingConfirmation, "[42, "+string(raw)+"]", "{}")); err != nil || len(b.out.sent) != 1 {
			t.Fatalf("%q: %d mails, %v", text, len(b.out.sent), err)
		}
		m := b.out.sent[0]
		page := html.UnescapeString(span.ReplaceAllString(m.HTML, "")) // see templates/unlink.go
		if !strings.Contains(m.Subject, text) || strings.Count(m.Text, text) < 2 || strings.Count(page, text) < 2 {
			t.Errorf("%q is not shown as it is: subject %q\n%s", text, m.Subject, m.Text)
		}
	}
}
