package tasks_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

const patience = 30 * time.Second

// logBuffer keeps the logs of all goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// realParts adds a user table, a mail server that wants TLS and a login, and
// the sender that speaks to it.
func realParts(t *testing.T, logs *logBuffer, opts smtptest.Options) (*smtptest.Server, func(*tasks.Config)) {
	t.Helper()
	opts.STARTTLS, opts.Username, opts.Password = true, "evently", "smtp-password"
	server := smtptest.New(t, opts)
	sender, err := mail.New(mail.Config{
		Host: server.Host(), Port: server.Port(), RootCAs: server.Roots(),
		Username: opts.Username, Password: opts.Password,
		FromName: "Evently", FromAddress: "noreply@evently.example", HelloName: "worker.evently.example",
		Timeouts: mail.Timeouts{Final: time.Second}, Logger: logs.logger(),
	})
	if err != nil {
		t.Fatalf("mail: %v", err)
	}
	return server, func(c *tasks.Config) {
		c.Users, c.Mailer, c.Logger = users(t), sender, logs.logger()
	}
}

func users(t *testing.T) *store.Store {
	t.Helper()
	db, err := sqlx.Open("sqlite", filepath.Join(t.TempDir(), "users.db"))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	for _, statement := range []string{
		storetest.Schema,
		`INSERT INTO users (id, email, is_active) VALUES (42, 'ada@example.com', true), (43, 'left@example.com', false)`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("fill the user table: %v", err)
		}
	}
	s, err := store.Open(store.Config{DB: db, QueryTimeout: patience})
	if err != nil {
		t.Fatalf("store: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// engine runs one call in a real worker on b, which keeps what is stored.
func engine(t *testing.T, table map[string]worker.Definition, logs *logBuffer, b *workertest.Broker, m *protocol.Message) {
	t.Helper()
	m.DeliveryTag, m.RoutingKey = m.ID, "mails"
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	w, err := worker.New(worker.Config{Broker: b, Tasks: table, Concurrency: 1, Queues: []string{"mails"}, Logger: logs.logger()})
	if err != nil {
		t.Fatalf("worker: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b.Push("mails", 0, raw)
	go func() { done <- w.Run(ctx) }()
	deadline := time.After(patience)
	for running := true; running; {
		changed := b.Changed()
		if len(b.Queued("mails")) == 0 && b.Unacked() == 0 {
			break
		}
		select {
		case <-changed:
		case <-deadline:
			t.Errorf("the task did not end within %v", patience)
			running = false
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("worker: %v", err)
	}
}

func rawArgs(args []string) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = protocol.Raw(a)
	}
	return out
}

// The path from the message to the mail server and to the stored result has no fakes.
func TestRealParts(t *testing.T) {
	logs := &logBuffer{}
	server, parts := realParts(t, logs, smtptest.Options{})
	b := newBench(t, parts)
	for name, c := range calls() {
		t.Run(name, func(t *testing.T) {
			before := len(server.Mails())
			o := workertest.Run(t, b.Definitions(), workertest.Call{Task: tasks.Module + "." + c.task, Args: rawArgs(c.args)})
			if o.State != protocol.StateSuccess || o.DeadLetter != "" {
				t.Fatalf("state %s, exception %v, dead letter %q", o.State, o.Exception, o.DeadLetter)
			}
			if got, want := keys(t, o.Result), "{"+c.result+`,"timestamp":"`+stamp+`"}`; got != want {
				t.Errorf("result %s, want %s", got, want)
			}
			mails := server.Mails()[before:]
			if c.to == "" {
				if len(mails) != 0 {
					t.Errorf("%d mails were sent", len(mails))
				}
				return
			}
			if len(mails) != 1 {
				t.Fatalf("%d mails were sent", len(mails))
			}
			if m := mails[0]; m.To != c.to || !m.TLS || m.Login == "" || !strings.Contains(m.Text(), "\nSubject: "+c.subject+"\n") {
				t.Errorf("mail to %s, TLS %v, login %q:\n%s", m.To, m.TLS, m.Login, m.Text())
			}
		})
	}
	t.Run("inactive user", func(t *testing.T) {
		o := workertest.Run(t, b.Definitions(), workertest.Call{Task: tasks.NameWaitlistJoined, Args: rawArgs([]string{`43`, `{}`})})
		if want := `{"success":false,"error":"User email not found","user_id":43,"timestamp":"` + stamp + `"}`; keys(t, o.Result) != want {
			t.Errorf("result %s, want %s", o.Result, want)
		}
	})
}

// scripted answers one command in its own way, every time.
func scripted(command string, a smtptest.Action) smtptest.Options {
	return smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == command {
			return a
		}
		return smtptest.Action{}
	}}
}

// Answers of the mail server, and the results stored after them.
func TestRealFailures(t *testing.T) {
	greylisted := smtptest.Action{Reply: "451 4.7.1 come back later"}
	for name, c := range map[string]struct {
		command string
		action  smtptest.Action
		attempt int
		state   string
		retries int // of the next message
		text    string
		dead    bool
	}{
		"greylisted":       {"RCPT", greylisted, 0, protocol.StateRetry, 1, "mail server did not take the mail: 451 4.7.1 at RCPT", false},
		"greylisted again": {"RCPT", greylisted, 3, protocol.StateSuccess, 0, "mail server did not take the mail: 451 4.7.1 at RCPT", true},
		"no such mailbox": {"RCPT", smtptest.Action{Reply: "550 5.1.1 no such user"}, 0, protocol.StateSuccess, 0,
			"recipient address refused: 550 5.1.1 at RCPT", true},
		"wrong password": {"AUTH", smtptest.Action{Reply: "535 5.7.8 no"}, 3, protocol.StateRetry, 3,
			"mail server refuses this service: 535 5.7.8 at AUTH", false},
		"closed after the end of data": {".", smtptest.Action{Then: smtptest.Close}, 0, protocol.StateSuccess, 0,
			"delivery unsure: no answer from the mail server", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, parts := realParts(t, &logBuffer{}, scripted(c.command, c.action))
			o := workertest.Run(t, newBench(t, parts).Definitions(), workertest.Call{
				Task: tasks.NameBookingConfirmation, Args: rawArgs([]string{`42`, `{}`}), Retries: c.attempt,
			})
			if o.State != c.state {
				t.Fatalf("state %s, want %s", o.State, c.state)
			}
			if (o.DeadLetter != "") != c.dead {
				t.Errorf("dead letter: %q", o.DeadLetter)
			}
			if c.state == protocol.StateSuccess {
				want := `{"success":false,"error":"` + c.text + `","user_id":42,"timestamp":"` + stamp + `"}`
				if got := keys(t, o.Result); got != want {
					t.Errorf("result %s, want %s", got, want)
				}
				return
			}
			if len(o.Exception.Args) != 1 || o.Exception.Args[0] != c.text {
				t.Errorf("state RETRY says %v, want %q", o.Exception.Args, c.text)
			}
			if o.Retry == nil || o.Retry.Retries != c.retries {
				t.Errorf("next attempt %+v, want retries %d", o.Retry, c.retries)
			}
		})
	}
}

