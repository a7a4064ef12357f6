package templates_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

// own returns files as the folder of an operator has them.
func own(files map[string]string) (all []templates.File) {
	for name, text := range files {
		all = append(all, templates.File{Name: name, Path: "/etc/mails/" + name, Text: text})
	}
	return all
}

// german returns the files of testdata/own.
func german(t testing.TB) map[string]string {
	t.Helper()
	files := map[string]string{}
	dir := os.DirFS("testdata/own")
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(dir, name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func ownSet(t testing.TB, o templates.Options, files map[string]string) *templates.Set {
	t.Helper()
	o.Files = own(files)
	s, err := tasks.NewTemplates(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func booking() templates.Mail {
	price, _ := templates.ParseMoney("12345.5", "EUR")
	return tasks.BookingConfirmation{EventName: "Jazz", BookingID: "BK-1", Quantity: 1, Total: price, Date: templates.WhenOn(time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC))}
}

// A mail is in the nearest language that is complete, in all of its parts.
func TestLocales(t *testing.T) {
	t.Parallel()
	english := ownSet(t, options(), german(t))
	o := options()
	o.Locale = "de-CH"
	germany := ownSet(t, o, german(t))
	for _, test := range []struct {
		set          *templates.Set
		locale, lang string
	}{
		{english, "", "en"}, {english, "de", "de"}, {english, "de-DE", "de"}, {english, "de_DE.UTF-8", "de"}, {english, "DE", "de"}, {english, "de-AT", "de-AT"},
		{english, "fr", "en"}, {english, "en-GB", "en"}, {english, "x", "en"}, {english, strings.Repeat("de-", 1000), "en"}, {english, "C", "en"},
		{germany, "", "de"}, {germany, "fr-CA", "de"}, {germany, "en-GB", "en"}, {germany, "de-AT", "de-AT"},
	} {
		r, err := test.set.Render(templates.InLocale(booking(), test.locale))
		if err != nil {
			t.Fatal(err)
		}
		if r.Locale != test.lang || !strings.Contains(r.HTML, `<html lang="`+test.lang+`" dir="ltr"`) {
			t.Errorf("%q: %s", test.locale, r.Locale)
		}
		want := []string{"Buchungsbestätigung", "Veranstaltung", "1 Karte", "12.345,50 EUR", "31. Januar 2026", "Fragen?"}
		switch test.lang {
		case "de-AT":
			want[4] = "31. Jänner 2026"
		case "en":
			want = []string{"Booking Confirmation", "Event", "1 ticket", "12,345.50 EUR", "31 January 2026", "Questions?"}
		}
		for i, w := range want {
			if part := r.Subject; i == 0 && !strings.Contains(part, w) {
				t.Errorf("%q: subject %q", test.locale, part)
			}
			if i > 0 && (!strings.Contains(r.Text, w) || !strings.Contains(words(t, r.HTML), w)) {
				t.Errorf("%q: the bodies lack %q:\n%s", test.locale, w, r.Text)
			}
		}
		// A kind without the language is wholly in the default one.
		if other := render(t, test.set, templates.InLocale(samples("otp")[0], test.locale)); other.Locale != "en" || !strings.Contains(other.Text, "Questions?") {
			t.Errorf("%q: the code is in %s", test.locale, other.Locale)
		}
	}
	if got := english.Locales("booking_confirmation"); strings.Join(got, " ") != "en de de-AT" {
		t.Errorf("languages: %q", got)
	}
}

// A language that lacks a part or a word of a kind is not used for the kind, and what is missing is
// told.
func TestIncompleteLocale(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(map[string]string)
		want   string
	}{
		{"part", func(f map[string]string) { delete(f, "booking_confirmation/text.de.tmpl") }, "booking_confirmation: de: mails are not sent in this language, because booking_confirmation/text.de.tmpl is missing"},
		{"parts", func(f map[string]string) {
			delete(f, "booking_confirmation/text.de.tmpl")
			delete(f, "booking_confirmation/html.de.tmpl")
		}, "because booking_confirmation/html.de.tmpl and booking_confirmation/text.de.tmpl are missing"},
		{"word", func(f map[string]string) {
			f["words.de.txt"] = strings.Replace(f["words.de.txt"], "ticket [one] = Karte\n", "", 1)
		}, `/etc/mails/words.de.txt: booking_confirmation: de: mails are not sent in this language, because words.de.txt lacks "ticket [one]"`},
	} {
		files := german(t)
		test.change(files)
		s := ownSet(t, options(), files)
		found := false
		for _, w := range s.Warnings() {
			found = found || w.Warning && strings.Contains(w.Error(), test.want)
		}
		if !found {
			t.Errorf("%s: %v", test.name, s.Warnings())
		}
		if r := render(t, s, templates.InLocale(booking(), "de")); r.Locale != "en" || strings.Contains(r.Text+r.HTML+r.Subject, "Buchung") {
			t.Errorf("%s: the mail is in %s, or in two languages", test.name, r.Locale)
		}
	}
}

// Faulty templates are refused, with the file, the line, and what to do.
func TestFaultsOfOwnTemplates(t *testing.T) {
	t.Parallel()
	const head = `{{define "why"}}why{{end}}{{define "hero"}}<h1 {{look "h1"}}>Hi</h1>{{end}}` + "\n"
	body := func(text string) string {
		return head + `{{define "content"}}<p {{look "p"}}>{{unlink .Name}} {{.Code}}` + "\n" + text + "</p>{{end}}"
	}
	for _, test := range []struct{ name, file, text, want string }{
		{"kind", "otpp/html.tmpl", "x", `there is no kind of mail "otpp"; kinds are otp`},
		{"part", "otp/body.tmpl", "x", "parts are subject.tmpl"},
		{"language", "otp/html.german.tmpl", "x", `"german" is no language`},
		{"name", "nothing.tmpl", "x", "is no template; names are"},
		{"dots", "otp/html.de.AT.tmpl", "x", "too many dots"},
		{"field", "otp/html.tmpl", body("{{.Cod}}"), "/etc/mails/otp/html.tmpl:3:2: otp: <.Cod>: can't evaluate field Cod"},
		{"fields that there are", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{.Cod}}{{end}}`, "the data has .Address, .Brand, .Code"},
		{"function", "otp/subject.tmpl", "{{env}}", `/etc/mails/otp/subject.tmpl:1: otp: function "env" not defined`},
		{"denied function", "otp/html.tmpl", body("{{html .Name}}"), `/etc/mails/otp/html.tmpl:3: otp: the function "html" is not for mails`},
		{"code in the subject", "otp/subject.tmpl", "{{.Code}}", "/etc/mails/otp/subject.tmpl: otp: subject: shows the code"},
		{"code in the preheader", "otp/preheader.tmpl", "This is the code that you have asked for: {{.Code}}", "preheader: shows the code"},
		{"no code", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{.Name}} {{.Minutes}} minutes{{end}}`, "text part: lacks the code"},
		{"no fact in the text", "booking_confirmation/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{.Event}}{{end}}`, `text part: lacks "BK-2026-004217"`},
		{"link of a user", "otp/html.tmpl", head + `{{define "content"}}<p {{look "p"}}>{{.Name}} {{.Code}}</p>{{end}}`, "escaping: a text of a user is printed"},
		{"image", "otp/html.tmpl", body(`<img src="https://evil.example/x.png" alt="x" width="1" height="1">`), "/etc/mails/otp/html.tmpl:3: otp: img: these mails load nothing"},
		{"faint", "otp/html.tmpl", body(`<span style="color:#999999">pale</span>`), `/etc/mails/otp/html.tmpl:3: otp: text "pale": contrast of #999999`},
		{"wide", "otp/html.tmpl", body(`<span style="width:900px">x</span>`), "/etc/mails/otp/html.tmpl:3: otp: span: is 900 pixels wide"},
		{"plain http", "otp/html.tmpl", body(`<a href="http://evently.com">http://evently.com</a>`), "a: want an https or mailto target"},
		{"size", "otp/html.tmpl", body(strings.Repeat("<br>", 15000)), "bytes, at most 60000 are allowed"},
		{"loop without an end", "otp/html.tmpl", body("{{range 1000000000}}{{end}}"), "takes more than 20000 steps"},
		{"loop that assigns", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{$x := ""}}{{range 1000000000}}{{$x = "a"}}{{end}}{{end}}`, "takes more than 20000 steps"},
		{"recursion", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{template "content" .}}{{template "content" .}}{{end}}`, `/etc/mails/otp/text.tmpl:1: otp: the template "content" calls itself`},
		{"output", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{range 10000}}` + strings.Repeat("x", 1000) + `{{end}}{{end}}`, "writes more than 262144 bytes"},
		{"text that doubles", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{$x := "xxxxxxxxxxxxxxxx"}}{{range 60}}{{$x = print $x $x}}{{end}}{{end}}`, "the text is too long"},
		{"padding", "otp/text.tmpl", `{{define "why"}}{{end}}{{define "content"}}{{printf "%999999d" 1}}{{end}}`, "the text is too long"},
		{"no content", "otp/text.tmpl", "", `/etc/mails/otp/text.tmpl: otp: has no {{define "content"}}; docs/templates.md`},
		{"no hero", "otp/html.tmpl", `{{define "why"}}why{{end}}{{define "content"}}x{{end}}`, `/etc/mails/otp/html.tmpl: otp: has no {{define "hero"}}; docs/templates.md`},
		{"function that does not exist", "otp/html.tmpl", body("{{nothing .Name}}"), `/etc/mails/otp/html.tmpl:3: otp: function "nothing" not defined; docs/templates.md`},
		{"cut off", "otp/text.tmpl", "{{define \"content\"}}\n{{if .Code}}", "/etc/mails/otp/text.tmpl:2: otp: unexpected EOF"},
		{"word", "words.de.txt", "# ok\nEvent: Veranstaltung", "/etc/mails/words.de.txt:2: not a word and its translation"},
		{"word with markup", "words.txt", "Event = <b>", "/etc/mails/words.txt:1: holds < or >"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := options()
			o.Files = own(map[string]string{test.file: test.text})
			_, err := tasks.NewTemplates(o)
			if _, ok := errors.AsType[templates.Faults](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v; want %s", err, test.want)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		o := options()
		o.Files = []templates.File{{Name: "otp/subject.tmpl", Path: "a", Text: "Code"}, {Name: "otp.subject.tmpl", Path: "b", Text: "Code"}}
		if _, err := tasks.NewTemplates(o); err == nil || !strings.Contains(err.Error(), "b: stands for the same template as a") {
			t.Errorf("%v", err)
		}
	})
}

// A further template that no mail uses is a warning: its name may be meant for a mail.
func TestUnusedTemplate(t *testing.T) {
	t.Parallel()
	s := ownSet(t, options(), map[string]string{
		"opt.html.tmpl": `{{define "hero"}}Hi{{end}}{{define "mine"}}{{template "hi"}}{{end}}{{define "hi"}}{{end}}`, "note.html.tmpl": `{{define "note"}}<p {{look "last"}}>note</p>{{end}}`,
		"welcome/html.tmpl": `{{define "why"}}why{{end}}{{define "hero"}}<h1 {{look "h1"}}>Hi</h1>{{end}}{{define "content"}}{{template "note"}}{{end}}`,
	})
	if w := s.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0].Error(), "/etc/mails/opt.html.tmpl: no file uses a template that it defines") {
		t.Errorf("%v", w)
	}
}

