package tasks_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

var (
	wholeWay = flag.Int("wholeway", 1500, "number of inputs of TestWholeWay")
	wholeFor = flag.Duration("wholeway.for", time.Hour, "longest time of TestWholeWay")
	pythonIn = flag.Int("wholeway.python", 2, "Python parses one mail in so many")
	waySeed  = flag.Uint64("wholeway.seed", 1, "seed of TestWholeWay")
)

// atoms are pieces of hostile texts: S4 to S8 of docs/reliability.md.
var atoms = []string{
	// Headers (S4).
	"\r\n", "\n", "\r", "\x00", "\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\r\nBcc: v@evil.example", "\nSubject: x\n\n", "\r\n\r\n<b>body</b>", "=?utf-8?q?=0D=0ABcc:_v@evil.example?=", "=?utf-8?b?DQpCY2M6IHg=?=",
	"=?x", "?=", ": ", "\t", "\r\n ", ";charset=utf-7", "\r\n--", "boundary=\"x\"",
	// Addresses (S5).
	"@", "a@b.example", ",evil@evil.example", "<x@evil.example>", " RCPT TO:<x@evil.example>", "\"\r\n\"@x", "(comment)", "@a.example:b@c.example", "[127.0.0.1]", "аррӏе.example", "bücher.example", "%", "!", "＠", "．", "..", "\\", "\"", "xn--a",
	// The end of a mail (S6).
	"\r\n.\r\n", "\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r.\r\n", ".", "..", "\r\n.\r\nMAIL FROM:<e@evil.example>\r\nRCPT TO:<x@example.com>\r\nDATA\r\n", "\x00.\x00", "BDAT 0 LAST", "\nFrom ", "QUIT",
	// HTML and URLs (S7).
	"<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><a href=\"https://evil.example/\">", "' onmouseover='x", "</title></style></td></html>", "<!--", "-->", "<![CDATA[", "&#x3c;script&#x3e;", "&lt;b&gt;", "javascript:alert(1)",
	"https://evil.example/", "//evil.example", "www.evil.example", "data:text/html,x", "https://evently.com@evil.example/", "https://evently.com.evil.example/", "https://evently.com\\@evil.example", "mailto:x@evil.example",
	// Templates (S8).
	"{{.Code}}", "{{template \"why\" .}}", "{{", "}}", "%s%n%!d(x)", "${x}", "#{x}", "<%= x %>", "{%x%}", "$(id)", "`id`",
	// Homographs and directions.
	"\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u061c", "\u2060", "\ufeff", "\u00ad", "\u034f", "\U000e0041", "Еvently", "Ｅvently", "Evеntly",
	"\u0301", "\u3164", "\ufffd", "\uffff", "\U0010ffff", "👩‍👩‍👧", "می\u200cخواهم", "שלום",
	// Plain.
	"Ann", "Jazz", " ", "2026-11-23", "0", "-1", "x", "Grüße", "日本", strings.Repeat("long ", 40), strings.Repeat("y", 1200),
}

// text returns a hostile text.
func text(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(5) {
		switch r.IntN(8) {
		case 0:
			b.WriteRune(rune(r.IntN(0x3000)))
		case 1:
			b.WriteRune(rune(r.IntN(utf8.MaxRune)))
		default:
			b.WriteString(atoms[r.IntN(len(atoms))])
		}
	}
	return b.String()
}

// value returns the JSON of a value for a field. Most mails must be sent, so most values are
// of the right kind.
func value(r *rand.Rand, f tasks.Field) any {
	hostile := r.IntN(4) > 0
	switch {
	case f.Input == tasks.Null:
		return nil
	case f.Input == tasks.Email && r.IntN(3) > 0:
		return fmt.Sprintf("u%d@example%d.com", r.IntN(100), r.IntN(100))
	case f.Input == tasks.Email && r.IntN(2) > 0:
		return "u" + text(r) + "@example.com"
	case f.Input == tasks.Code && r.IntN(4) > 0, f.Input == tasks.Number, f.Input == tasks.Date:
		hostile = r.IntN(6) == 0
	case f.Input == tasks.URL && r.IntN(2) > 0:
		return "https://evently.com/" + text(r)
	}
	if hostile {
		return text(r)
	}
	return f.Sample
}

// arguments returns a call of a task with hostile values, as producers send it.
func arguments(r *rand.Rand, of tasks.MailTask) string {
	data := map[string]any{}
	for _, f := range of.Fields {
		if !f.Required && r.IntN(6) == 0 {
			continue
		}
		outer, inner, nested := strings.Cut(f.Key, ".")
		if !nested {
			data[f.Key] = value(r, f)
			continue
		}
		m, _ := data[outer].(map[string]any)
		if m == nil {
			m = map[string]any{}
			data[outer] = m
		}
		m[inner] = value(r, f)
	}
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	if of.ToUser() {
		return `[42, ` + string(raw) + `]`
	}
	return `[` + string(raw) + `]`
}

