package bounce_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/mail/bounce"
)

// report is a complete report in the form of Postfix.
const report = `Return-Path: <>
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
To: b+1@bounces.example.com
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="5F1A.1/mx.example.net"

--5F1A.1/mx.example.net
Content-Description: Notification

I'm sorry to have to inform you that your message could not be delivered.

--5F1A.1/mx.example.net
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
Original-Envelope-Id: 01jd+2Bx
X-Postfix-Queue-ID: 5F1A

Final-Recipient: rfc822; ada@example.org
Original-Recipient: rfc822;Ada+2Bnews@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mail.example.org
Diagnostic-Code: smtp; 550 5.1.1 <ada@example.org>: Recipient address rejected:
    User unknown in virtual mailbox table

Final-Recipient: rfc822; bob@example.org
Action: delayed
Status: 4.2.0
Diagnostic-Code: smtp; 450 4.2.0 <bob@example.org>: Greylisted

--5F1A.1/mx.example.net
Content-Type: message/rfc822

Return-Path: <b+1@bounces.example.com>
Message-ID: <1@example.com>
Subject: Your booking

Hello

--5F1A.1/mx.example.net--
`

func parse(t *testing.T, raw string) bounce.Message {
	t.Helper()
	msg, err := bounce.Parse(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestReport(t *testing.T) {
	t.Parallel()
	want := bounce.Message{
		Kind: bounce.Failed, Form: "rfc3464", EnvelopeID: "01jd+x", ReportingMTA: "mx.example.net",
		MessageID: "1@example.com", ReturnPath: "b+1@bounces.example.com",
		Recipients: []bounce.Recipient{
			{
				Address: "ada@example.org", Original: "Ada+news@example.com", Action: bounce.ActionFailed, Status: "5.1.1", Code: 550,
				Class: bounce.BadAddress, RemoteMTA: "mail.example.org",
				Diagnostic: "550 5.1.1 <***@example.org>: Recipient address rejected: User unknown in virtual mailbox table",
			},
			{Address: "bob@example.org", Action: bounce.ActionDelayed, Status: "4.2.0", Code: 450, Diagnostic: "450 4.2.0 <***@example.org>: Greylisted"},
		},
	}
	for name, newline := range map[string]string{"LF": "\n", "CRLF": "\r\n", "CR": "\r", "CRCRLF": "\r\r\n"} {
		if diff := cmp.Diff(want, parse(t, strings.ReplaceAll(report, "\n", newline))); diff != "" {
			t.Errorf("with %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOrdinaryMail(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "\n", "hello", "From: ada@example.com\nSubject: hello\n\nDid you get my mail?\n"} {
		if got := parse(t, raw); got.Kind != bounce.Unrelated || len(got.Recipients) != 0 {
			t.Errorf("%q is %+v", raw, got)
		}
	}
}

func TestReaderFails(t *testing.T) {
	t.Parallel()
	fault := errors.New("connection reset")
	if _, err := bounce.Parse(iotest.ErrReader(fault)); !errors.Is(err, fault) {
		t.Errorf("error %v, want %v", err, fault)
	}
}

// The words about a recipient do not hold the subject of the mail, which may have a code in it.
func TestDiagnosticHasNoSubject(t *testing.T) {
	t.Parallel()
	msg := parse(t, "Return-Path: <>\nFrom: Postmaster@example.com\nSubject: DELIVERY FAILURE\n\nYour message\n\n  Subject: Your code is 482913\n\n"+
		"was not delivered to:\n\n  ada@example.com\n\nbecause:\n\n  User ada not listed in Domino Directory\n")
	if msg.Kind != bounce.Failed || len(msg.Recipients) != 1 || strings.Contains(msg.Recipients[0].Diagnostic, "482913") {
		t.Errorf("%+v", msg)
	}
	msg = parse(t, "Return-Path: <>\nFrom: Postmaster@example.com\nSubject: DELIVERY FAILURE\n\nSubject: Your code is 482913\nThe mail to ada@example.com could not be delivered: user unknown\n")
	if msg.Kind != bounce.Failed || len(msg.Recipients) != 1 || strings.Contains(msg.Recipients[0].Diagnostic, "482913") {
		t.Errorf("%+v", msg)
	}
}
