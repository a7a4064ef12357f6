package templates_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

var update = flag.Bool("update", false, "rewrite the golden files; read the diff")

func options() templates.Options {
	return templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com"}
}

func newSet(t testing.TB) *templates.Set {
	t.Helper()
	s, err := templates.NewFrom(templates.EmbeddedFS(), options(), allSamples())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func render(t testing.TB, s *templates.Set, m templates.Mail) templates.Rendered {
	t.Helper()
	r, err := s.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGolden(t *testing.T) {
	set := newSet(t)
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := render(t, set, samples(kind)[0])
			golden(t, string(kind)+".subject", r.Subject+"\n")
			golden(t, string(kind)+".txt", r.Text)
			golden(t, string(kind)+".html", r.HTML)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./templates -update writes it)", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s changed (-was +is); go test ./templates -update accepts it:\n%s", name, diff)
	}
}

// TestSays looks for the text that each mail must have, in both parts.
func TestSays(t *testing.T) {
	set := newSet(t)
	for kind, want := range map[templates.Kind][]string{
		"otp":                   {"Ann Keller", "048213", "10 minutes", "Never share this code", "If you did not register, you can safely ignore this email"},
		"welcome":               {"Ann Keller", "ann.keller@example.com", "Username", "What to do next", "https://evently.com"},
		"booking_confirmation":  {"Nordic Jazz Night", "BK-2026-004217", "2 tickets", "59.90 EUR", "23 November 2026, 20:15 UTC"},
		"booking_cancellation":  {"Nordic Jazz Night", "BK-2026-004217", "Event was rescheduled", "refund of 59.90 EUR", "3–5 business days", "23 November 2026, 20:15 UTC"},
		"waitlist_notification": {"Nordic Jazz Night", "Position", "30 minutes", "Complete your booking in time", "the next person in line gets the spot", "https://evently.com/book/4217?spot=c1f0"},
		"waitlist_joined":       {"Nordic Jazz Night", "Position", "3", "23 November 2026"},
		"waitlist_cancellation": {"Nordic Jazz Night", "23 November 2026", "You can join the waitlist again"},
	} {
		r := render(t, set, samples(kind)[0])
		for _, w := range want {
			if !strings.Contains(words(t, r.HTML), w) {
				t.Errorf("%s: the HTML does not say %q", kind, w)
			}
			if !strings.Contains(strings.Join(strings.Fields(r.Text), " "), w) {
				t.Errorf("%s: the text does not say %q", kind, w)
			}
		}
		if n := len(r.Subject); n > 78 {
			t.Errorf("%s: subject of %d bytes", kind, n)
		}
		if len(r.HTML) > 20_000 {
			t.Errorf("%s: %d bytes of HTML", kind, len(r.HTML))
		}
	}
}

