package templates_test

import (
	"io/fs"
	"math"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/evently/workers/templates"
)

// TestLintSees breaks a good mail in one place at a time.
func TestLintSees(t *testing.T) {
	good := render(t, newSet(t), samples("waitlist_notification")[0])
	if err := templates.Lint(good); err != nil {
		t.Fatalf("a good mail: %v", err)
	}
	const link = "https://evently.com/book/4217?spot=c1f0"
	tests := []struct {
		name, part, old, new string // every old becomes new
		want                 string
	}{
		{"empty subject", "subject", good.Subject, "", "subject: want one line"},
		{"two subjects", "subject", " - ", "\n", "subject: want one line"},
		{"long subject", "subject", " - ", strings.Repeat("x", 200), "subject: want one line"},
		{"empty text", "text", good.Text, "", "text part: is empty"},
		{"control in text", "text", "30", "\x1b[1m30", "line 5: holds a control"},
		{"weight", "html", "</body>", strings.Repeat("<p></p>", 9000), "bytes, at most"},
		{"broken escape", "html", "Position", "#ZgotmplZ", "ZgotmplZ"},
		{"no value", "text", "30", "<no value>", "<no value>"},
		{"no comment", "html", "<!--[if mso]>", "", "conditional comments"},
		{"half a comment", "html", "<!--[if mso]></td>", "</td>", "conditional comments"},
		{"no dark scheme", "html", "@media (prefers-color-scheme:dark)", "@media print", "prefers-color-scheme"},
		{"no narrow layout", "html", "@media (max-width:", "@media (min-width:", "max-width"},
		{"no language", "html", `<html lang="en"`, `<html`, "html: want lang"},
		{"no inner language", "html", `align="center" lang="en"`, ``, "on the column"},
		{"no title", "html", "<title>" + good.Subject, "<title>", "title: is missing"},
		{"no scheme meta", "html", `<meta name="color-scheme"`, `<meta name="x"`, "color-scheme"},
		{"no viewport", "html", `name="viewport"`, `name="x"`, "viewport"},
		{"no preheader", "html", "display:none;", "", "preheader: want"},
		{"short preheader", "html", " to complete your booking before the spot moves on: Nordic Jazz Night", "", "preheader: 19 visible"},
		{"long preheader", "html", "You have 30 minutes", strings.Repeat("You have time ", 9), "preheader: "},
		{"layout table", "html", `<table role="presentation" class="panel`, `<table class="panel`, "role=presentation"},
		{"image", "html", "<h1", `<img alt="" src="https://evil.example/x.png"><h1`, "img: these mails load nothing"},
		{"background", "html", "<h1", `<p style="background:url(x)"></p><h1`, "loads something"},
		{"script", "html", "<h1", "<script></script><h1", "script: has no place"},
		{"handler", "html", "<h1 ", `<h1 onclick="x" `, "attribute onclick"},
		{"plain http", "html", `href="https:`, `href="http:`, "https or mailto"},
		{"javascript", "html", `href="` + link, `href="javascript:alert(1)`, "https or mailto"},
		{"silent link", "html", ">" + link + "<", "><", "says nothing"},
		{"link not to be read", "html", ">" + link + "<", ">here<", "nowhere to be read"},
		{"link not in text", "text", link, "", "lacks the address of a link"},
		{"support not in text", "text", "help@evently.com", "", "lacks the address help@evently.com"},
		{"fact not in text", "text", "Nordic Jazz Night", "", `lacks "Nordic Jazz Night"`},
		{"minutes not in text", "text", "30 minutes", "", `lacks "30 minutes"`},
		{"faint text", "html", "status c-wait", "status c-line", "contrast of line"},
		{"no colour", "html", `"h1 c-ink"`, `"h1 c-inkk"`, "want a look"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := good
			part := map[string]*string{"subject": &r.Subject, "text": &r.Text, "html": &r.HTML}[test.part]
			if !strings.Contains(*part, test.old) {
				t.Fatalf("the mail has no %q to break", test.old)
			}
			*part = strings.ReplaceAll(*part, test.old, test.new)
			if err := templates.Lint(r); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("lint says %v; want %q", err, test.want)
			}
		})
	}
}

