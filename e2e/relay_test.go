package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/worker/protocol"
)

// scriptedRelay is an SMTP server whose answer to one step can be changed while it runs.
type scriptedRelay struct {
	*smtptest.Server

	mu      sync.Mutex
	stage   string
	reply   string // to stage; a %d is the number of the refusal
	refused int
	reused  smtptest.Action // to MAIL on a connection that has carried a mail
}

func startRelay(t *testing.T) *scriptedRelay {
	t.Helper()
	r := &scriptedRelay{}
	r.Server = smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.Command == "MAIL" && s.Mails > 0 && r.reused != (smtptest.Action{}) {
			return r.reused
		}
		if s.Command != r.stage || r.reply == "" {
			return smtptest.Action{}
		}
		r.refused++
		return smtptest.Action{Reply: strings.Replace(r.reply, "%d", fmt.Sprint(r.refused), 1)}
	}})
	return r
}

// refuse makes the relay give reply at stage from now on; no reply mends it.
func (r *scriptedRelay) refuse(stage, reply string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stage, r.reply, r.refused = stage, reply, 0
}

// refuseReused makes the relay do a at MAIL on connections that have carried a mail.
func (r *scriptedRelay) refuseReused(a smtptest.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reused = a
}

func (r *scriptedRelay) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// relayWorker is the service with such a relay, without a database.
type relayWorker struct {
	t      *testing.T
	redis  *redisServer
	relay  *scriptedRelay
	health string
	proc   *process
	sent   int
}

func startRelayWorker(t *testing.T, more ...string) *relayWorker {
	t.Helper()
	w := &relayWorker{t: t, redis: startRedis(t), relay: startRelay(t)}
	port := freePort(t)
	w.health = "http://127.0.0.1:" + port
	w.proc = start(t, "evently-workers", append([]string{
		"REDIS_URL=" + w.redis.url(), "DB_HOST=127.0.0.1", "DB_PORT=1", "MONITOR_ADDR=off", "HEALTH_ADDR=127.0.0.1:" + port,
		"SMTP_HOST=127.0.0.1", fmt.Sprintf("SMTP_PORT=%d", w.relay.Port()), "SMTP_TLS_MODE=none", "RETRY_DELAY=0.1", "LOG_LEVEL=debug",
	}, more...), bin.service, "run")
	eventually(t, 30*time.Second, "the service consumes", func() bool {
		code, _ := w.get("/readyz")
		return code == http.StatusOK
	})
	return w
}

