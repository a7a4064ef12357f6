package conn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis/redistest"
)

// An idle connection is reused although the deadline of its last reply has passed, until the
// server closes it.
func TestIdleConnection(t *testing.T) {
	t.Parallel()
	ca := redistest.NewAuthority(t, "CA")
	pair, port := ca.Issue("server", time.Now().Add(time.Hour), "127.0.0.1"), redistest.FreePort(t)
	server := redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key,
		"--tls-ca-cert-file", ca.File, "--tls-auth-clients", "no")
	text, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for name, cfg := range map[string]Config{
		"plain": {Network: "tcp", Host: server.Addr},
		"TLS": {
			Network: "tcp", Host: fmt.Sprintf("127.0.0.1:%d", port),
			TLS: func() *tls.Config { return &tls.Config{RootCAs: roots} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := New(cfg)
			defer b.Close()
			c, err := b.dial(t.Context(), b.dialer.netBuffered)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			id, err := redigo.Int64(c.Do("CLIENT", "ID"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.(*hashlessConn).net.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := testIdle(t.Context(), c, lookAfter); err != nil {
				t.Errorf("an idle connection: %v", err)
			}
			if err := testIdle(t.Context(), c, testAfter); err != nil {
				t.Errorf("a connection that was idle for longer: %v", err)
			}
			if _, err := server.Conn(0).Do("CLIENT", "KILL", "ID", id); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(30 * time.Second); testIdle(t.Context(), c, lookAfter) == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("a closed connection is not noticed")
				}
			}
		})
	}
}

// A cut of an idle connection bounds the time for which the next ones are idle.
func TestIdle(t *testing.T) {
	t.Parallel()
	silent := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	reset := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	var i Idle
	for _, c := range []struct {
		err         error
		idle, usual time.Duration
		isCut       bool
		most        time.Duration // afterwards, of 5 s
	}{
		{io.EOF, idleLeast - 1, 5 * time.Second, false, 5 * time.Second},
		{errors.New("LOADING"), 4 * time.Second, 5 * time.Second, false, 5 * time.Second},
		{fmt.Errorf("read: %w", net.ErrClosed), 4 * time.Second, 5 * time.Second, false, 5 * time.Second},
		{io.EOF, 4 * time.Second, 5 * time.Second, true, 2 * time.Second},
		{silent, 6 * time.Second, 5 * time.Second, false, time.Second},
		{io.ErrUnexpectedEOF, time.Second, time.Second, true, time.Second / 2},
		{reset, time.Second, time.Second / 2, true, time.Second / 4},
		{reset, time.Second, time.Second / 4, true, time.Second / 4},
	} {
		if isCut := i.IsCut(c.err, c.idle, c.usual); isCut != c.isCut || i.Most(5*time.Second) != c.most {
			t.Errorf("%v after %v: %t, %v; want %t, %v", c.err, c.idle, isCut, i.Most(5*time.Second), c.isCut, c.most)
		}
	}
}