// A copy of an OTP mail that may have arrived has its Message-ID and Date.
func TestSecondCopyHasTheSameMessageID(t *testing.T) {
	var ids []string
	for attempt := range 2 {
		server, parts := realParts(t, &logBuffer{}, smtptest.Options{})
		workertest.Run(t, newBench(t, parts).Definitions(), workertest.Call{
			Task: tasks.NameOTP, ID: "one-and-the-same", Retries: attempt,
			Args: rawArgs([]string{`{"email": "bob@example.com", "otp": "042917"}`}),
		})
		for line := range strings.Lines(server.WaitMails(1)[0].Text()) {
			if id, ok := strings.CutPrefix(line, "Message-ID: "); ok {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("Message-IDs %q, want the same twice", ids)
	}
}

// thief takes the message away from the worker while the mail is rendered.
type thief struct {
	tasks.Renderer
	broker *workertest.Broker
}

func (r thief) Render(m templates.Mail) (templates.Rendered, error) {
	r.broker.Steal()
	return r.Renderer.Render(m)
}

// If another worker holds the message by now, that worker sends the mail.
func TestNothingIsSentForALostMessage(t *testing.T) {
	broker, logs := workertest.NewBroker(), &logBuffer{}
	b := newBench(t, func(c *tasks.Config) { c.Templates = thief{c.Templates, broker} })
	engine(t, b.Definitions(), logs, broker, &protocol.Message{
		ID: "lost", Task: tasks.NameBookingConfirmation, Args: protocol.Raw(`[42, {}]`), Kwargs: protocol.Raw(`{}`),
	})
	if n := len(b.out.sent); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
	if r := broker.Result("lost"); r != nil && r.Status == protocol.StateSuccess {
		t.Errorf("SUCCESS was stored: %v", r.Result)
	}
}

// The code of an OTP mail is in the mail and in nothing else that leaves the service, also
// after failures and if the mail server repeats it in another form.
func TestCodeIsInTheMailOnly(t *testing.T) {
	for code, forms := range map[string][]string{
		"K4N4R13":  {"K4N4R13", "k4n4r13"},
		"KXQWZJ":   {"KXQWZJ", "K-X-Q-W-Z-J"},
		"x7q":      {"x7q", "X7Q"},
		"AB-12-CD": {"AB-12-CD", "AB12CD", "AB 12 CD"},
		"4829 13":  {"4829 13", "482913", "48 29-13"},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			for _, form := range forms {
				testCodeIsInTheMailOnly(t, code, form)
			}
		})
	}
}

