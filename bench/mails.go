package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail/smtptest"
)

const (
	mailsQueued = 10_000
	roundTrip   = 20 * time.Millisecond
	atOnce      = 8 // tasks, and so connections
)

// relay is an SMTP server with STARTTLS and AUTH behind a network of 20 ms round trips.
type relay struct {
	address, ca string
	stop        func()
}

// startRelay starts the relay in this process. It offers extensions.
func startRelay(dir string, extensions ...string) (r *relay, err error) {
	tb := &outsideTest{dir: dir}
	defer func() {
		if failed := recover(); failed != nil {
			err = fmt.Errorf("start the relay: %v", failed)
		}
	}()
	server := smtptest.New(tb, smtptest.Options{STARTTLS: true, Username: "bench", Password: "bench", Extensions: extensions, Gather: true})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.cleanUp()
		return nil, err
	}
	p := &slowNetwork{listener: listener, to: server.Addr()}
	p.running.Go(p.accept)
	return &relay{address: listener.Addr().String(), ca: server.Authority.File(tb), stop: func() { p.stop(); tb.cleanUp() }}, nil
}

// outsideTest lets smtptest run outside of a test.
type outsideTest struct {
	testing.TB
	dir   string
	after []func()
}

func (o *outsideTest) Helper()           {}
func (o *outsideTest) Cleanup(f func())  { o.after = append(o.after, f) }
func (o *outsideTest) TempDir() string   { return o.dir }
func (o *outsideTest) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (o *outsideTest) cleanUp() {
	for _, f := range o.after {
		f()
	}
}

// slowNetwork passes octets on after half a round trip. It delays, and limits no throughput.
type slowNetwork struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup
}

func (p *slowNetwork) stop() {
	_ = p.listener.Close()
	p.running.Wait()
}

func (p *slowNetwork) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		time.AfterFunc(roundTrip, func() { // of the handshake of TCP, which the kernel does without us
			far, err := net.Dial("tcp", p.to)
			if err != nil {
				_ = near.Close()
				return
			}
			go delay(near, far)
			go delay(far, near)
		})
	}
}

// delay copies from one connection to the other.
func delay(to, from net.Conn) {
	type octets struct {
		due  time.Time
		data []byte
	}
	way := make(chan octets, 1024)
	go func() {
		defer to.Close()
		for o := range way {
			time.Sleep(time.Until(o.due))
			if _, err := to.Write(o.data); err != nil {
				_ = from.Close()
			}
		}
	}()
	defer close(way)
	for buffer := make([]byte, 64<<10); ; {
		n, err := from.Read(buffer)
		if n > 0 {
			way <- octets{time.Now().Add(roundTrip / 2), append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			return
		}
	}
}

// runMails measures mails over the relay.
func runMails(ctx context.Context, b *bench, s *section) error {
	next, err := newTemplate("bench.mail", 0)
	if err != nil {
		return err
	}
	usual := b.window
	defer func() { b.window = usual }()
	const python = "Celery, a connection for each mail"
	for _, c := range []struct {
		name       string
		extensions []string
		window     time.Duration
	}{
		{python, []string{"PIPELINING", "CHUNKING"}, 10 * time.Second},
		{"ours, one command at a time", nil, time.Minute},
		{"ours, PIPELINING", []string{"PIPELINING"}, time.Minute},
		{"ours, CHUNKING", []string{"PIPELINING", "CHUNKING"}, time.Minute},
	} {
		dir, err := os.MkdirTemp("", "evently-relay-")
		if err != nil {
			return err
		}
		r, err := startRelay(dir, c.extensions...)
		if err != nil {
			return err
		}
		w := b.us(c.name, atOnce, "-smtp", r.address, "-ca", r.ca)
		w.argv[0] = b.mailer
		if c.name == python {
			w = b.celery(c.name, "service")
			w.argv[len(w.argv)-1] = fmt.Sprint(atOnce)
			w.env = append(w.env, "SMTP="+r.address, "SMTP_CA="+r.ca)
		}
		b.window = c.window
		f, err := b.drain(ctx, w, load{next: next, n: min(mailsQueued, b.mails)})
		r.stop()
		_ = os.RemoveAll(filepath.Clean(dir))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		f["mails/s"] = f["tasks/s"]
		s.add(c.name, python, f)
	}
	for _, trips := range []int{4, 2} {
		bound := atOnce / (float64(trips) * roundTrip.Seconds())
		s.add(fmt.Sprintf("bound: %d round trips, %d connections", trips, atOnce), python, figures{"mails/s": bound})
	}
	return nil
}
