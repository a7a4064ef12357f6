package redis_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// tryURL asks the server behind a URL one question.
func tryURL(t *testing.T, url string) error {
	t.Helper()
	b, err := redis.New(redis.Config{URL: url, Logger: quiet()})
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = b.Backlog(t.Context(), "s") // which is not tried again
	return err
}

// The logins of Celery's URLs work as they do in Python.
func TestLoginsOfURLs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	const password = `a^b|"c d@e:f100%g;h`
	do(t, c, "ACL", "SETUSER", "open", "on", "nopass", "~*", "&*", "+@all")
	do(t, c, "ACL", "SETUSER", "app", "on", ">"+password, "~*", "&*", "+@all")
	do(t, c, "CONFIG", "SET", "requirepass", password)
	for _, url := range []string{
		"redis://open@" + s.Addr, "redis://open:@" + s.Addr + "/3", "valkey://open@" + s.Addr + "/3",
		"redis://app:" + password + "@" + s.Addr, "redis://:" + password + "@" + s.Addr + "/3",
		"redis://" + s.Addr + "?username=open",
	} {
		if err := tryURL(t, url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"redis://" + s.Addr, "redis://app@" + s.Addr, "redis://nobody@" + s.Addr} {
		if err := tryURL(t, url); err == nil {
			t.Errorf("%s: no error", url)
		}
	}
}

// The parameters of TLS in a URL do what they do in Python.
func TestTLSOfURLs(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	dir := t.TempDir()
	ca, cert := certificate(t, dir)
	addr := tlsProxy(t, s.Addr, cert)
	other, _ := certificate(t, t.TempDir())
	for query, works := range map[string]bool{
		"?ssl_ca_certs=" + ca + "&ssl_check_hostname=false": true,
		"?ssl_ca_certs=" + ca + "&ssl_check_hostname=False": true,
		"?ssl_cert_reqs=none":                               true,
		"?ssl_cert_reqs=CERT_NONE":                          true,
		"":                                                  false,
		"?ssl_ca_certs=" + ca:                               false, // of another host
		"?ssl_check_hostname=false":                         false, // of other authorities
		"?ssl_ca_certs=" + other + "&ssl_check_hostname=false":                  false,
		"?ssl_ca_certs=" + filepath.Join(dir, "missing"):                        false,
		"?ssl_ca_certs=" + ca + "&ssl_certfile=" + ca:                           false,
		"?ssl_ca_certs=" + ca + "&ssl_check_hostname=perhaps":                   false,
		"?ssl_ca_certs=" + ca + "&ssl_cert_reqs=required&ssl_check_hostname=no": true,
	} {
		for _, scheme := range []string{"rediss://", "valkeys://"} {
			if err := tryURL(t, scheme+addr+query); (err == nil) != works {
				t.Errorf("%s: %v, want one that works: %v", query, err, works)
			}
		}
	}
}

// A parameter that has no effect is named in the log.
func TestUnusedParameterIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b, err := redis.New(redis.Config{URL: "redis://h?socket_timeout=5&ssl=1", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if out := log.String(); !strings.Contains(out, "socket_timeout") || !strings.Contains(out, `\"ssl\"`) {
		t.Errorf("log: %s", out)
	}
}

// certificate makes a self-signed certificate for a host other than that of the tests.
func certificate(t *testing.T, dir string) (file string, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.example"}, DNSNames: []string{"redis.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsProxy puts TLS in front of a server.
func tlsProxy(t *testing.T, to string, cert tls.Certificate) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				go func() {
					_, _ = io.Copy(up, c)
					up.Close()
				}()
				_, _ = io.Copy(c, up)
			}()
		}
	}()
	return l.Addr().String()
}

// A server before Redis 6 knows no users: it gets the password of one alone.
func TestLoginOfAUserBeforeRedis6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	logins := make(chan string, 8)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buffer := make([]byte, 4096)
		for {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			words := strings.Fields(string(buffer[:n]))
			reply := "-ERR not known here\r\n"
			switch {
			case words[2] == "AUTH" && words[0] == "*3":
				reply = "-ERR wrong number of arguments for 'auth' command\r\n"
			case words[2] == "AUTH":
				logins <- words[4]
				reply = "+OK\r\n"
			}
			if _, err := io.WriteString(c, reply); err != nil {
				return
			}
		}
	}()
	if err := tryURL(t, "redis://h:secret@"+l.Addr().String()); err == nil || !strings.Contains(err.Error(), "not known here") {
		t.Errorf("error %v, want one of a command after the login", err)
	}
	if len(logins) == 0 || <-logins != "secret" {
		t.Error("the password alone was not tried")
	}
}

// A server that does not know a command repeats its arguments, which may be the password.
func TestRefusalsShowNoArguments(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, "--rename-command", "AUTH", "", "--rename-command", "PUBLISH", "")
	for _, login := range []string{"evently:geheim99@", ":geheim99@", ""} {
		b := must(redis.New(redis.Config{URL: "redis://" + login + s.Addr, Logger: quiet()}))(t)
		err := b.Broadcast(t.Context(), []byte(`{"otp": "geheim99"}`))
		if err == nil || !strings.Contains(err.Error(), "unknown command") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("with %q: %v; want the refusal without arguments", login, err)
		}
		b.Close()
	}
}