// linkedTemplates makes the set with a site.
var linkedTemplates = sync.OnceValues(func() (*templates.Set, error) {
	return tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com"})
})

// input is a task that says that its mail was sent.
type input struct {
	name, args, result string
}

// Of any arguments that a producer sends, the relay gets one mail for each
// success and none for a refusal. Go and Python read the same mail: the expected fields,
// one recipient, which is that of the envelope, two parts, and links to our site only.
func TestWholeWay(t *testing.T) {
	r := rand.New(rand.NewPCG(*waySeed, 0))
	py := startPython(t)
	sent, refused, parsed := 0, 0, 0
	begin := time.Now()
	const batch = 250
	for done := 0; done < *wholeWay && time.Since(begin) < *wholeFor && !t.Failed(); done += batch {
		server := smtptest.New(t, smtptest.Options{LenientEnd: done%2 == 0, Extensions: []string{"SMTPUTF8"}})
		inputs, no := sendAll(t, r, server, min(batch, *wholeWay-done))
		mails := server.Mails()
		server.Stop()
		refused += no
		sent += len(inputs)
		if len(mails) != len(inputs) {
			t.Errorf("%d mails at the relay for %d sent ones, after input %d of seed %d", len(mails), len(inputs), done, *waySeed)
			continue
		}
		for i, m := range mails {
			got, fault := checkMail(m)
			if fault == nil && i%*pythonIn == 0 {
				parsed++
				fault = py.compare(m, got)
			}
			if fault != nil {
				t.Errorf("%s %s: %v\n%s", inputs[i].name, inputs[i].args, fault, m.Data[:min(len(m.Data), 900)])
				break
			}
		}
	}
	t.Logf("%d mails sent and read, %d of them by Python, %d inputs refused, in %s", sent, parsed, refused, time.Since(begin).Round(time.Second))
	if sent < refused {
		t.Errorf("%d inputs made a mail, %d were refused: they prove little", sent, refused)
	}
}

// sendAll runs tasks with hostile arguments against a relay. It returns the inputs that were sent.
func sendAll(t *testing.T, r *rand.Rand, server *smtptest.Server, n int) (sent []input, refused int) {
	t.Helper()
	sender, err := mail.New(mail.Config{
		Host: server.Host(), Port: server.Port(), Security: mail.Plain, FromName: "Evently", FromAddress: "mail@evently.com", HelloName: "w.evently.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sender.Run(ctx) }()
	defer func() {
		stop()
		<-ended
	}()
	set, err := linkedTemplates()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *tasks.Config) { c.Mailer, c.Templates = sender, set })
	table := tasks.Mails()
	for range n {
		of := table[r.IntN(len(table))]
		in := input{name: of.Name, args: arguments(r, of)}
		m := task(in.name, in.args, `{}`)
		result, err := b.run(ctx, m)
		if g, ok := errors.AsType[*worker.GiveUpError](err); ok {
			result, err = g.Result, nil
		}
		if err != nil {
			t.Fatalf("%s %s: %v", in.name, in.args, err)
		}
		raw, err := protocol.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		if in.result = string(raw); strings.Contains(in.result, `"success":true`) || strings.Contains(in.result, `"success": true`) {
			sent = append(sent, in)
		} else {
			refused++
		}
	}
	return sent, refused
}

// fields are those of a mail, sorted.
var fields = []string{
	"Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To", "X-Auto-Response-Suppress", "X-Entity-Ref-ID",
}

// reading is a mail as a program reads it.
type reading struct {
	Headers []string `json:"headers"`
	To      []string `json:"to"`
	From    []string `json:"from"`
	Subject string   `json:"subject"`
	Types   []string `json:"types"`
	Texts   []string `json:"texts"`
	Defects []string `json:"defects"`
}

// checkMail checks the octets of a mail, and what Go reads of it.
func checkMail(m smtptest.Mail) (got reading, err error) {
	if err := checkOctets(m); err != nil {
		return got, err
	}
	if got.Headers, err = fieldNames(m.Data); err != nil {
		return got, err
	}
	msg, err := netmail.ReadMessage(bytes.NewReader(m.Data))
	if err != nil {
		return got, err
	}
	for name, into := range map[string]*[]string{"To": &got.To, "From": &got.From} {
		list, err := msg.Header.AddressList(name)
		if err != nil || len(list) != 1 {
			return got, fmt.Errorf("%s: %d addresses, %w", name, len(list), err)
		}
		*into = []string{list[0].Address}
	}
	if envelope, err := netmail.ParseAddress(m.To); err != nil || got.To[0] != envelope.Address || got.From[0] != "mail@evently.com" || m.From != "mail@evently.com" {
		return got, fmt.Errorf("envelope from %q to %q, header from %q to %q, %w", m.From, m.To, got.From, got.To, err)
	}
	if got.Subject, err = new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject")); err != nil {
		return got, err
	}
	if got.Types, got.Texts, err = parts(msg); err != nil {
		return got, err
	}
	for part, s := range map[string]string{"subject": got.Subject, "text": strings.ReplaceAll(got.Texts[0], "\n", " ")} {
		if i := strings.IndexFunc(s, unseen); i >= 0 || s == "" {
			return got, fmt.Errorf("the %s has %q in it", part, s[max(i, 0):])
		}
	}
	return got, checkHTML(got.Texts[1])
}

