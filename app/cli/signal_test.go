package cli_test

import (
	"bufio"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// acceptMail greets the connections of a listener until one begins a mail, and returns that one. The
// question of a worker at its start ends with QUIT.
func acceptMail(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	for {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("220 relay.example ESMTP\r\n"))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && strings.HasPrefix(line, "EHLO") {
			return c
		}
		c.Close()
	}
}

// A mail hangs in a server that says nothing. The first signal waits for it, the
// second does not, and the message is back in its queue.
func testSecondSignal(t *testing.T, p binary) {
	server := redistest.Start(t)
	conn := server.Conn(0)
	const queue = "email_notifications"
	raw, err := protocol.Encode(&protocol.Message{
		Protocol: 2, ID: "6f2b9a51-1d9c-4a8c-a0c3-3c3e5d0f1a12", Task: "send_otp_verification_email",
		Args:   protocol.Raw(`[{"email": "a@b.example", "otp": "` + canary + `"}]`),
		Kwargs: protocol.Raw(`{}`), DeliveryTag: "7d1f2c3a-8f5b-4f6b-9b6e-2b7a9d5c1e23", RoutingKey: queue,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Do("LPUSH", queue, raw); err != nil {
		t.Fatal(err)
	}
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, port, err := net.SplitHostPort(silent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	l := p.start(t, "REDIS_URL="+server.URL(0), "SMTP_HOST=127.0.0.1", "SMTP_PORT="+port, "SMTP_TLS_MODE=none",
		"DB_HOST=127.0.0.1", "SHUTDOWN_GRACE=600")
	defer acceptMail(t, silent).Close()
	signal := func(tell string) {
		t.Helper()
		l.signal(syscall.SIGTERM)
		l.tells(tell)
	}
	signal("stopping: finishing what runs")
	l.answers("/livez", 200)
	l.answers("/readyz", 503)
	signal("stopping at once")
	_ = l.cmd.Wait() // the exit code says it all
	if code := l.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if n, err := conn.Do("LLEN", queue); err != nil || n != int64(1) {
		t.Errorf("%v messages in the queue, %v; want the one that was not sent", n, err)
	}
	if strings.Contains(l.output(), canary) {
		t.Error("a code is in the log")
	}
}
