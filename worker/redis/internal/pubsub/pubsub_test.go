package pubsub_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"github.com/evently/workers/worker/redis/internal/pubsub"
	"github.com/evently/workers/worker/redis/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func dialer(s *redistest.Server) func(context.Context) (redigo.Conn, error) {
	return func(ctx context.Context) (redigo.Conn, error) { return redigo.DialContext(ctx, "tcp", s.Addr) }
}

func hear(t *testing.T, what string, told <-chan struct{}) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing was heard: %s", what)
	}
}

// Waiters hear the messages of their channel alone, also after the connection has broken.
func TestListener(t *testing.T) {
	s := redistest.Start(t)
	l := pubsub.NewListener(dialer(s), quiet(), "idle")
	defer l.Close()
	a, leaveA, err := l.Join("a")
	if err != nil {
		t.Fatal(err)
	}
	hear(t, "the subscription of a", a)
	twin, leaveTwin, err := l.Join("a")
	if err != nil {
		t.Fatal(err)
	}
	hear(t, "a subscription that stands already", twin)
	b, leaveB, err := l.Join("b")
	if err != nil {
		t.Fatal(err)
	}
	hear(t, "the subscription of b", b)
	c := s.Conn(0)
	publish := func(key string) {
		t.Helper()
		if n, err := redigo.Int(c.Do("PUBLISH", key, "x")); err != nil || n != 1 {
			t.Fatalf("%d listen to %s, %v; want one connection for all waiters", n, key, err)
		}
	}
	publish("a")
	hear(t, "a message of a", a)
	hear(t, "the same message, for the other waiter", twin)
	select {
	case <-b:
		t.Error("b heard a message of a")
	default:
	}
	leaveTwin()
	publish("a")
	hear(t, "a message after another waiter left", a)

	// Everything in between may have been missed, so every waiter looks again.
	if _, err := c.Do("CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
		t.Fatal(err)
	}
	hear(t, "the new subscription of a", a)
	hear(t, "the new subscription of b", b)
	publish("b")
	hear(t, "a message after the break", b)
	leaveA()
	leaveB()
	l.Close()
	if _, _, err := l.Join("a"); err == nil {
		t.Error("a closed Listener accepts waiters")
	}
}

// A result without a listener is announced twice more, unless a listener heard it.
func TestAnnouncer(t *testing.T) {
	s := redistest.Start(t)
	dial := dialer(s)
	a := pubsub.NewAnnouncer(func(ctx context.Context, f func(redigo.Conn) error) error {
		c, err := dial(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		return f(c)
	}, quiet())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	defer running.Wait()
	defer cancel()

	ps := redigo.PubSubConn{Conn: s.Conn(0)}
	if err := ps.Subscribe("heard"); err != nil {
		t.Fatal(err)
	}
	ps.Receive() // that it stands
	since := time.Now()
	a.Add(pubsub.Unheard{Key: "heard", Value: []byte("result"), Since: since})
	m, ok := ps.ReceiveWithTimeout(30 * time.Second).(redigo.Message)
	if !ok || string(m.Data) != "result" || time.Since(since) < 90*time.Millisecond {
		t.Fatalf("announced %+v after %v", m, time.Since(since))
	}
	if m := ps.ReceiveWithTimeout(1500 * time.Millisecond); fmt.Sprintf("%T", m) == "redis.Message" {
		t.Errorf("announced again though it was heard: %+v", m)
	}

	late := redigo.PubSubConn{Conn: s.Conn(0)}
	for n := 0; ; n++ {
		key := fmt.Sprint("late ", n)
		since = time.Now()
		a.Add(pubsub.Unheard{Key: key, Value: []byte("result"), Since: since})
		time.Sleep(300 * time.Millisecond) // past the first time
		if err := late.Subscribe(key); err != nil {
			t.Fatal(err)
		}
		late.Receive()
		if time.Since(since) < 900*time.Millisecond || n == 20 { // before the second time
			break
		}
		if err := late.Unsubscribe(key); err != nil {
			t.Fatal(err)
		}
		for { // up to the end of this subscription
			if s, ok := late.Receive().(redigo.Subscription); ok && s.Kind == "unsubscribe" {
				break
			}
		}
	}
	if _, ok := late.ReceiveWithTimeout(30 * time.Second).(redigo.Message); !ok || time.Since(since) < 900*time.Millisecond {
		t.Errorf("a listener that came late heard nothing after %v", time.Since(since))
	}
}
