package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
)

const e2eBounceKey = "bounce-key-of-the-fleet"

// bounced returns the bounce of a mail as a mail server sends it to the envelope sender.
func bounced(m smtptest.Mail) string {
	header, _, _ := bytes.Cut(m.Data, []byte("\r\n\r\n"))
	return strings.ReplaceAll(fmt.Sprintf(`From: MAILER-DAEMON@mx.mail.example
To: %s
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

The mail was not delivered.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.mail.example

Final-Recipient: rfc822; %s
Action: failed
Status: 5.1.1
Remote-MTA: dns; store.mail.example
Diagnostic-Code: smtp; 550 5.1.1 <%s>: no such mailbox

--b1
Content-Type: text/rfc822-headers

%s

--b1--
`, m.From, m.To, m.To, strings.ReplaceAll(string(header), "\r\n", "\n")), "\n", "\r\n")
}

// TestBounces returns mails of a running service in each way: to its LMTP port, through a pipe,
// and by a webhook.
func TestBounces(t *testing.T) {
	t.Parallel()
	lmtp, hook := freePort(t), freePort(t)
	w := startHistoryWorld(t, "BOUNCE_DOMAIN=bounces.mail.example", "BOUNCE_KEY="+e2eBounceKey, "BOUNCE_LISTEN=lmtp://127.0.0.1:"+lmtp,
		"WEBHOOK_ADDR=127.0.0.1:"+hook, "WEBHOOK_KEY="+e2eBounceKey)
	proc := w.start(t)
	send := func(to string) (task string, m smtptest.Mail) {
		task = flood(t, celeryNew, w.redis, queue, 1, prefix+"send_otp_verification_email", otpTo(to), nil)[0]
		eventually(t, 30*time.Second, "a mail to "+to, func() bool {
			for _, m = range w.relay.Mails() {
				if m.To == to {
					return true
				}
			}
			return false
		})
		return task, m
	}
	const says = "said 550 5.1.1 “<***@mail.example>: no such mailbox”"

	first, mail := send("lmtp@mail.example")
	if !strings.HasPrefix(mail.From, "b+") {
		t.Fatalf("envelope sender %s", mail.From)
	}
	deliver := func(to string) error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+lmtp)
		if err != nil {
			return err
		}
		c := smtp.NewClientLMTP(conn)
		defer c.Close()
		return c.SendMail("", []string{to}, strings.NewReader(bounced(mail)))
	}
	forged := strings.Replace(mail.From, "-", "-a", 1)
	if err := deliver(forged); err == nil || !strings.Contains(err.Error(), "No such address") {
		t.Errorf("forged tag: %v", err)
	}
	for range 2 { // directly after the acceptance, which may not be stored yet
		if err := deliver(mail.From); err != nil {
			t.Error(err)
		}
	}
	w.ask(t, w.env, first, 1, says)
	w.suppressed(t, "lmtp@mail.example")

	second, mail := send("pipe@mail.example")
	pipe := exec.CommandContext(t.Context(), bin.service, "bounces", "ingest", "--recipient", mail.From)
	pipe.Env, pipe.Stdin = append(slices.Clone(w.env), testkit.RaceOptions), strings.NewReader(bounced(mail))
	if out, err := pipe.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	w.ask(t, w.env, second, 1, says)

	third, mail := send("hook@mail.example")
	body := fmt.Sprintf(`{"id": "1", "kind": "failed", "sender": %q, "recipient": "hook@mail.example", "diagnostic": "550 5.1.1 <hook@mail.example>: no such mailbox"}`, mail.From)
	if code := postSigned(t, "http://127.0.0.1:"+hook+"/webhooks/bounces/generic", body); code != http.StatusNoContent {
		t.Errorf("webhook: %d", code)
	}
	w.ask(t, w.env, third, 1, "550 5.1.1")

	out, code := w.command(t, w.env, "bounces", "list", "--json")
	if n := strings.Count(out, `"kind": "failed"`); code != 0 || n != 3 || strings.Count(out, `"matched_by": "tag"`) != 3 {
		t.Errorf("bounces list: exit code %d, %d bounces\n%s", code, n, out)
	}
	if s := w.status("/health/bounces"); s != http.StatusOK {
		t.Errorf("/health/bounces is %d", s)
	}
	w.outage(t, mail, lmtp)

	proc.signal(syscall.SIGTERM)
	if code := proc.wait(30 * time.Second); code != 0 {
		t.Errorf("the service ended with %d", code)
	}
	if c, err := net.Dial("tcp", "127.0.0.1:"+lmtp); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
	for _, secret := range []string{historyCode, "lmtp@mail.example", e2eBounceKey} {
		if text := proc.out.String(); strings.Contains(text, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// suppressed sends another mail to an address whose mail came back. It is not sent until the
// address is released.
func (w *historyWorld) suppressed(t *testing.T, address string) {
	t.Helper()
	send := func() string {
		return flood(t, celeryNew, w.redis, queue, 1, prefix+"send_otp_verification_email", otpTo(address), nil)[0]
	}
	count := func() (n int) {
		for _, m := range w.relay.Mails() {
			if m.To == address {
				n++
			}
		}
		return n
	}
	// A mail is sent if the database does not answer the question in time. Such mails are counted.
	var before int
	var task string
	eventually(t, time.Minute, "an answer about the address in time", func() bool {
		unchecked := w.metric(t, "evently_worker_mails_unchecked_total")
		before, task = count(), send()
		eventually(t, 30*time.Second, "the result", func() bool { return strings.Contains(w.result(task), "SUCCESS") })
		return w.metric(t, "evently_worker_mails_unchecked_total") == unchecked
	})
	w.ask(t, w.env, task, 1, "because the address is suppressed: bad_address")
	if n := count(); n != before {
		t.Errorf("%d mails to a suppressed address", n-before)
	}
	if out, code := w.command(t, w.env, "suppressions", "release", address, "--reason", "the mailbox is new", "--yes"); code != 0 {
		t.Errorf("release: exit code %d\n%s", code, out)
	}
	eventually(t, time.Minute, "a mail after the release", func() bool {
		w.ask(t, w.env, send(), 0, "Yes.")
		return count() > before
	})
}

// outage offers a bounce while the database is unavailable, and again afterwards.
func (w *historyWorld) outage(t *testing.T, mail smtptest.Mail, port string) {
	t.Helper()
	mail.To = "other@mail.example" // another text than the one before
	offer := func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		c := smtp.NewClientLMTP(conn)
		defer c.Close()
		return c.SendMail("", []string{mail.From}, strings.NewReader(bounced(mail)))
	}
	w.postgres.Stop()
	if err := offer(); err == nil || !strings.Contains(err.Error(), "try again later") {
		t.Errorf("without a database: %v", err)
	}
	if s := w.status("/health/bounces"); s != http.StatusServiceUnavailable {
		t.Errorf("/health/bounces is %d without a database", s)
	}
	if s := w.status("/readyz"); s != http.StatusOK {
		t.Errorf("/readyz is %d without a database", s)
	}
	w.postgres.Start()
	eventually(t, time.Minute, "the bounce is taken", func() bool { return offer() == nil })
}

func postSigned(t *testing.T, url, body string) int {
	t.Helper()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(e2eBounceKey)) // as docs/bounces.md describes it
	mac.Write([]byte(now + "." + body))
	req.Header.Set("X-Evently-Timestamp", now)
	req.Header.Set("X-Evently-Signature", hex.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}
