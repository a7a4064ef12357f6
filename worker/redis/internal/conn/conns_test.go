package conn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis/redistest"
)

// Connections that are replaced in the moment that one is taken cost no command,
// and after Close the error says what happened.
func TestReplacedPools(t *testing.T) {
	server := redistest.Start(t)
	b := New(Config{Network: "tcp", Host: server.Addr, Name: server.Addr})
	ping := func() error {
		return b.Do(t.Context(), func(c redigo.Conn) error { _, err := c.Do("PING"); return err })
	}
	done := make(chan struct{})
	var replacing sync.WaitGroup
	replacing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				b.Replace(b.Current(), false)
			}
		}
	})
	for range 2000 {
		if err := ping(); err != nil {
			t.Errorf("PING: %v", err)
			break
		}
	}
	close(done)
	replacing.Wait()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ping(); err == nil || strings.Contains(err.Error(), "pool") {
		t.Errorf("PING after Close: %v", err)
	}
}

// A deadline bounds the commands on a server that does not answer, alone and in a pipeline. Without
// one they wait for CommandTimeout.
func TestDeadline(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := New(Config{Network: "tcp", Host: server.Addr, Name: server.Addr})
	defer b.Close()
	alone := func(c redigo.Conn) error { _, err := c.Do("PING"); return err }
	piped := func(c redigo.Conn) error {
		_ = c.Send("PING")
		_ = c.Flush()
		_, err := c.Receive()
		return err
	}
	withContext := func(c redigo.Conn) error { _, err := redigo.DoContext(c, t.Context(), "PING"); return err }
	ask := func(patience time.Duration, fn func(redigo.Conn) error) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		err := b.Do(ctx, fn)
		return time.Since(began), err
	}
	for _, fn := range []func(redigo.Conn) error{alone, piped, withContext} {
		if _, err := ask(time.Minute, fn); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(CommandTimeout/2, fn); err != nil {
			t.Fatalf("before the deadline: %v", err)
		}
		server.Stop()
		if took, err := ask(50*time.Millisecond, fn); err == nil || took >= CommandTimeout {
			t.Errorf("a server that does not answer: %v after %s", err, took)
		}
		server.Continue()
	}
}

// A command that the deadline of its caller cuts discards its own connection. One that the server
// breaks discards all others.
func TestDeadlineOfOneCaller(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	b := New(Config{Network: "tcp", Host: server.Addr, Name: server.Addr})
	defer b.Close()
	if err := b.Do(t.Context(), func(c redigo.Conn) error { _, err := c.Do("PING"); return err }); err != nil {
		t.Fatal(err)
	}
	first := b.Current()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wait := func(c redigo.Conn) error {
		_, err := redigo.DoWithTimeout(c, time.Minute, "BLPOP", "none", 0)
		return err
	}
	if err := b.Do(ctx, wait); err == nil {
		t.Error("no error after the deadline")
	}
	<-ctx.Done()
	if err := b.Do(ctx, func(redigo.Conn) error { t.Error("called after the deadline"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	if b.Current() != first {
		t.Error("the deadline of one caller has discarded the connections of others")
	}
	broken := func(c redigo.Conn) error {
		if _, err := c.Do("QUIT"); err != nil {
			return err
		}
		_, err := c.Do("PING")
		return err
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Do(ctx, broken); err == nil || b.Current() == first {
		t.Errorf("a broken connection has not discarded others: %v", err)
	}
}