func (w *relayWorker) get(path string) (code int, body string) {
	client := &http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get(w.health + path)
	if err != nil {
		return 0, err.Error()
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	return reply.StatusCode, string(text)
}

// welcome pushes n mails to as many recipients.
func (w *relayWorker) welcome(n int) (ids []string) {
	w.t.Helper()
	for range n {
		w.sent++
		id := fmt.Sprintf("6f2b9a51-1d9c-4a8c-a0c3-%012d", w.sent)
		raw, err := protocol.Encode(&protocol.Message{
			Protocol: 2, ID: id, Task: prefix + "send_welcome_email",
			Args: protocol.Raw(fmt.Sprintf(`[{"email": "guest%d@example.com"}]`, w.sent)), Kwargs: protocol.Raw(`{}`),
			DeliveryTag: fmt.Sprintf("7d1f2c3a-8f5b-4f6b-9b6e-%012d", w.sent), RoutingKey: queue,
		})
		if err != nil {
			w.t.Fatal(err)
		}
		w.redis.do("LPUSH", queue, raw)
		ids = append(ids, id)
	}
	return ids
}

// arrived waits for the mails of ids, and fails if one came twice or has another result
// than success.
func (w *relayWorker) arrived(ids []string, before int) {
	w.t.Helper()
	eventually(w.t, time.Minute, "all mails are sent", func() bool { return len(w.relay.Mails()) >= before+len(ids) })
	awaitResults(w.redis, ids, time.Minute)
	for id, r := range w.redis.results(ids) {
		if r.Status != "SUCCESS" || !strings.Contains(string(r.Result), `"success":true`) && !strings.Contains(string(r.Result), `"success": true`) {
			w.t.Errorf("%s: %s %s", id, r.Status, r.Result)
		}
	}
	if n := len(w.relay.Mails()) - before; n != len(ids) {
		w.t.Errorf("%d mails for %d tasks", n, len(ids))
	}
}

// A relay that refuses us says so at any stage and in its own words. No mail may be lost
// by that, the relay is left alone for a while, and the health says what to mend.
func TestRefusalOfTheAccountLosesNoMail(t *testing.T) {
	t.Parallel()
	refusals := []struct{ stage, reply, words string }{
		{"RCPT", "553 5.7.1 Sender address rejected: not owned by user", "553 5.7.1 at RCPT: Sender address rejected: not owned by user"},
		{"RCPT", "504 5.5.2 <worker-1>: Helo command rejected: need fully-qualified hostname", "Helo command rejected: need fully-qualified hostname"},
		{"RCPT", "554 5.7.1 Relay access denied", "Relay access denied"},
		{"RCPT", "550 relay not permitted", "relay not permitted"},
		{"RCPT", "450 4.7.1 Client host rejected: cannot find your reverse hostname", "cannot find your reverse hostname"},
		{".", "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: mail@evently.example", "The following identities failed the check"},
		{".", "550 The from address does not match a verified Sender Identity.", "verified Sender Identity"},
		{"MAIL", "550 5.7.1 nobody knows you", "550 5.7.1 at MAIL"},
		// Words that say nothing: the count does.
		{"RCPT", "554 5.0.0 Computer says no, case %d", "Computer says no"},
		{".", "550 5.7.1 refused, ticket A%dX", "(the same for 5 recipients in a row)"},
	}
	const workers = 5 // beside each other, because each refusal is waited out
	for n := range workers {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := startRelayWorker(t, "CONCURRENCY=4", "MAX_RETRIES=3")
			for i := n; i < len(refusals); i += workers {
				tt := refusals[i]
				before := len(w.relay.Mails())
				w.relay.refuse(tt.stage, tt.reply)
				ids := w.welcome(10)
				eventually(t, time.Minute, tt.reply+": the relay is left alone", func() bool {
					_, body := w.get("/metrics")
					return strings.Contains(body, `state="open"} 1`)
				})
				time.Sleep(2 * time.Second) // mails that fail would fail again and again
				if n := w.relay.refusals(); n > 14 {
					t.Errorf("%s at %s: refused %d mails", tt.reply, tt.stage, n)
				}
				if dead := deadLetters(t, w.redis); len(dead) != 0 {
					t.Errorf("%s at %s: %d dead letters, the first one: %+v", tt.reply, tt.stage, len(dead), dead[0])
				}
				var code int
				var body string
				if !testkit.Poll(30*time.Second, func() bool {
					code, body = w.get("/health")
					return code == http.StatusOK && strings.Contains(body, `"status": "degraded"`) && strings.Contains(body, tt.words)
				}) {
					t.Errorf("%s at %s: /health says %d %s", tt.reply, tt.stage, code, body)
				}
				for id, r := range w.redis.results(ids) {
					if r.Status != "RETRY" && r.Status != "" && r.Status != "STARTED" {
						t.Errorf("%s at %s: %s is %s: %s", tt.reply, tt.stage, id, r.Status, r.Result)
					}
				}
				w.relay.refuse("", "")
				w.arrived(ids, before)
				if code, body := w.get("/health/mail"); code != http.StatusOK {
					t.Errorf("after it was mended: %d %s", code, body)
				}
			}
			if log := w.proc.out.String(); strings.Contains(log, "recipient address refused") {
				t.Error("a recipient was blamed")
			}
		})
	}
}

