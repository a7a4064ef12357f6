package templates_test

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

// hostile returns texts that attackers register as a name.
func hostile() []string {
	return []string{
		"", " ", "\x00",
		`<script>alert(1)</script>`,
		`<img src=x onerror=alert(1)>`,
		`"><a href="https://evil.example/">here</a>`,
		`' onmouseover='alert(1)`,
		`</title></style></table></td></body></html>`,
		`<!--[if mso]><b>`, `<![endif]-->`, `--!><b>`,
		`{{.Code}} {{template "why" .}}`, `%s%n%!d(x) %0a`,
		"Ann\r\nBcc: victim@evil.example\r\n\r\nbody", "Ann\nSubject: x", "Ann\u2028Bcc: x", "Ann\x0bB\x0cC\x85D",
		"\u202eelpmaxe.live\u202c", "\u2066a\u2069\u200e\u200f\u061c", "a\u200bb\ufeffc\u00ad\u2060d",
		"javascript:alert(1)", "data:text/html,x", "JAVASCRIPT:alert(1)",
		"https://evil.example/login", "www.evil.example", "evil.example", "write to me@evil.example", "tel:+15551234", "//evil.example",
		"Ann 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️", "می\u200cخواهم", "שלום עולם", "A" + strings.Repeat("\u0301", 200),
		strings.Repeat("x", 5000), strings.Repeat("word ", 1000), strings.Repeat("<b>", 1700), strings.Repeat("👩‍👩‍👧", 900),
		"\xff\xfe\x80", "\ufffd\ufffe\U0010ffff\ue000\ufdd0", "\u3164\u115f\u2800", "\u0301leading", "\u200cم",
	}
}

// mailOf fills every text field of a kind with s, and fields of links with url. Numbers
// and dates stay, so that two mails of a kind differ in text alone.
func mailOf(kind templates.Kind, s, url string) templates.Mail {
	return changed(samples(kind)[0], func(field reflect.Value) {
		if field.Kind() != reflect.String {
			return
		}
		switch sample := field.String(); {
		case strings.HasPrefix(sample, "https://"):
			field.SetString(url)
		case strings.Contains(sample, "@"):
			// The line of an empty address would be left out; no mail has an empty one.
			field.SetString("x" + s)
		case !isCode(sample):
			field.SetString(s)
		}
	})
}

func TestHostileText(t *testing.T) {
	set := newSet(t)
	for _, kind := range kinds() {
		for i, s := range hostile() {
			checkHarmless(t, set, kind, s, s)
			if t.Failed() {
				t.Fatalf("%s with hostile text %d", kind, i)
			}
		}
	}
}

func FuzzUserText(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s, s)
	}
	f.Add("Jazz", "https://evently.com/book?a=1&b=<x>\"'\x01ü#f")
	set := newSet(f)
	f.Fuzz(func(t *testing.T, s, url string) {
		for _, kind := range kinds() {
			checkHarmless(t, set, kind, s, url)
		}
	})
}

// checkHarmless compares a mail with the same mail of benign text. The text may differ;
// elements, attributes, targets and lines may not.
func checkHarmless(t *testing.T, set *templates.Set, kind templates.Kind, s, url string) {
	t.Helper()
	r := render(t, set, mailOf(kind, s, url))
	name := "Jazz"
	if templates.Clean(s, 10) == "" {
		name = "" // its line may be left out
	}
	benign := render(t, set, mailOf(kind, name, ""))
	var shown string // the booking URL, where the mail has it
	got := structure(t, r.HTML)
	for _, line := range got {
		if _, href, ok := strings.Cut(line, "href=https://evently.com/"); ok && kind == "waitlist_notification" {
			shown = "https://evently.com/" + href
			shown, _, _ = strings.Cut(shown, " ")
		}
	}
	if shown == "" && strings.Contains(r.Text, "Complete your booking:") {
		shown = "https://evently.com" // the bare host
	}
	if shown != "" {
		benign = render(t, set, mailOf(kind, name, shown))
	}
	if diff := cmp.Diff(structure(t, benign.HTML), got); diff != "" {
		t.Errorf("%s: text became markup (-benign +got):\n%s", kind, diff)
	}
	if a, b := strings.Count(benign.Text, "\n"), strings.Count(r.Text, "\n"); a != b {
		t.Errorf("%s: %d lines of text, %d with benign data:\n%s", kind, b, a, r.Text)
	}
	if a, b := comments(benign.HTML), comments(r.HTML); a != b {
		t.Errorf("%s: %d comments, %d with benign data", kind, b, a)
	}
	for part, v := range map[string]string{"subject": r.Subject, "text": strings.ReplaceAll(r.Text, "\n", "")} {
		if i := strings.IndexFunc(v, forbidden); i >= 0 {
			t.Errorf("%s: %s holds %q", kind, part, v[i:min(len(v), i+4)])
		}
	}
	if n := len([]rune(r.Subject)); n == 0 || n > 150 {
		t.Errorf("%s: the subject has %d characters", kind, n)
	}
	if len(r.HTML) > 40_000 {
		t.Errorf("%s: %d bytes of HTML", kind, len(r.HTML))
	}
	if link := autolink.FindString(bodyText(t, r.HTML)); link != "" {
		t.Errorf("%s: mail programs would make a link of %q in the HTML", kind, link)
	}
}

