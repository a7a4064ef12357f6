package matrix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// T is what a bench needs of a test.
type T interface {
	smtptest.TB
	Context() context.Context
}

const (
	// patience is the limit of a step in cells where the server does not answer.
	patience = 300 * time.Millisecond
	// plenty is the limit of a step in all other cells.
	plenty = 20 * time.Second
	// lateness is the delay of a late reply.
	lateness = 40 * time.Millisecond
)

// Measured is what a cell has given.
type Measured struct {
	Outcome Outcome
	Mails   int    // of this task, that the server has taken
	Words   string // of the result or of the error
	Hasty   bool   // the outcome may be that of a busy machine
}

var realTemplates = sync.OnceValues(func() (*templates.Set, error) { return tasks.NewTemplates(templates.Options{}) })

// Measure sends a mail to a server that misbehaves as the cell says, through the sender and the
// tasks of the product.
func Measure(t T, c Cell) Measured {
	t.Helper()
	for step, lead := patience, 10*time.Millisecond; ; step, lead = 3*step, min(10*lead, 10*time.Second) {
		m := measure(t, c, step, lead)
		if !m.Hasty && !c.late(m) || Expect(c).Allows(m) || step > plenty {
			return m
		}
	}
}

func measure(t T, c Cell, step, lead time.Duration) Measured {
	t.Helper()
	r := &rig{cell: c, lead: lead, acted: make(chan struct{})}
	options := smtptest.Options{Script: r.script}
	switch c.Way {
	case Pipelined:
		options.Extensions = []string{"PIPELINING"}
	case Chunked:
		options.Extensions = []string{"PIPELINING", "CHUNKING"}
	}
	cfg := mail.Config{Host: "127.0.0.1", Security: mail.Plain, FromAddress: "mail@evently.example", FromName: "Evently", HelloName: "client.example"}
	switch c.Stage {
	case StartTLS, TLS:
		options.STARTTLS, cfg.Security = true, mail.StartTLS
	case Auth:
		options.Username, options.Password, options.Mechanisms = "ann", "secret of ann", []string{"PLAIN"}
		cfg.Username, cfg.Password = options.Username, options.Password
	}
	limit := plenty
	if c.waits() {
		limit = step
	}
	cfg.Timeouts = mail.Timeouts{Dial: plenty, TLS: limit, Greeting: limit, Command: limit, BodyWrite: limit, Final: limit, Quit: limit}
	server := smtptest.New(t, options)
	defer server.Stop()
	cfg.Port, cfg.RootCAs = server.Port(), server.Roots()
	if c.Stage == Connect {
		cfg.Port = closedPort(t)
	}
	sender, err := mail.New(cfg)
	if err != nil {
		t.Fatalf("%s: %v", c, err)
	}
	r.sender = sender
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = sender.Run(ctx) })
	if c.Stage == Reset {
		// A mail that the server refuses leaves a transaction open on the connection.
		_, _ = sender.Send(ctx, mail.Message{To: "refused@example.com", Subject: "x", Text: "x", TaskID: "refused"})
	}
	m := r.deliver(t, ctx)
	cancel()
	running.Wait() // QUIT
	for _, mail := range server.Mails() {
		if mail.To == recipient {
			m.Mails++
		}
	}
	return m
}

const recipient = "ann@example.com"

// rig is the server and the client of one cell.
type rig struct {
	cell   Cell
	lead   time.Duration // of the server, in cells where it acts while a mail is on its way
	sender *mail.Sender

	once  sync.Once
	acted chan struct{} // closed when the server has come to the stage
	err   *mail.SendError
}

// Send implements [tasks.Mailer].
func (r *rig) Send(ctx context.Context, m mail.Message) (mail.Receipt, error) {
	before := m.BeforeFinal
	m.BeforeFinal = func(ctx context.Context) error {
		if r.cell.onTheWay() {
			// The server acts while the mail is on its way, so it must have acted.
			<-r.acted
			time.Sleep(r.lead)
		}
		return before(ctx)
	}
	receipt, err := r.sender.Send(ctx, m)
	r.err, _ = errors.AsType[*mail.SendError](err)
	return receipt, err
}

