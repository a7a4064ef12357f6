package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo serves lines back on loopback until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// client is a connection through the proxy that says and hears lines.
type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *proxy.Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// ask sends a line and returns the error of reading until it comes back, within
// d.
func (c *client) ask(line string, d time.Duration) error {
	c.SetDeadline(time.Now().Add(d))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	for {
		if got, err := c.r.ReadString('\n'); err != nil || got == line+"\n" {
			return err
		}
	}
}

const (
	soon  = 30 * time.Second       // must happen
	never = 100 * time.Millisecond // must not happen
)

func TestModes(t *testing.T) {
	p, err := proxy.New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)

	a := dial(t, p)
	if err := a.ask("pass", soon); err != nil {
		t.Fatalf("passing: %v", err)
	}

	if err := p.Set(proxy.Freeze); err != nil {
		t.Fatal(err)
	}
	b := dial(t, p) // the connection itself is accepted
	for _, c := range []*client{a, b} {
		if err := c.ask("frozen", never); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("frozen: %v, want no answer", err)
		}
	}
	if err := p.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{a, b} {
		if err := c.ask("thawed", soon); err != nil {
			t.Fatalf("thawed: %v", err)
		}
	}

	if n := p.Stick(); n != 2 {
		t.Fatalf("%d connections stuck, want 2", n)
	}
	if err := a.ask("stuck", never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("stuck: %v, want no answer", err)
	}
	c := dial(t, p)
	if err := c.ask("new", soon); err != nil {
		t.Fatalf("beside stuck ones: %v", err)
	}

	if n := p.Reset(); n != 3 {
		t.Fatalf("%d connections reset, want 3", n)
	}
	if err := c.ask("reset", soon); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("reset: %v", err)
	}

	if err := p.Set(proxy.Refuse); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("refusing: %v", err)
	}
	if err := p.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	if err := dial(t, p).ask("again", soon); err != nil {
		t.Fatalf("passing again: %v", err)
	}
}

// TestStickAt freezes the connection of one request, which arrives.
func TestStickAt(t *testing.T) {
	p, err := proxy.New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	a, b := dial(t, p), dial(t, p)
	p.StickAt("take", "queue")
	for _, text := range []string{"take", "queue"} {
		if err := a.ask(text, soon); err != nil {
			t.Fatalf("one of two words: %v", err)
		}
	}
	if p.Sticks() {
		t.Fatal("it has come, before it was sent")
	}
	if err := a.ask("take from queue", never); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("stuck: %v, want no answer", err)
	}
	testkit.Eventually(t, soon, "it has come", p.Sticks)
	if err := b.ask("take from queue", soon); err != nil {
		t.Fatalf("the next one: %v", err)
	}
}

// TestOneWay freezes one direction at a time.
func TestOneWay(t *testing.T) {
	p, err := proxy.New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for _, mode := range []proxy.Mode{proxy.FreezeAnswers, proxy.FreezeRequests} {
		c := dial(t, p)
		if err := p.Set(mode); err != nil {
			t.Fatal(err)
		}
		if err := c.ask("frozen", never); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("mode %d: %v, want no answer", mode, err)
		}
		if err := p.Set(proxy.Pass); err != nil {
			t.Fatal(err)
		}
		if err := c.ask("thawed", soon); err != nil {
			t.Fatalf("mode %d, thawed: %v", mode, err)
		}
	}
}

// TestSlow delays and trickles, and cuts in the middle of a line.
func TestSlow(t *testing.T) {
	p, err := proxy.New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c := dial(t, p)
	p.Delay(50 * time.Millisecond)
	begin := time.Now()
	if err := c.ask("late", soon); err != nil || time.Since(begin) < 100*time.Millisecond {
		t.Errorf("delayed: %v after %s, want 100ms", err, time.Since(begin))
	}
	p.Delay(0)
	if err := p.Set(proxy.Trickle); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	if err := c.ask("drop by drop", soon); err != nil || time.Since(begin) < 26*time.Millisecond {
		t.Errorf("trickled: %v after %s, want 13 bytes to take 26ms", err, time.Since(begin))
	}
	if err := p.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	p.CutAfter(3)
	if err := c.ask("cut in the middle", soon); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("cut: %v", err)
	}
	if err := dial(t, p).ask("whole again", soon); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}