// autolink matches text that mail programs make a link of.
var autolink = regexp.MustCompile(`(?i)(\p{L}:/|\bwww\.\S|[^\s.]\.\p{L}|\S@\S|\b(javascript|data|mailto|tel):\S)`)

// bodyText returns the text of a page with the hidden preheader, without the title and our
// own links. There is a space between two elements, because mail programs look for links
// in one element at a time.
func bodyText(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	var b strings.Builder
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode && (n.Data == "head" || n.Data == "a") {
			return
		}
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
	}
	walk(doc)
	return b.String()
}

func forbidden(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

func comments(s string) int { return strings.Count(s, "<!--") }

// structure lists the elements and attributes of a page, without its text.
func structure(t *testing.T, page string) []string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	var lines []string
	for n := range doc.Descendants() {
		switch n.Type {
		case html.ElementNode:
			line := n.Data
			for _, a := range n.Attr {
				line += fmt.Sprintf(" %s=%s", a.Key, a.Val)
			}
			if line != "span" { // see unlink
				lines = append(lines, line)
			}
		case html.CommentNode:
			lines = append(lines, "comment "+n.Data)
		}
	}
	return lines
}

// Text that is copied out of a mail has every character that the producer sent.
func TestCopiedText(t *testing.T) {
	set := newSet(t)
	for _, value := range []string{
		"ann.lee", "ann.lee@example.com", "a.b.c", "BK.2026.x-17", "https://tickets.example.com/17", "tel:5551234", "www.example.com", "x@y", "Node.js: v2.0", "<b.c>", "a&b.c",
	} {
		for _, m := range []templates.Mail{
			tasks.Welcome{Username: value, Email: value},
			tasks.BookingConfirmation{EventName: value, BookingID: value},
			tasks.BookingCancellation{EventName: value, BookingID: value, Reason: value},
			tasks.WaitlistNotification{EventName: value}, tasks.WaitlistJoined{EventName: value}, tasks.WaitlistCancellation{EventName: value},
		} {
			r := render(t, set, m)
			if !strings.Contains(r.Text, value) {
				t.Errorf("%s: the text does not say %q:\n%s", m.Kind(), value, r.Text)
			}
			if !strings.Contains(words(t, r.HTML), value) {
				t.Errorf("%s: the HTML does not say %q", m.Kind(), value)
			}
			if link := autolink.FindString(bodyText(t, r.HTML)); link != "" {
				t.Errorf("%s: mail programs would make a link of %q in the HTML", m.Kind(), link)
			}
		}
	}
}

// No mail adds an invisible character where a reader could copy it.
func TestNothingUnseenIsAdded(t *testing.T) {
	set := newSet(t)
	for _, kind := range kinds() {
		for i, m := range []templates.Mail{samples(kind)[0], samples(kind)[1], mailOf(kind, "ann.lee@example.com: https://x.example", "")} {
			r := render(t, set, m)
			for part, text := range map[string]string{"subject": r.Subject, "text": r.Text, "HTML": words(t, r.HTML)} {
				if at := strings.IndexFunc(text, unseen); at >= 0 {
					t.Errorf("%s, sample %d: the %s holds %q", kind, i, part, text[max(0, at-10):min(len(text), at+10)])
				}
			}
		}
	}
}

