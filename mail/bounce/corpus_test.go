package bounce_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/mail/bounce"
)

// sample is one message of the corpus with what it means.
type sample struct {
	file string // and the name of the message
	kind bounce.Kind
	want []string // "address class" of each recipient that failed or complained, sorted
	raw  string
}

// readCorpus reads testdata/*.txt. A line "=== name | kind | address class, address class"
// precedes each message. See testdata/README.md.
func readCorpus(tb testing.TB) (all []sample) {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for text := range strings.SplitSeq("\n"+string(content), "\n=== ") {
			title, raw, ok := strings.Cut(text, "\n")
			if !ok || title == "" {
				continue // the comment before the first message
			}
			fields := strings.Split(title, "|")
			if len(fields) < 2 {
				tb.Fatalf("%s: title %q", file, title)
			}
			s := sample{file: filepath.Base(file) + "/" + strings.TrimSpace(fields[0]), kind: bounce.Kind(strings.TrimSpace(fields[1])), raw: raw + "\n"}
			if len(fields) > 2 {
				for want := range strings.SplitSeq(fields[2], ",") {
					s.want = append(s.want, strings.TrimSpace(want))
				}
				slices.Sort(s.want)
			}
			all = append(all, s)
		}
	}
	return all
}

// found returns the recipients of a message in the form of [sample].
func found(msg bounce.Message) (got []string) {
	for _, r := range msg.Recipients {
		if r.Class != "" {
			got = append(got, fmt.Sprintf("%s %s", r.Address, r.Class))
		}
	}
	slices.Sort(got)
	return got
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	all := readCorpus(t)
	bounces, harmless := 0, 0
	for _, s := range all {
		if s.kind == bounce.Failed {
			bounces++
		} else {
			harmless++
		}
		for name, newline := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r"} {
			msg := parse(t, strings.ReplaceAll(s.raw, "\n", newline))
			if got := found(msg); msg.Kind != s.kind || !slices.Equal(got, s.want) {
				t.Errorf("%s with %s is %s %q, want %s %q\n%+v", s.file, name, msg.Kind, got, s.kind, s.want, msg)
				break
			}
			checkMessage(t, msg)
		}
	}
	if len(all) < 120 || bounces < 80 || harmless < 30 {
		t.Errorf("%d messages with %d bounces and %d harmless ones: too few to prove anything", len(all), bounces, harmless)
	}
}

// Every harmless message stays harmless when a mail system seems to have sent it, unless it is a
// report itself, and when it quotes every bounce of the corpus.
func TestHarmlessMailsQuoteBounces(t *testing.T) {
	t.Parallel()
	all := readCorpus(t)
	for _, s := range all {
		if s.kind != bounce.Failed {
			continue
		}
		quoted := "> " + strings.ReplaceAll(s.raw, "\n", "\n> ")
		for name, raw := range map[string]string{
			"reply":     "From: Ada <ada@example.com>\nTo: b@bounces.example.com\nSubject: Re: Undelivered Mail Returned to Sender\nIn-Reply-To: <1@example.com>\n\nWhat is this?\n\n" + quoted,
			"inline":    "From: Ada <ada@example.com>\nSubject: Fwd: Undelivered Mail Returned to Sender\n\nLook:\n\n" + s.raw,
			"attached":  "From: Ada <ada@example.com>\nSubject: Undelivered Mail Returned to Sender\nContent-Type: multipart/mixed; boundary=outer\n\n--outer\n\nSee the attachment.\n--outer\nContent-Type: message/rfc822\n\n" + s.raw + "\n--outer--\n",
			"vacation":  "From: Ada <ada@example.com>\nReturn-Path: <>\nAuto-Submitted: auto-replied (vacation)\nSubject: Out of office: Undelivered Mail Returned to Sender\n\nI am away.\n\n" + quoted,
			"list":      "From: Ada <ada@example.com>\nList-Id: <mail.example.org>\nSubject: [mail] Undelivered Mail Returned to Sender\n\n" + s.raw,
			"responder": "From: Postmaster <postmaster@example.com>\nReturn-Path: <>\nAuto-Submitted: auto-replied\nSubject: Automatic reply: your mail\n\nThank you for your mail.\n\n" + quoted,
		} {
			if msg := parse(t, raw); msg.Kind == bounce.Failed {
				t.Errorf("%s that quotes %s is %+v", name, s.file, msg)
			}
		}
	}
}