// words returns the text of a page on one line.
func words(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestSubjects(t *testing.T) {
	set := newSet(t)
	for _, test := range []struct {
		mail templates.Mail
		want string
	}{
		{tasks.OTP{Code: "1"}, "Verify Your Email - Evently"},
		{tasks.Welcome{}, "Welcome to Evently!"},
		{tasks.BookingConfirmation{EventName: "Jazz & Friends <3 v2.0.io"}, "Booking Confirmation - Jazz & Friends <3 v2.0.io"},
		{tasks.BookingCancellation{EventName: "Jazz\r\nBcc: x@y"}, "Booking Cancelled - Jazz Bcc: x@y"},
		{tasks.WaitlistNotification{}, "Waitlist Spot Available - Event"},
		{tasks.WaitlistJoined{EventName: "Jazz"}, "Added to Waitlist - Jazz"},
		{tasks.WaitlistCancellation{EventName: strings.Repeat("x", 200)}, "Removed from Waitlist - " + strings.Repeat("x", 115) + "…"},
	} {
		if got := render(t, set, test.mail).Subject; got != test.want {
			t.Errorf("%s: %q, want %q", test.mail.Kind(), got, test.want)
		}
	}
}

func TestLinks(t *testing.T) {
	o := options()
	o.LinkHosts = []string{"tickets.example.com", "Local.Example:8443"}
	set, err := templates.NewFrom(templates.EmbeddedFS(), o, allSamples())
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"https://evently.com/book":                         "https://evently.com/book",
		"https://EVENTLY.com:443/book":                     "https://evently.com/book",
		"https://tickets.example.com/?a=1&b=2":             "https://tickets.example.com/?a=1&b=2",
		"https://local.example:8443/x":                     "https://local.example:8443/x",
		"https://evently.com/ü?q=ü \"<>'#é":                "https://evently.com/%C3%BC?q=%C3%BC%20%22%3C%3E%27#%C3%A9",
		"":                                                 "",
		"http://evently.com/book":                          "",
		"//evently.com/book":                               "",
		"/book":                                            "",
		"javascript:alert(1)":                              "",
		"data:text/html,x":                                 "",
		"https://evil.example/":                            "",
		"https://evently.com.evil.example/":                "",
		"https://evil.example/?x=https://evently.com":      "",
		"https://evently.com@evil.example/":                "",
		"https://user@evently.com/":                        "",
		"https://evently.com:8443/":                        "",
		"https://evently.com\\@evil.example/":              "",
		"https://evil.example\\.evently.com/":              "",
		"https:evently.com":                                "",
		"https://еvently.com/":                             "", // Cyrillic
		"https://evently.com/\r\nBcc: x":                   "",
		"https://evently.com/" + strings.Repeat("x", 3000): "",
	} {
		r := render(t, set, tasks.WaitlistNotification{EventName: "Jazz", Position: 1, ExpiryMinutes: 30, BookingURL: in})
		got := ""
		if _, rest, ok := strings.Cut(r.Text, "Complete your booking:\n"); ok {
			got, _, _ = strings.Cut(rest, "\n")
		}
		if got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
		if r.LinkLeftOut != (in != "" && want == "") {
			t.Errorf("%q: left out: %v", in, r.LinkLeftOut)
		}
		escaped := html.EscapeString(want)
		if want != "" && strings.Count(r.HTML, `<a href="`+escaped+`"`) != 2 {
			t.Errorf("%q is not linked as %q", in, escaped)
		}
		if want == "" && (strings.Contains(r.HTML, ">Complete your booking<") || strings.Contains(r.HTML, "evil")) {
			t.Errorf("%q has a button", in)
		}
	}
}

