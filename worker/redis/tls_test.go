package redis_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// startTLS starts a server that speaks TLS on the address addr, and wants certificates of
// clients. Its usual port speaks no TLS, for the test itself.
func startTLS(t *testing.T, ca *redistest.Authority, pair redistest.Pair) (s *redistest.Server, addr string) {
	t.Helper()
	port := redistest.FreePort(t)
	s = redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key,
		"--tls-ca-cert-file", ca.File, "--tls-auth-clients", "yes")
	return s, fmt.Sprintf("127.0.0.1:%d", port)
}

// sslParams returns the parameters that name files, as Celery's URLs have them.
func sslParams(ca string, client redistest.Pair) string {
	return "?ssl_cert_reqs=required&ssl_ca_certs=" + ca + "&ssl_certfile=" + client.Cert + "&ssl_keyfile=" + client.Key
}

// TestTLS connects to a redis-server with TLS, by each fault that certificates have.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := redistest.NewAuthority(t, "Our CA"), redistest.NewAuthority(t, "Another CA")
	soon := time.Now().Add(time.Hour)
	good, client := ca.Issue("server", soon, "127.0.0.1", "localhost"), ca.Issue("client", soon)
	s, addr := startTLS(t, ca, good)
	none := redistest.Pair{}
	admin := s.Conn(0)
	for _, test := range []struct {
		name, url string
		server    redistest.Pair // zero: good
		want      string         // in the error; "": none
	}{
		{"all right", "rediss://" + addr + sslParams(ca.File, client), none, ""},
		{"as Valkey", "valkeys://" + addr + sslParams(ca.File, client), none, ""},
		{"another spelling", "rediss://" + addr + strings.Replace(sslParams(ca.File, client), "required", "CERT_REQUIRED", 1), none, ""},
		{"not verified", "rediss://" + addr + strings.Replace(sslParams(ca.File, client), "required", "none", 1), ca.Issue("b", soon, "b.example"), ""},
		{"no client certificate", "rediss://" + addr + "?ssl_ca_certs=" + ca.File, none, "wants a client certificate: name its file and that of its key (ssl_certfile, ssl_keyfile)"},
		{"client certificate of another authority", "rediss://" + addr + sslParams(ca.File, stranger.Issue("client", soon)), none, "does not know the authority of our client certificate"},
		{"client certificate that has expired", "rediss://" + addr + sslParams(ca.File, ca.Issue("old", soon.Add(-90*time.Minute))), none, "our client certificate (ssl_certfile) has expired"},
		{"expired", "rediss://" + addr + sslParams(ca.File, client), ca.Issue("past", soon.Add(-90*time.Minute), "127.0.0.1"), "certificate of the server is valid from"},
		{"another host", "rediss://" + addr + sslParams(ca.File, client), ca.Issue("c", soon, "redis.example", "10.1.2.3"), "is for redis.example, 10.1.2.3, not for 127.0.0.1"},
		{"another host, which is ignored", "rediss://" + addr + sslParams(ca.File, client) + "&ssl_check_hostname=false", ca.Issue("d", soon, "redis.example"), ""},
		{"unknown authority", "rediss://" + addr + sslParams(stranger.File, client), none, "by an unknown authority (CN=Our CA): name the file of that authority (ssl_ca_certs)"},
		{"unknown to the system", "rediss://" + addr, none, "name the file of that authority"},
		{"TLS to a port without it", "rediss://" + s.Addr + sslParams(ca.File, client), none, "a server without TLS on this port gives none either"},
		{"no TLS to a port with it", "redis://" + addr, none, "is its port one for TLS?"},
	} {
		if test.server == none {
			test.server = good
		}
		do(t, admin, "CONFIG", "SET", "tls-cert-file", test.server.Cert, "tls-key-file", test.server.Key)
		err := tryURL(t, test.url)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v\nwant %s", test.name, err, test.want)
		}
	}
}

// A worker goes on when all certificates, that of the authority included, are replaced while
// it runs. A half of the new files changes nothing.
func TestCertificatesAreReplaced(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	first, second := redistest.NewAuthority(t, "First CA"), redistest.NewAuthority(t, "Second CA")
	s, addr := startTLS(t, first, first.Issue("server", soon, "127.0.0.1"))
	client := first.Issue("client", soon)
	var log lockedBuffer
	b, err := redis.New(redis.Config{URL: "rediss://" + addr + sslParams(first.File, client), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	ask := func() error { _, _, err := b.Letters().List(t.Context(), 0, 1); return err }
	w, _ := runWorker(t, redis.Config{URL: "rediss://" + addr + sslParams(first.File, client)}, worker.Config{Tasks: nothing()})
	c := s.Conn(0)
	run := func(when string) {
		t.Helper()
		id := send(t, c, "q", "nothing", "[]")
		eventually(t, "a task is done "+when, func() bool { return result(t, c, id).Status == "SUCCESS" })
	}
	run("before")
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	cut := func() {
		do(t, c, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		do(t, c, "CLIENT", "KILL", "TYPE", "pubsub")
	}

	// The key comes before its certificate: the pair does not fit, and the old one is used.
	newClient, newServer := second.Issue("client", soon), second.Issue("server", soon, "127.0.0.1")
	replaceFile(t, client.Key, newClient.Key)
	cut()
	run("with a new key whose certificate is not there yet")
	if err := ask(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "keeping the previous ones") {
		t.Errorf("the log does not tell of files that do not fit:\n%s", log.String())
	}
	replaceFile(t, client.Cert, newClient.Cert)
	replaceFile(t, first.File, second.File)
	do(t, c, "CONFIG", "SET", "tls-cert-file", newServer.Cert, "tls-key-file", newServer.Key, "tls-ca-cert-file", second.File)
	cut()
	run("with other certificates")
	if err := ask(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "certificate files replaced"); n != 1 {
		t.Errorf("the log tells %d times of new files:\n%s", n, log.String())
	}
	if s := w.Status(); s.State != worker.StateRunning {
		t.Errorf("worker is %v: %s", s.State, s.Fault)
	}
}

// replaceFile moves a copy of another file to the place of a file, as certificate managers do.
func replaceFile(t *testing.T, file, by string) {
	t.Helper()
	text := must(os.ReadFile(by))(t)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
