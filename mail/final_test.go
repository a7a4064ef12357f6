package mail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/mail/internal/redact"
)

// scriptedRelay is a server that tells how much of a body it has received.
type scriptedRelay struct {
	net.Listener
	extensions []string
	chunk      []byte // the first one of a connection; one connection at a time
	running    sync.WaitGroup

	mu    sync.Mutex
	body  []byte // since the last 354 or BDAT LAST; the chunks before it are part of it
	ended bool   // the client has closed
}

// offered are the extensions for each way in which a mail goes to a relay.
var offered = map[string][]string{"DATA": nil, "pipelined": {"PIPELINING"}, "chunked": {"PIPELINING", "CHUNKING"}}

func startRelay(t *testing.T, extensions ...string) *scriptedRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &scriptedRelay{Listener: l, extensions: extensions}
	r.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); r.running.Wait() })
	return r
}

func (r *scriptedRelay) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(line string) { _, _ = conn.Write([]byte(line + "\r\n")) }
	say("220 relay")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.ToUpper(verb) {
		case "EHLO":
			say("250-relay")
			for _, extension := range r.extensions {
				say("250-" + extension)
			}
			say("250 HELP")
		case "BDAT":
			fields := strings.Fields(line)
			size, _ := strconv.Atoi(fields[1])
			if len(fields) < 3 {
				r.chunk = make([]byte, size)
				_, _ = io.ReadFull(in, r.chunk)
				say("250 go on")
				break
			}
			if !r.readChunk(in, size) {
				return
			}
			say("250 taken")
		case "DATA":
			say("354 go on")
			if !r.read(in) {
				return
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// read reads a body and reports whether its end has come.
func (r *scriptedRelay) read(in *bufio.Reader) bool {
	r.mu.Lock()
	r.body, r.ended = nil, false
	r.mu.Unlock()
	for {
		c, err := in.ReadByte()
		r.mu.Lock()
		if err != nil {
			r.ended = true
			r.mu.Unlock()
			return false
		}
		r.body = append(r.body, c)
		end := bytes.HasSuffix(r.body, endOfData)
		r.mu.Unlock()
		if end {
			return true
		}
	}
}

// readChunk reads the last chunk and reports whether its end has come.
func (r *scriptedRelay) readChunk(in *bufio.Reader, size int) bool {
	r.mu.Lock()
	r.body, r.ended = r.chunk, false
	r.mu.Unlock()
	for range size {
		c, err := in.ReadByte()
		r.mu.Lock()
		if err != nil {
			r.ended = true
			r.mu.Unlock()
			return false
		}
		r.body = append(r.body, c)
		r.mu.Unlock()
	}
	return true
}

func (r *scriptedRelay) received() (body []byte, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.body), r.ended
}

// await waits until the relay has got what ok asks for.
func (r *scriptedRelay) await(t *testing.T, what string, ok func(body []byte, ended bool) bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(r.received()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			body, ended := r.received()
			t.Fatalf("%s: the relay has %d octets, ended %t", what, len(body), ended)
		}
	}
}

func (r *scriptedRelay) sender(t *testing.T, limits Timeouts) *Sender {
	t.Helper()
	host, port, _ := net.SplitHostPort(r.Addr().String())
	n, _ := strconv.Atoi(port)
	s, err := New(Config{Host: host, Port: n, Security: Plain, FromAddress: "mail@evently.example", MaxConns: 1, Timeouts: limits})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// onTheWire is a body with its dots doubled and its end.
func onTheWire(body []byte) []byte {
	body = bytes.ReplaceAll(append([]byte("\r\n"), body...), []byte("\r\n."), []byte("\r\n.."))[2:]
	if !bytes.HasSuffix(body, []byte("\r\n")) {
		body = append(body, "\r\n"...)
	}
	return append(body, ".\r\n"...)
}

// bodies are of every length around the buffers between here and the wire, with
// beginnings of the end of data wherever they may be torn apart.
func bodies() map[string][]byte {
	all := map[string][]byte{
		"one line": []byte("Hello\r\n"), "no end of line": []byte("Hello"), "blank": []byte("\r\n"), "dots": []byte(".\r\n..\r\n.\r\n"),
		"a CR at the end": []byte("Hello\r"), "long": bytes.Repeat([]byte("0123456789.\r\n.\r\n"), 40_000),
	}
	for n := 4080; n <= 4100; n++ {
		all["of "+strconv.Itoa(n)] = append(bytes.Repeat([]byte("x"), n-2), "\r\n"...)
		all["dots of "+strconv.Itoa(n)] = append(bytes.Repeat([]byte("x"), n-5), "\r\n.\r\n"...)
	}
	return all
}

// The last word is asked for when the relay has everything but the end of data.
func TestBeforeFinalIsTheLastWord(t *testing.T) {
	t.Parallel()
	for way, extensions := range offered {
		for name, body := range bodies() {
			t.Run(way+", "+name, func(t *testing.T) { beforeFinalIsTheLastWord(t, body, extensions) })
		}
	}
}

func beforeFinalIsTheLastWord(t *testing.T, body []byte, extensions []string) {
	relay := startRelay(t, extensions...)
	chunked := len(extensions) == 2
	if chunked { // only its own fields make this package send chunks
		if len(body) < len(endOfData) {
			t.Skip("no line follows the first chunk")
		}
		body = append([]byte("Date: now\r\n"), body...)
	}
	want, asked := onTheWire(body), 0
	if chunked {
		want = body
		if !bytes.HasSuffix(want, []byte("\n")) {
			want = append(bytes.Clone(want), "\r\n"...)
		}
	}
	if body[len(body)-1] == '\r' { // that line is completed
		want = append(bytes.Clone(body), '\n')
		if !chunked {
			want = append(want, ".\r\n"...)
		}
	}
	m := flood()
	m.Bytes = body
	m.beforeFinal = func(context.Context) error {
		asked++
		relay.await(t, "before the end of data", func(got []byte, _ bool) bool {
			return bytes.Equal(got, want[:len(want)-len(endOfData)])
		})
		return nil
	}
	if _, failed := relay.sender(t, Timeouts{}).deliver(t.Context(), m, redact.Secrets{}); failed != nil {
		t.Fatal(failed)
	}
	if got, _ := relay.received(); !bytes.Equal(got, want) || asked != 1 {
		t.Errorf("asked %d times, the relay has %q, want %q", asked, last(got, 40), last(want, 40))
	}
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// A refusal there is a failure before the end of data, and no fault of the relay.
func TestBeforeFinalRefuses(t *testing.T) {
	t.Parallel()
	for way, extensions := range offered {
		t.Run(way, func(t *testing.T) { beforeFinalRefuses(t, extensions) })
	}
}

func beforeFinalRefuses(t *testing.T, extensions []string) {
	errNo := errors.New("no")
	relay := startRelay(t, extensions...)
	sender := relay.sender(t, Timeouts{})
	m := Message{TaskID: "t", To: "jane@example.com", Subject: "s", Text: "Hello\n", BeforeFinal: func(context.Context) error { return errNo }}
	_, err := sender.Send(t.Context(), m)
	e, ok := errors.AsType[*SendError](err)
	if !ok || e.Command != "BODY" || e.Unknown() || !e.Retryable() || !errors.Is(err, errNo) || !errors.Is(err, ErrWithheld) || e.CountsForBreaker() {
		t.Fatalf("%#v", err)
	}
	relay.await(t, "after the refusal", func(_ []byte, ended bool) bool { return ended })
	whole, err := sender.Compose(m)
	if got, _ := relay.received(); err != nil || len(got) != len(whole.Bytes)-len("\r\n") && len(got) != len(whole.Bytes)-len(endOfData) {
		t.Errorf("the relay got the end: %q", last(got, 20))
	}
	if s := sender.Status(); s.Fault != nil {
		t.Errorf("the relay counts as faulty: %v", s.Fault)
	}
	m.BeforeFinal = nil
	if _, err := sender.Send(t.Context(), m); err != nil {
		t.Errorf("the next mail: %v", err)
	}
}

// The time of the question is not the relay's.
func TestBeforeFinalMayTakeLong(t *testing.T) {
	t.Parallel()
	for way, extensions := range offered {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			beforeFinalMayTakeLong(t, extensions)
		})
	}
}