func TestOptions(t *testing.T) {
	_, err := tasks.NewTemplates(templates.Options{
		SiteURL: "http://evently.com", SupportAddress: "help", LinkHosts: []string{"https://x.example", "a b", "", "ok.example", "ok.example/path"},
	})
	if err == nil {
		t.Fatal("New takes all of it")
	}
	for _, want := range []string{"SiteURL", "SupportAddress", `LinkHosts: "https://x.example"`, `"a b"`, `LinkHosts: ""`, `"ok.example/path"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), `"ok.example"`) {
		t.Errorf("the error blames a good host: %v", err)
	}

	// The lint accepts all options that Check accepts.
	for _, o := range []templates.Options{
		{SiteURL: "https://evently.com/a+b/it's?x=1&y=<2>#z"}, {SiteURL: "https://EVENTLY.com:443"}, {SiteURL: "https://[::1]:8443/"},
		{SiteURL: "https://evently.com/" + strings.Repeat("x", 1900)}, {SiteURL: "https://evently.com/ü ö"}, {SiteURL: "https://bücher.example"},
		{SupportAddress: "a+b=c_d-e.f@mail.example.com"}, {SupportAddress: "help@localhost"}, {LinkHosts: []string{"A.example:443", "b.example:8443"}},
		{SiteURL: "https://evently.com/" + strings.Repeat("x", 2000)}, {SupportAddress: "jörg@x.de"}, {SupportAddress: "o'brien@x.de"},
		{SupportAddress: `"a b"@x.de`}, {SupportAddress: "a%b@x.de"}, {LinkHosts: []string{"a_b.example?x"}}, {LinkHosts: []string{"a:b:c"}},
	} {
		_, err := templates.NewFrom(templates.EmbeddedFS(), o, allSamples())
		if check := o.Check(); (check == nil) != (err == nil) {
			t.Errorf("%+v: Check says %v, New says %v", o, check, err)
		}
		if _, ok := errors.AsType[*templates.OptionError](err); err != nil && !ok {
			t.Errorf("%+v: %T, want an OptionError: %v", o, err, err)
		}
	}

	bare, err := templates.NewFrom(templates.EmbeddedFS(), templates.Options{Brand: "Örtli <Co>"}, allSamples())
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds() {
		r := render(t, bare, samples(kind)[0])
		if strings.Contains(r.HTML, "<a ") || strings.Contains(r.Text, "Questions?") || strings.Contains(r.Text, "https://") {
			t.Errorf("%s: links to nowhere:\n%s", kind, r.Text)
		}
		if !strings.Contains(r.Text, "Örtli <Co>") || !strings.Contains(r.HTML, "Örtli &lt;Co&gt;") || !strings.Contains(r.HTML, ">Ö</td>") {
			t.Errorf("%s: the brand is missing", kind)
		}
	}
}

// Impossible numbers are left out; the rest of the mail is true.
func TestImpossibleNumbersAreLeftOut(t *testing.T) {
	set := newSet(t)
	for _, n := range []int64{0, -1, -3, math.MinInt64} {
		for _, test := range []struct {
			mail  templates.Mail
			lacks []string
			has   string
		}{
			{tasks.BookingConfirmation{EventName: "Jazz", Quantity: n}, []string{"Quantity", "ticket"}, "Jazz"},
			{tasks.WaitlistNotification{EventName: "Jazz", Position: n, ExpiryMinutes: 30}, []string{"Position"}, "It is yours for the next 30 minutes"},
			{tasks.WaitlistNotification{EventName: "Jazz", Position: 2, ExpiryMinutes: n}, []string{"minute", "Time left"}, "It is yours for a short time only"},
			{tasks.WaitlistNotification{EventName: "Jazz", Position: n, ExpiryMinutes: n}, []string{"minute", "Time left", "Position"}, "Jazz"},
			{tasks.WaitlistJoined{EventName: "Jazz", Position: n}, []string{"Position", "position"}, "Jazz"},
		} {
			r := render(t, set, test.mail)
			for part, text := range map[string]string{"text": r.Text, "HTML": bodyText(t, r.HTML)} {
				text = strings.Join(strings.Fields(text), " ")
				for _, lack := range test.lacks {
					if strings.Contains(text, lack) {
						t.Errorf("%s of %d: the %s speaks of %q:\n%s", test.mail.Kind(), n, part, lack, text)
					}
				}
				if !strings.Contains(text, test.has) || n < 0 && strings.Contains(text, strconv.FormatInt(n, 10)) {
					t.Errorf("%s of %d: the %s says:\n%s", test.mail.Kind(), n, part, text)
				}
			}
		}
	}
}

// A greeting ends its line, and the next line begins with a capital.
func TestTextAfterTheGreeting(t *testing.T) {
	set := newSet(t)
	for _, kind := range []templates.Kind{"otp", "welcome"} {
		_, after, _ := strings.Cut(render(t, set, samples(kind)[0]).Text, "Hi Ann Keller,\n\n")
		if first, _ := utf8.DecodeRuneInString(after); !unicode.IsUpper(first) {
			t.Errorf("%s goes on with %.20q", kind, after)
		}
	}
}

func TestDateLeftOut(t *testing.T) {
	set := newSet(t)
	for kind, label := range map[templates.Kind]string{
		"booking_confirmation": "Booked on", "booking_cancellation": "Cancelled on",
		"waitlist_joined": "Joined on", "waitlist_cancellation": "Left on",
	} {
		with, without := render(t, set, samples(kind)[0]), render(t, set, samples(kind)[1])
		if !strings.Contains(with.Text, label) || !strings.Contains(with.HTML, label) {
			t.Errorf("%s: no %q", kind, label)
		}
		if strings.Contains(without.Text, label) || strings.Contains(without.HTML, label) {
			t.Errorf("%s: %q without a date", kind, label)
		}
	}
}

func TestConcurrentRender(t *testing.T) {
	set := newSet(t)
	var g errgroup.Group
	for i := range 8 {
		kind := kinds()[i%len(kinds())]
		want := render(t, set, samples(kind)[0])
		g.Go(func() error {
			for range 20 {
				got, err := set.Render(samples(kind)[0])
				if err != nil {
					return err
				}
				if got != want {
					return fmt.Errorf("%s: two renderings differ", kind)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func BenchmarkRender(b *testing.B) {
	set := newSet(b)
	for _, kind := range kinds() {
		b.Run(string(kind), func(b *testing.B) {
			m := samples(kind)[0]
			b.ReportAllocs()
			for b.Loop() {
				if _, err := set.Render(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := tasks.NewTemplates(options()); err != nil {
			b.Fatal(err)
		}
	}
}