// Own templates take the place of the embedded ones, and the rest stays.
func TestOverlay(t *testing.T) {
	t.Parallel()
	s := ownSet(t, options(), map[string]string{
		"otp.subject.tmpl": "Ihr Code", "words.txt": "Booking ID = Order", "note.html.tmpl": `{{define "note"}}<p {{look "last"}}>note</p>{{end}}`,
		"welcome/html.tmpl": `{{define "why"}}why{{end}}{{define "hero"}}<h1 {{look "h1"}}>Hi</h1>{{end}}{{define "content"}}{{template "note"}}{{end}}`,
	})
	if r := render(t, s, samples("otp")[0]); r.Subject != "Ihr Code" || !strings.Contains(r.Text, "VERIFY YOUR EMAIL") {
		t.Errorf("%+v", r)
	}
	if r := render(t, s, samples("booking_confirmation")[0]); !strings.Contains(r.Text, "Order:") || strings.Contains(words(t, r.HTML), "Booking ID") {
		t.Errorf("%s", r.Text)
	}
	if r := render(t, s, samples("welcome")[0]); !strings.Contains(r.HTML, "note") {
		t.Errorf("%s", r.HTML)
	}
	// Embedded templates, exported and used as they are, make the same mails to the last byte.
	files := map[string]string{}
	for _, f := range templates.Embedded() {
		files[f.Name] = f.Text
	}
	bound, plain := ownSet(t, options(), files), newSet(t)
	for _, m := range allSamples() {
		if _, err := m.View(templates.Page{}); err != nil {
			continue
		}
		a, b := render(t, bound, m), render(t, plain, m)
		if a != b {
			t.Errorf("%s differs with bounds", m.Kind())
		}
	}
}

