package mail_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/mail"
)

// flood is what a hostile server says instead of a reply: a beginning, and then a chunk
// again and again.
type flood struct {
	name         string
	begin, chunk string
	chunks       int           // 0: without end
	every        time.Duration // between chunks
}

func floods(code string) []flood {
	return []flood{
		{name: "a line without end", begin: code + " ", chunk: strings.Repeat("x", 4096)},
		{name: "a million lines of one reply", chunk: strings.Repeat(code+"-x\r\n", 1000), chunks: 1000},
		{name: "lines without end", chunk: strings.Repeat(code+"-x\r\n", 1000)},
		{name: "a giant list of extensions", chunk: code + "-" + strings.Repeat("X-EXTENSION ", 160) + "\r\n", chunks: 100_000},
		{name: "NUL without end", chunk: strings.Repeat("\x00", 4096)},
		{name: "NUL in lines", chunk: code + "-\x00\x00\x00\r\n"},
		{name: "line ends without end", chunk: strings.Repeat("\r\n", 2048)},
		{name: "carriage returns without end", chunk: strings.Repeat("\r", 4096)},
		{name: "other codes without end", chunk: strings.Repeat("250-x\r\n550-y\r\n", 500)},
		{name: "an octet now and then", begin: code + " ", chunk: "x", every: 10 * time.Millisecond},
		{name: "a line now and then", chunk: code + "-x\r\n", every: 10 * time.Millisecond},
		{name: "silence", every: time.Hour},
	}
}

// hostileServer talks like a relay until a command, and floods then.
func hostileServer(t *testing.T, command string, f flood) (host string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		if talk(conn, command) {
			_, _ = conn.Write([]byte(f.begin))
			for i := 0; f.chunks == 0 || i < f.chunks; i++ {
				if _, err := conn.Write([]byte(f.chunk)); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(f.every):
				}
			}
			<-ctx.Done()
		}
	}()
	addr := l.Addr().(*net.TCPAddr)
	return "127.0.0.1", addr.Port
}

// talk answers commands until one comes, and reports whether it came.
func talk(conn net.Conn, command string) bool {
	say := func(text string) { _, _ = conn.Write([]byte(text + "\r\n")) }
	if command == "CONNECT" {
		return true
	}
	say("220 hi")
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if verb == command {
			return true
		}
		if verb != "DATA" {
			say("250 ok")
			continue
		}
		say("354 go")
		for line != ".\r\n" {
			if line, err = in.ReadString('\n'); err != nil {
				return false
			}
		}
		if command == "." {
			return true
		}
		say("250 done")
	}
}

// A server that says too much, or says it too slowly, costs little time and memory at any
// stage. No mail is reported as sent, and one without a reply to its end is unknown.
func TestFloods(t *testing.T) {
	for stage, code := range map[string]string{"CONNECT": "220", "EHLO": "250", "MAIL": "250", "RCPT": "250", "DATA": "354", ".": "250"} {
		for _, f := range floods(code) {
			t.Run(stage+", "+f.name, func(t *testing.T) {
				host, port := hostileServer(t, stage, f)
				const limit = 200 * time.Millisecond
				early := limit // of the steps before the end of a mail
				if stage == "." {
					early = 30 * time.Second // it must be reached
				}
				sender := newSender(t, mail.Config{
					Host: host, Port: port, Security: mail.Plain, FromName: "Evently", FromAddress: "mail@evently.example", HelloName: "w.example.com",
					Timeouts: mail.Timeouts{Greeting: early, Command: early, Final: limit, Quit: limit},
				})
				m := message()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				begin := time.Now()
				_, err := sender.Send(t.Context(), m)
				took := time.Since(begin)
				runtime.ReadMemStats(&after)
				if failed, ok := errors.AsType[*mail.SendError](err); !ok || failed.Unknown() != (stage == ".") || len(failed.Error()) > 2000 ||
					bytes.ContainsAny([]byte(failed.Error()), "\x00\r\n") {
					t.Errorf("%v", err)
				}
				if took > 20*time.Second {
					t.Errorf("it took %s", took)
				}
				// The server of the test allocates a timer for each chunk.
				if mb := float64(after.TotalAlloc-before.TotalAlloc) / (1 << 20); mb > 8 {
					t.Errorf("%.1f MB were allocated", mb)
				}
			})
		}
	}
}