// deliver runs the task.
func (r *rig) deliver(t T, ctx context.Context) Measured {
	t.Helper()
	c := r.cell
	set, err := realTemplates()
	if err != nil {
		t.Fatalf("templates: %v", err)
	}
	service, err := tasks.New(tasks.Config{Users: noUsers{}, Mailer: r, Templates: set, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("tasks: %v", err)
	}
	task := &worker.Task{
		ID: "0b7b8fb4-5a0e-4d57-9fe4-3b4bd7c1a001", Name: tasks.NameWelcome, MaxRetries: 3,
		Message: &protocol.Message{Protocol: 2, Task: tasks.NameWelcome, Args: protocol.Raw(`[{"email": "` + recipient + `"}]`), Kwargs: protocol.Raw(`{}`)},
	}
	result, err := service.Definitions()[task.Name].Handler.Run(worker.NewContext(ctx, task), task)
	m := Measured{Outcome: outcome(result, err), Words: fmt.Sprint(err)}
	if r.err != nil {
		m.Words += fmt.Sprintf(" (%v)", r.err)
		answered := c.Fault == Freeze && c.Reply != None || c.at(Reset, Quit)
		m.Hasty = errors.Is(r.err, os.ErrDeadlineExceeded) && (answered || !r.reached())
	}
	return m
}

// late reports whether an outcome is that of a server that acts later than it should, on a mail that
// is complete.
func (c Cell) late(m Measured) bool {
	complete := c
	complete.Stage = End
	return c.onTheWay() && Expect(complete).Allows(m)
}

// onTheWay reports whether the server acts between the begin and the end of a mail.
func (c Cell) onTheWay() bool { return c.Stage == Data || c.Stage == Body }

func (r *rig) reached() bool {
	select {
	case <-r.acted:
		return true
	default:
		return false
	}
}

// noUsers is an empty table of users.
type noUsers struct{}

// Email implements [tasks.Users].
func (noUsers) Email(context.Context, int64) (string, error) { return "", errors.New("no users here") }

// outcome tells what the engine makes of the end of a task.
func outcome(result any, err error) Outcome {
	if err == nil {
		if r, ok := result.(tasks.Result); ok && r.Success {
			return Sent
		}
		return Final
	}
	if given, ok := errors.AsType[*worker.GiveUpError](err); ok {
		if strings.HasPrefix(given.Reason, "delivery unsure") {
			return Unknown
		}
		return Final
	}
	again, ok := errors.AsType[*worker.RetryError](err)
	if !ok {
		return Outcome("error: " + err.Error())
	}
	if !again.Free {
		return Retried
	}
	for _, words := range []string{"refuses this service", "takes no more mails", "puts this service off"} {
		if strings.Contains(again.Err.Error(), words) {
			return Paused
		}
	}
	return PutBack
}

// step returns the name of a stage in the script of the server.
func (c Cell) step(command string) bool {
	switch c.Stage {
	case Banner:
		return command == "CONNECT"
	case Data:
		return command == "DATA" || command == "BDAT"
	case Body:
		return command == "BODY"
	case End:
		return command == "."
	}
	return command == string(c.Stage)
}

// positive is the reply to a stage in which all is well.
func (c Cell) positive(command string) string {
	switch command {
	case "CONNECT":
		return "220 late.example ESMTP"
	case "EHLO":
		lines := []string{"250-late.example"}
		if c.Way != Stepwise {
			lines = append(lines, "250-PIPELINING")
		}
		if c.Way == Chunked {
			lines = append(lines, "250-CHUNKING")
		}
		return strings.Join(append(lines, "250 HELP"), "\r\n")
	case "STARTTLS":
		return "220 2.0.0 go ahead"
	case "AUTH":
		return "235 2.7.0 welcome"
	case "DATA":
		return "354 go ahead"
	case "QUIT":
		return "221 2.0.0 bye"
	case "TLS", "BODY":
		return ""
	}
	return "250 2.0.0 ok"
}

func (r *rig) script(s smtptest.Step) smtptest.Action {
	if r.cell.Stage == Reset && s.Command == "RCPT" && strings.Contains(s.Line, "refused@") {
		return smtptest.Action{Reply: "550 5.1.1 no such user here"}
	}
	if !r.cell.step(s.Command) {
		return smtptest.Action{}
	}
	defer r.once.Do(func() { close(r.acted) })
	text := r.cell.Reply.Text
	if r.cell.Reply == Late {
		time.Sleep(lateness)
		if r.cell.Fault == Answer {
			return smtptest.Action{}
		}
		text = r.cell.positive(s.Command)
	}
	switch r.cell.Fault {
	case RST:
		return smtptest.Action{Reply: text, Then: smtptest.Reset}
	case FIN:
		return smtptest.Action{Reply: text, Then: smtptest.Close}
	case Freeze:
		return smtptest.Action{Reply: text, Then: smtptest.Freeze}
	case Trickle:
		return smtptest.Action{Reply: text, Then: smtptest.Trickle}
	}
	if r.cell.Reply == None {
		return smtptest.Action{Then: smtptest.Freeze}
	}
	return smtptest.Action{Reply: text}
}

// closedPort returns a port of which nothing listens.
func closedPort(t T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("look for a port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