func testCodeIsInTheMailOnly(t *testing.T, code, form string) {
	const password = "smtp-password"
	for name, opts := range map[string]smtptest.Options{
		"sent":              {},
		"echo on success":   scripted(".", smtptest.Action{Reply: "250 2.0.0 queued: " + form}),
		"echo of a refusal": scripted(".", smtptest.Action{Reply: "554 5.7.1 blocked word " + form + " in message"}),
		"echo of a delay":   scripted(".", smtptest.Action{Reply: "451 4.3.0 " + form + " " + form}),
		"nonsense":          scripted(".", smtptest.Action{Reply: "what is " + form + "?"}),
		"closed":            scripted(".", smtptest.Action{Then: smtptest.Close}),
		"cut":               scripted("BODY", smtptest.Action{Then: smtptest.Reset}),
		"login":             scripted("AUTH", smtptest.Action{Reply: "535 5.7.8 not with " + password}),
	} {
		for _, attempt := range []int{0, 3} {
			t.Run(name, func(t *testing.T) {
				logs, broker := &logBuffer{}, workertest.NewBroker()
				server, parts := realParts(t, logs, opts)
				b := newBench(t, parts)
				table := b.Definitions()
				for n, d := range table { // no second attempt within the test
					d.Backoff = worker.Backoff{Base: time.Hour}
					table[n] = d
				}
				outcome := workertest.Run(t, table, workertest.Call{
					Task: tasks.NameOTP, Retries: attempt,
					Args: rawArgs([]string{`{"email": "bob@example.com", "otp": "` + code + `"}`}),
				})
				if name == "sent" {
					engine(t, table, logs, broker, &protocol.Message{
						ID: "canary", Task: tasks.NameOTP, Kwargs: protocol.Raw(`{}`),
						Args: protocol.Raw(`[{"email": "bob@example.com", "otp": "` + code + `"}]`),
					})
					if m := server.WaitMails(2)[0]; !strings.Contains(m.Text(), code) {
						t.Errorf("the mail lacks the code:\n%s", m.Text())
					}
				}
				told := []string{logs.String(), string(outcome.Result), outcome.DeadLetter}
				if e := outcome.Exception; e != nil {
					told = append(told, keys(t, e.Args))
				}
				for _, r := range broker.History() {
					told = append(told, keys(t, r.Result))
				}
				if !strings.Contains(told[0], "kind") {
					t.Fatal("nothing was logged: this test would prove nothing")
				}
				for _, text := range told {
					if strings.Contains(text, code) || strings.Contains(text, form) || strings.Contains(text, password) ||
						strings.Contains(text, "bob@example.com") && text == told[0] {
						t.Errorf("told: %s", text)
					}
				}
			})
		}
	}
}

// Arguments of a wrong form with the code in them.
func TestCodeIsNotInErrors(t *testing.T) {
	const code = "K4N4R13"
	for _, args := range []string{
		`["` + code + `"]`, `[["` + code + `"]]`, `[{"email": "bob@example.com", "otp": {"code": "` + code + `"}}]`,
		`[{"email": "not an address", "otp": "` + code + `"}]`, `[{"email": "bob@example.com", "otp": "` + strings.Repeat(code, 9) + `"}]`,
		`[{"email": "bob@example.com"}, "` + code + `"]`, `[{"otp": "` + code + `"}]`,
	} {
		logs := &logBuffer{}
		_, parts := realParts(t, logs, smtptest.Options{})
		result, err := newBench(t, parts).run(t.Context(), task(tasks.NameOTP, args, `{}`))
		told := logs.String() + keys(t, result)
		for e := err; e != nil; {
			told += e.Error()
			u, ok := e.(interface{ Unwrap() error })
			if !ok {
				break
			}
			e = u.Unwrap()
		}
		if strings.Contains(told, code) {
			t.Errorf("%s: told %s", args, told)
		}
	}
}