func beforeFinalMayTakeLong(t *testing.T, extensions []string) {
	const limit = 3 * time.Second
	relay := startRelay(t, extensions...)
	m := flood()
	m.Bytes = []byte("Date: now\r\nHello\r\n")
	m.beforeFinal = func(context.Context) error {
		time.Sleep(2 * limit) // the question itself
		return nil
	}
	if _, failed := relay.sender(t, Timeouts{BodyWrite: limit, Final: limit}).deliver(t.Context(), m, redact.Secrets{}); failed != nil {
		t.Error(failed)
	}
}

// Only a wait is announced, and it ends with the error of its context.
func TestWaitIsAnnounced(t *testing.T) {
	t.Parallel()
	relay := startRelay(t)
	sender := relay.sender(t, Timeouts{})
	errEnough := errors.New("enough")
	waits := 0
	m := Message{TaskID: "t", To: "jane@example.com", Subject: "s", Text: "Hello\n"}
	m.Wait = func(ctx context.Context, wait func(context.Context) error) error {
		waits++
		ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Millisecond, errEnough)
		defer cancel()
		return wait(ctx)
	}
	busy := m
	busy.BeforeFinal = func(ctx context.Context) error {
		_, err := sender.Send(ctx, m)
		if e, ok := errors.AsType[*SendError](err); !ok || e.Command != "WAIT" || !errors.Is(err, errEnough) || waits != 1 {
			t.Errorf("beside the only connection: %v after %d waits", err, waits)
		}
		return nil
	}
	if _, err := sender.Send(t.Context(), busy); err != nil || waits != 1 {
		t.Errorf("%v, %d waits", err, waits)
	}
}

// Mails return to the preferred relay after its rest, one of them first.
func TestReturnToPreferredRelay(t *testing.T) {
	t.Parallel()
	const rest = 200 * time.Millisecond
	first, second := startRelay(t), startRelay(t)
	relays, err := NewRelays(Relay{Sender: first.sender(t, Timeouts{})}, Relay{Sender: second.sender(t, Timeouts{})})
	if err != nil {
		t.Fatal(err)
	}
	relays.rest = rest
	faulty := &SendError{Command: "DIAL"}
	relays.all[0].memory.note(faulty, time.Now(), rest)
	m := Message{TaskID: "t", To: "jane@example.com", Subject: "s", Text: "Hello\n"}
	began := time.Now()
	for {
		receipt, err := relays.Send(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if receipt.Relay == first.Addr().String() {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("no mail returned to the preferred relay")
		}
	}
	if waited := time.Since(began); waited < rest/2 {
		t.Errorf("the mail returned after %v", waited)
	}
	if receipt, err := relays.Send(t.Context(), m); err != nil || receipt.Relay != first.Addr().String() {
		t.Errorf("next mail by %s, %v", receipt.Relay, err)
	}
	keeper, now := &restKeeper{}, time.Now()
	keeper.note(faulty, now, rest)
	if tries := []bool{keeper.ready(now.Add(rest), rest), keeper.ready(now.Add(rest), rest)}; !tries[0] || tries[1] {
		t.Errorf("mails that try the relay after its rest: %v, want one", tries)
	}
}
