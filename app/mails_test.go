package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app/shard"
	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// everybody has an address.
type everybody struct{}

func (everybody) Email(context.Context, int64) (string, error) { return "ann@example.com", nil }

// built returns a keeper of templates without a folder.
func built(build func() (*templates.Set, error)) func() *folder.Keeper {
	return func() *folder.Keeper {
		return folder.Open(context.Background(), folder.Config{Build: func([]templates.File) (*templates.Set, error) { return build() }})
	}
}

// A program whose templates are faulty ends, and the messages that it has taken by then
// are in the queue again, as if it had never begun.
func TestFaultyTemplatesEndTheProgram(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	broker, fault := workertest.NewBroker(), make(chan struct{})
	p := &App{outage: &outage{log: log}, mails: prepareMails(built(func() (*templates.Set, error) {
		<-fault
		return nil, errors.New("otp: no field Cod")
	}))}
	sender, err := mail.New(mail.Config{Host: "127.0.0.1", Port: 1, Security: mail.Plain, FromAddress: "noreply@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if p.sender, err = mail.NewRelays(mail.Relay{Sender: sender}); err != nil {
		t.Fatal(err)
	}
	service, err := tasks.New(tasks.Config{Users: everybody{}, Mailer: p.sender, Templates: p.mails, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.New(worker.Config{Broker: broker, Queues: []string{"q"}, Tasks: service.Definitions(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	p.shards = shard.Set{{Worker: w}}
	raw, err := protocol.Encode(&protocol.Message{ID: "1", Task: tasks.NameWelcome, Args: protocol.Raw(`[{"email": "ann@example.com"}]`), Kwargs: protocol.Raw("{}"), DeliveryTag: "1", RoutingKey: "q"})
	if err != nil {
		t.Fatal(err)
	}
	broker.Push("q", 0, raw)
	done := make(chan error, 1)
	go func() { done <- p.serve(t.Context(), config.Config{}, nil, nil, log) }()
	for deadline := time.Now().Add(30 * time.Second); w.Status().Running == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the task never began")
		}
	}
	close(fault)
	err = <-done
	if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), "no field Cod") {
		t.Errorf("serve: %v, want the fault, as one of usage", err)
	}
	if len(broker.Queued("q")) != 1 || broker.Unacked() != 0 || broker.Result("1") != nil {
		t.Errorf("%d in the queue, %d taken, result %+v; want the message in the queue", len(broker.Queued("q")), broker.Unacked(), broker.Result("1"))
	}
}

// A mail that is asked for while the templates are prepared comes when they are.
func TestMailsWaitForTheirTemplates(t *testing.T) {
	begin := make(chan struct{})
	m := prepareMails(built(func() (*templates.Set, error) {
		<-begin
		return tasks.NewTemplates(templates.Options{})
	}))
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.wait(short); err != nil {
		t.Errorf("wait for a stop: %v", err)
	}
	subject := make(chan string)
	go func() {
		r, err := m.Render(tasks.Welcome{Username: "Ann"})
		if err != nil {
			t.Error(err)
		}
		subject <- r.Subject
	}()
	close(begin)
	faulty := prepareMails(built(func() (*templates.Set, error) { return nil, errors.New("no field Cod") }))
	<-faulty.prepared
	for range 100 { // a stop hides no fault
		if faulty.wait(short) == nil {
			t.Fatal("the fault is not told")
		}
	}
	if got := <-subject; got == "" {
		t.Error("no subject")
	}
	if err := m.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// The relays of SMTP_URLS take over from each other, and the faults of each name its URL.
func TestRelaysOfTheConfiguration(t *testing.T) {
	t.Parallel()
	down := smtptest.New(t, smtptest.Options{Script: func(smtptest.Step) smtptest.Action { return smtptest.Action{Reply: "421 4.3.2 down"} }})
	secured := smtptest.New(t, smtptest.Options{STARTTLS: true, Username: "u@example.com", Password: "p@ss/word"})
	ca := secured.Authority.File(t)
	load := func(urls string) (config.Config, error) {
		cfg, err := config.Load(func(name string) (string, bool) { return urls, name == "SMTP_URLS" })
		return cfg, checkParts(cfg, err)
	}
	cfg, err := load("smtp+plain://" + down.Addr() + "?hello=a.example.com smtp://u%40example.com:p%40ss%2Fword@" + secured.Addr() + "?ca_file=" + ca)
	if err != nil {
		t.Fatal(err)
	}
	relays, err := mailRelays(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := relays.Send(t.Context(), mail.Message{To: "ann@example.com", Subject: "s", Text: "t", TaskID: "1"}); err != nil {
		t.Fatal(err)
	}
	if got := secured.WaitMails(1)[0]; got.Login != "u@example.com" || !got.TLS {
		t.Errorf("login %q, TLS %t", got.Login, got.TLS)
	}
	if n, _ := down.Connections(); n != 1 {
		t.Errorf("the preferred relay was dialled %d times", n)
	}
	if m := mailState(relays.Status(), nil); m.Working != 1 || len(m.Faulty) != 1 || m.Faulty[0].Name != down.Addr() || !strings.Contains(m.Faulty[0].Fault, "421") {
		t.Errorf("health %+v", m)
	}
	_, err = load("smtp://a.example smtp://b.example?ca_file=/no/such.pem")
	if err == nil || !strings.Contains(err.Error(), "SMTP_URLS: URL 2: ca_file") {
		t.Errorf("%v, want the second URL and its parameter", err)
	}
}