func TestContrast(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want float64
	}{
		{"#000000", "#ffffff", 21}, {"#ffffff", "#ffffff", 1}, {"#767676", "#ffffff", 4.54}, {"#ff0000", "#00ff00", 2.91},
	} {
		got, err := templates.Contrast(test.a, test.b)
		if err != nil || math.Abs(got-test.want) > 0.01 {
			t.Errorf("contrast of %s and %s is %.3f, %v; want %.2f", test.a, test.b, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "#fff", "red", "#12345g", "1234567"} {
		if _, err := templates.Contrast(bad, "#ffffff"); err == nil {
			t.Errorf("%q is taken for a colour", bad)
		}
	}
}

// TestNewFindsFaults spoils one template at a time. New must name the file and the line.
func TestNewFindsFaults(t *testing.T) {
	tests := []struct{ name, file, old, new, want string }{
		{"syntax", "otp/html.tmpl", "{{.Minutes}}", "{{.Minutes", `otp/html\.tmpl:\d+: `},
		{"unknown field", "otp/text.tmpl", "{{.Minutes}}", "{{.Minute}}", `otp/text\.tmpl:\d+:\d+: .*Minute`},
		{"unknown field, HTML", "welcome/html.tmpl", ".SiteURL", ".SiteUrl", `welcome/html\.tmpl:\d+:\d+: .*SiteUrl`},
		{"unknown look", "otp/html.tmpl", `look "codebox"`, `look "codebx"`, `otp/html\.tmpl:\d+:\d+: .*no look "codebx"`},
		{"unknown tone", "partials.html.tmpl", `look "dot" .Tone`, `look "dot"`, `partials\.html\.tmpl:\d+:\d+: .*no look "dot"`},
		{"unknown template", "booking_confirmation/html.tmpl", `template "facts"`, `template "fact"`, `booking_confirmation/html\.tmpl:\d+:\d+: .*"fact"`},
		{"unknown function", "layout.txt.tmpl", "{{.Brand}}", "{{brand}}", `layout\.txt\.tmpl:1: .*"brand"`},
		{"unsafe place", "otp/html.tmpl", `<bdi>{{unlink .Name}}</bdi>`, `<script>x = {{.Name}</script>`, `otp/html\.tmpl:\d+`},
		{"unclosed quote", "otp/html.tmpl", `<p dir="ltr"`, `<p dir="ltr`, `otp/html`},
		{"fact left out of the text", "otp/text.tmpl", "{{.Code}}", "", `otp/text.tmpl: otp: text part: lacks "048213"`},
		{"long subject", "otp/subject.tmpl", "Verify", strings.Repeat("x", 57), `otp: subject: 78 characters, at most 77`},
		{"short preheader", "welcome/preheader.tmpl", "Here is what you can do next.", "", `welcome: preheader: 31 visible`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			files := copied(t)
			f := files[test.file]
			if f == nil || !strings.Contains(string(f.Data), test.old) {
				t.Fatalf("%s has no %q to spoil", test.file, test.old)
			}
			files[test.file] = &fstest.MapFile{Data: []byte(strings.Replace(string(f.Data), test.old, test.new, 1))}
			_, err := templates.NewFrom(files, options(), allSamples())
			if err == nil || !regexp.MustCompile(test.want).MatchString(err.Error()) {
				t.Errorf("New says %v; want %s", err, test.want)
			}
		})
	}
	t.Run("missing file", func(t *testing.T) {
		t.Parallel()
		files := copied(t)
		delete(files, "otp/subject.tmpl")
		if _, err := templates.NewFrom(files, options(), allSamples()); err == nil || !strings.Contains(err.Error(), "otp/subject.tmpl") {
			t.Errorf("New says %v; want the missing file", err)
		}
	})
}

func copied(t *testing.T) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(templates.EmbeddedFS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(templates.EmbeddedFS(), path)
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
