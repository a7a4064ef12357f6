package conn

import (
	"strings"
	"sync"
	"testing"

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