// Every colour makes mails that can be read, in light and dark.
func TestBrand(t *testing.T) {
	t.Parallel()
	for _, colour := range []string{"#ffcc00", "#FFFFFF", "#000000", "#4f46e5", "#808080", "#ff0000", "#00ff00", "#123456"} {
		o := options()
		o.Color, o.Brand, o.Address = colour, "Örtli & Co", "Örtli GmbH, Hafenstr. 1"
		o.Logo = &templates.Logo{URL: "https://evently.com/logo.png", Width: 120, Height: 30}
		s, err := tasks.NewTemplates(o)
		if err != nil {
			t.Errorf("%s: %v", colour, err)
			continue
		}
		r := render(t, s, samples("waitlist_notification")[0])
		for _, want := range []string{strings.ToLower(colour), `<img src="https://evently.com/logo.png" width="120" height="30" alt="Örtli &amp; Co"`, "Hafenstr"} {
			if !strings.Contains(r.HTML, want) {
				t.Errorf("%s: no %q", colour, want)
			}
		}
		if !strings.Contains(r.Text, "Örtli GmbH, Hafenstr. 1") || !strings.HasPrefix(r.Text, "Örtli & Co") {
			t.Errorf("%s", r.Text)
		}
	}
	for want, change := range map[string]func(*templates.Options){
		`Color: "red" is not a colour; want one like #4f46e5`:                                  func(o *templates.Options) { o.Color = "red" },
		"LinkColor: #ffcc00 on #eeedfd has a contrast of 1.31; readers need 4.5; want #826800": func(o *templates.Options) { o.LinkColor = "#ffcc00" },
		"ButtonTextColor: #ffffff on #ffcc00":                                                  func(o *templates.Options) { o.Color, o.ButtonTextColor = "#ffcc00", "#ffffff" },
		"Logo: not an https URL":                                                               func(o *templates.Options) { o.Logo = &templates.Logo{URL: "http://a/b.png", Width: 1, Height: 1} },
		"Logo: an SVG": func(o *templates.Options) {
			o.Logo = &templates.Logo{URL: "https://a.example/b.svg", Width: 1, Height: 1}
		},
		"LogoSize: 0x900 pixels; want 1x1 to 320x96":                  func(o *templates.Options) { o.Logo = &templates.Logo{URL: "https://a.example/b.png", Height: 900} },
		"Brand: not a name on one line":                               func(o *templates.Options) { o.Brand = "a\nb" },
		"Address: not one line":                                       func(o *templates.Options) { o.Address = "a\nb" },
		`Locale: "german" is no language`:                             func(o *templates.Options) { o.Locale = "german" },
		"no templates are in the language of DEFAULT_LOCALE, fr; add": func(o *templates.Options) { o.Locale = "fr" },
	} {
		o := options()
		change(&o)
		if _, err := tasks.NewTemplates(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// A template of any text is refused or makes a mail, in time and within bounds.
func FuzzOwnTemplate(f *testing.F) {
	for _, e := range templates.Embedded() {
		if strings.HasPrefix(e.Name, "otp/") {
			f.Add(filepath.Base(e.Name), e.Text)
		}
	}
	f.Add("text.tmpl", `{{define "content"}}{{range 9999999}}{{template "content" .}}{{end}}{{end}}`)
	f.Add("html.tmpl", `{{define "content"}}{{range $i := .Name}}{{end}}{{break}}{{end}}`)
	sample := samples("otp")[:1]
	f.Fuzz(func(t *testing.T, name, text string) {
		o := options()
		o.Files = []templates.File{{Name: "otp/" + name, Path: name, Text: text}}
		began := time.Now()
		s, err := templates.New(o, sample)
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("%s", d)
		}
		if err != nil {
			return
		}
		if _, err := s.Render(sample[0]); err != nil {
			t.Errorf("checked, and then: %v", err)
		}
	})
}