// A refusal of one mail or one recipient ends that mail at once, and the others go on.
func TestRefusalOfOneMail(t *testing.T) {
	t.Parallel()
	w := startRelayWorker(t)
	for _, tt := range []struct{ stage, reply, reason string }{
		{"RCPT", "550 5.1.1 user unknown", "recipient address refused: 550 5.1.1 at RCPT"},
		{"RCPT", "550 5.7.1 User unknown", "recipient address refused: 550 5.7.1 at RCPT"},
		{"RCPT", "550 no such user here", "recipient address refused: 550 at RCPT"},
		{".", "554 5.7.1 Spam message rejected", "mail refused: 554 5.7.1 at end of data"},
		{".", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required", "mail refused: 550 5.7.133 at end of data"},
		{".", "554 5.7.1 rejected by local policy", "mail refused: 554 5.7.1 at end of data"}, // after its retries
	} {
		w.relay.refuse(tt.stage, tt.reply)
		ids := w.welcome(1)
		awaitResults(w.redis, ids, time.Minute)
		w.relay.refuse("", "")
		if r := w.redis.results(ids)[ids[0]]; !strings.Contains(string(r.Result), tt.reason) {
			t.Errorf("%s at %s: result %s, want %s", tt.reply, tt.stage, r.Result, tt.reason)
		}
		before := len(w.relay.Mails())
		w.arrived(w.welcome(1), before)
	}
	if dead := deadLetters(t, w.redis); len(dead) != 6 {
		t.Errorf("%d dead letters, want 6", len(dead))
	}
}

// A reply on an idle connection, or to the first MAIL after it, is about the connection. The
// next mail goes out at once.
func TestIdleRelayConnectionCostsNoRetry(t *testing.T) {
	t.Parallel()
	w := startRelayWorker(t, "RETRY_DELAY=600", "CONCURRENCY=1") // longer than a mail is waited for
	w.arrived(w.welcome(1), 0)
	next := func(what string) {
		t.Helper()
		t.Log("the next mail after ", what)
		before := len(w.relay.Mails())
		w.arrived(w.welcome(1), before)
	}
	const timeout = "451 4.4.2 Timeout waiting for data from client."
	w.relay.Say(timeout+"\r\n", smtptest.Close)
	next("a last reply before MAIL")
	w.relay.Say("221 2.0.0 bye\r\n", smtptest.Go)
	next("a last reply before MAIL, and no close")
	w.relay.Say("", smtptest.Reset)
	next("a reset before MAIL")
	w.relay.refuseReused(smtptest.Action{Reply: timeout, Then: smtptest.Close})
	next("a last reply just after MAIL")
	next("a last reply just after MAIL, again")
	w.relay.refuseReused(smtptest.Action{Reply: "500 5.5.1 what"})
	next("another one")
	if log := w.proc.out.String(); strings.Contains(log, "will be retried") || strings.Contains(log, "no retry spent") {
		t.Errorf("a mail was retried:\n%s", last(log, 3000))
	}
}

// While the preferred relay refuses everybody the second one sends the mails, without a retry and
// each once, and the health names the first. Then the mails return to it.
func TestRelaysTakeOver(t *testing.T) {
	t.Parallel()
	second := startRelay(t)
	first := startRelay(t)
	w := startRelayWorker(t, "CONCURRENCY=4", "RETRY_DELAY=60", fmt.Sprintf("SMTP_URLS=smtp+plain://127.0.0.1:%d smtp+plain://127.0.0.1:%d", first.Port(), second.Port()))
	w.relay = first
	w.arrived(w.welcome(5), 0)

	var ids []string
	for _, tt := range []struct{ stage, reply string }{
		{"MAIL", "421 4.3.2 system not accepting network messages"},
		{"CONNECT", "554 5.3.2 no service"},
		{"RCPT", "550 5.7.1 relaying denied"},
	} {
		first.refuse(tt.stage, tt.reply)
		w.relay = second
		more := w.welcome(20)
		w.arrived(more, len(ids))
		ids = append(ids, more...)
	}
	var code int
	var body string
	if !testkit.Poll(30*time.Second, func() bool {
		code, body = w.get("/health")
		name := fmt.Sprintf("127.0.0.1:%d", first.Port())
		return code == http.StatusOK && strings.Contains(body, "mails go by the other relays: "+name) && !strings.Contains(body, "no mail gets out")
	}) {
		t.Errorf("/health says %d %s", code, body)
	}

	first.refuse("", "")
	before := len(first.Mails())
	eventually(t, time.Minute, "mails return to the preferred relay", func() bool {
		ids = append(ids, w.welcome(1)...)
		time.Sleep(200 * time.Millisecond)
		return len(first.Mails()) > before
	})
	awaitResults(w.redis, ids, time.Minute)
	seen := map[string]int{}
	for _, m := range append(first.Mails(), second.Mails()...) {
		seen[m.To]++
	}
	for to, n := range seen {
		if n != 1 {
			t.Errorf("%d mails to %s", n, to)
		}
	}
	if len(seen) != w.sent || len(deadLetters(t, w.redis)) != 0 {
		t.Errorf("mails to %d recipients, want %d; %d dead letters", len(seen), w.sent, len(deadLetters(t, w.redis)))
	}
	if code, body := w.get("/health/mail"); code != http.StatusOK {
		t.Errorf("after it was mended: %d %s", code, body)
	}
}