// unseen reports whether a character is invisible. Line ends are not.
func unseen(r rune) bool {
	return r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf)
}

// No mail greets its reader by a name with a link in it.
func TestGreeting(t *testing.T) {
	set := newSet(t)
	for _, test := range []struct{ fullName, username, want string }{
		{"Ann Keller", "ann", "Ann Keller"},
		{"", "ann.lee", "ann.lee"},
		{"J.R.R. Tolkien", "jrr", "J.R.R. Tolkien"},
		{"Ann, see https://evil.example/x", "ann.lee", "ann.lee"},
		{"WWW.evil.example", "ann", "ann"},
		{"win at evil.example/prize", "www.evil.example", "there"},
		{"", "http://evil.example", "there"},
		{"", "", "there"},
	} {
		for _, m := range []templates.Mail{
			tasks.OTP{FullName: test.fullName, Username: test.username, Code: "1"},
			tasks.Welcome{FullName: test.fullName, Username: test.username},
		} {
			if r := render(t, set, m); !strings.Contains(r.Text, "Hi "+test.want+",\n") || !strings.Contains(words(t, r.HTML), "Hi "+test.want+",") {
				t.Errorf("%s: %q, %q is not greeted as %q:\n%s", m.Kind(), test.fullName, test.username, test.want, r.Text)
			}
		}
	}
}

func TestCodeStaysInside(t *testing.T) {
	const code = "907341"
	r := render(t, newSet(t), tasks.OTP{Username: "ann", Code: code})
	if r.Subject != "Verify Your Email - Evently" {
		t.Errorf("subject %q", r.Subject)
	}
	if n := strings.Count(r.HTML, code); n != 1 || !strings.Contains(r.HTML, ">"+code+"</p>") {
		t.Errorf("the code is %d times in the HTML; want it once, in one piece", n)
	}
	if n := strings.Count(r.Text, code); n != 1 || !strings.Contains(r.Text, "\n"+code+"\n") {
		t.Errorf("the code is %d times in the text; want it once, on a line of its own", n)
	}
}

// A code is shown unchanged, because the reader types it.
func TestCodeIsShownToTheLetter(t *testing.T) {
	set := newSet(t)
	for _, code := range []string{
		"0", "12  34", "<b>1<b>", "&amp;", `"'`, "%s{{}}", "--", "7KQ2-M9XD-44TL", "a_b+c=", "www",
		"١٢٣", "ÄÖ-7", "日本7",
		"!\"#$%&'()*+,-;<=>?[]^_`{|}", "~" + strings.Repeat("W", 31),
	} {
		r := render(t, set, tasks.OTP{Username: "ann", Code: code})
		if !strings.Contains(r.Text, "\n\n"+code+"\n\n") {
			t.Errorf("the text shows %q otherwise:\n%s", code, r.Text)
		}
		doc, err := html.Parse(strings.NewReader(r.HTML))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for n := range doc.Descendants() {
			for _, a := range n.Attr {
				if a.Key == "class" && strings.HasPrefix(a.Val, "code ") {
					got = n.FirstChild.Data
				}
			}
		}
		if got != code {
			t.Errorf("the HTML shows %q as %q", code, got)
		}
	}
}

func TestInvalidCode(t *testing.T) {
	set := newSet(t)
	for _, code := range []string{"", " ", " \r\n", "\u200b", strings.Repeat("7", 33), " 777", "777 ", "777\n", "77\t7", "77\x007", "77\u200c7", "77\u202e7", "7\u03017", "77\u30007", "7\ufffd7", "7\xff7", "👍7", "7\u31647", "7\u115f7",
		"https://evil.example", "evil.example", "www.evil.example/777", "a@b.co", "tel:5551234", "//evil", `\\evil`, "evil。example", "evil．example", "1.2.3.4"} {
		_, err := set.Render(tasks.OTP{Username: "ann", Code: code})
		invalid, ok := errors.AsType[*templates.InvalidError](err)
		if !ok || invalid.Field != "code" {
			t.Errorf("a code of %d bytes: %v; want an InvalidError of the code", len(code), err)
		}
		if ok && strings.Contains(err.Error(), "777") {
			t.Errorf("the error repeats the code: %v", err)
		}
	}
	if _, err := set.Render(nil); err == nil {
		t.Error("no mail at all is rendered")
	}
}
