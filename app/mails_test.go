package app

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// everybody has an address.
type everybody struct{}

func (everybody) Email(context.Context, int64) (string, error) { return "ann@example.com", nil }

// A program whose templates are faulty ends, and the messages that it has taken by then
// are in the queue again, as if it had never begun.
func TestFaultyTemplatesEndTheProgram(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	broker, fault := workertest.NewBroker(), make(chan struct{})
	p := &App{mails: prepareMails(func() (*templates.Set, error) {
		<-fault
		return nil, errors.New("otp: no field Cod")
	})}
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
	if p.worker, err = worker.New(worker.Config{Broker: broker, Queues: []string{"q"}, Tasks: service.Definitions(), Logger: log}); err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.Encode(&protocol.Message{ID: "1", Task: tasks.NameWelcome, Args: protocol.Raw(`[{"email": "ann@example.com"}]`), Kwargs: protocol.Raw("{}"), DeliveryTag: "1", RoutingKey: "q"})
	if err != nil {
		t.Fatal(err)
	}
	broker.Push("q", 0, raw)
	done := make(chan error, 1)
	go func() { done <- p.serve(t.Context(), config.Config{}, nil, log) }()
	for deadline := time.Now().Add(30 * time.Second); p.worker.Status().Running == 0; time.Sleep(time.Millisecond) {
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
	m := prepareMails(func() (*templates.Set, error) {
		<-begin
		return tasks.NewTemplates(templates.Options{})
	})
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
	faulty := prepareMails(func() (*templates.Set, error) { return nil, errors.New("no field Cod") })
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