// unseen reports whether a character hides, moves or ends text. The joiners are needed by
// some scripts, and stand between two of their characters only.
func unseen(r rune) bool {
	return r != '\u200c' && r != '\u200d' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// checkOctets checks the lines of a mail, and that it ends once.
func checkOctets(m smtptest.Mail) error {
	body, ended := bytes.CutSuffix(m.Raw, []byte("\r\n.\r\n"))
	if !ended {
		return errors.New("no end")
	}
	for line := range bytes.SplitSeq(body, []byte("\r\n")) {
		if bytes.ContainsAny(line, "\r\n\x00") || len(line) > 998 || bytes.Equal(line, []byte(".")) {
			return fmt.Errorf("line %q", line)
		}
	}
	return nil
}

// fieldNames returns the names of the fields, which have visible ASCII only.
func fieldNames(data []byte) (names []string, err error) {
	head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, _, found := bytes.Cut(line, []byte(":"))
		folded := len(line) > 1 && (line[0] == ' ' || line[0] == '\t') && len(bytes.TrimSpace(line)) > 0
		if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError }); i >= 0 || !found && !folded {
			return nil, fmt.Errorf("field %q", line)
		}
		if !folded {
			names = append(names, string(name))
		}
	}
	if slices.Sort(names); !slices.Equal(names, fields) {
		return nil, fmt.Errorf("fields %q, want %q", names, fields)
	}
	return names, nil
}

// parts returns the types and the texts of a mail with two parts.
func parts(msg *netmail.Message) (types, texts []string, err error) {
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return nil, nil, err
	}
	types = []string{kind}
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			return nil, nil, err
		}
		types, texts = append(types, kind), append(texts, strings.ReplaceAll(string(body), "\r\n", "\n"))
	}
	if !slices.Equal(types, []string{"multipart/alternative", "text/plain", "text/html"}) {
		return nil, nil, fmt.Errorf("parts %q", types)
	}
	return types, texts, nil
}

// checkHTML checks that nothing of a text became markup, and that links lead to our site.
func checkHTML(page string) error {
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() == io.EOF {
				return nil
			}
			return z.Err()
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			if slices.Contains([]string{"script", "iframe", "object", "embed", "form", "input", "img", "svg", "link", "base"}, token.Data) {
				return fmt.Errorf("the page has the element %s", token)
			}
			for _, a := range token.Attr {
				isLink := a.Key == "href" || a.Key == "src" || a.Key == "action" || a.Key == "background"
				ours := strings.HasPrefix(a.Val, "https://evently.com/") || a.Val == "https://evently.com" || a.Val == "mailto:help@evently.com"
				if strings.HasPrefix(a.Key, "on") || isLink && !ours {
					return fmt.Errorf("the page has the attribute %s=%q", a.Key, a.Val)
				}
			}
		}
	}
}

// python is a process that parses mails.
type python struct {
	in  io.Writer
	out *bufio.Reader
}

func startPython(t *testing.T) *python {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Python(t, testkit.CeleryNew), "testdata/parse.py")
	cmd.Env = testkit.PythonEnv()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &python{in, bufio.NewReaderSize(out, 1<<16)}
}

// compare lets Python read a mail, and compares that with what Go has read.
func (p *python) compare(m smtptest.Mail, want reading) error {
	if _, err := p.in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(m.Data))), m.Data...)); err != nil {
		return err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("python: %w", err)
	}
	var got reading
	if err := json.Unmarshal(line, &got); err != nil {
		return err
	}
	slices.Sort(got.Headers)
	for i := range got.Texts {
		got.Texts[i] = strings.TrimRight(got.Texts[i], "\n")
		want.Texts[i] = strings.TrimRight(want.Texts[i], "\n")
	}
	switch {
	case len(got.Defects) > 0:
		return fmt.Errorf("python: defects %q", got.Defects)
	case !slices.Equal(got.Headers, want.Headers), !slices.Equal(got.To, want.To), !slices.Equal(got.From, want.From), !slices.Equal(got.Types, want.Types):
		return fmt.Errorf("python reads %q %q %q %q, Go %q %q %q %q", got.Headers, got.To, got.From, got.Types, want.Headers, want.To, want.From, want.Types)
	case got.Subject != want.Subject, !slices.Equal(got.Texts, want.Texts):
		return fmt.Errorf("python reads the subject %q, Go %q; or the texts differ", got.Subject, want.Subject)
	}
	return nil
}
