package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of the configuration, in a real handshake.
func TestTLSFiles(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are wanted here
	server.StartTLS()
	t.Cleanup(server.Close)
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKCS8PrivateKey(otherKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert := write("cert.pem", "CERTIFICATE", server.Certificate().Raw)
	keyFile := write("key.pem", "PRIVATE KEY", key)
	otherFile := write("other.pem", "PRIVATE KEY", other)

	// connect is what the broker does with the configuration.
	connect := func(e env) error {
		e["REDIS_TLS_CERT_FILE"], e["REDIS_TLS_KEY_FILE"] = cert, keyFile
		c, err := load(t, e).Redis.TLS.Config()
		if err != nil {
			t.Fatal(err)
		}
		if c.MinVersion != tls.VersionTLS12 {
			t.Errorf("oldest version of TLS is %#x", c.MinVersion)
		}
		c.ServerName = "example.com"
		// A whole request: only then has the server judged our certificate.
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
		resp, err := client.Get(server.URL)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := connect(env{"REDIS_USE_TLS": "1", "REDIS_TLS_CA_FILE": cert}); err != nil {
		t.Errorf("with the authority: %v", err)
	}
	if err := connect(env{"REDIS_URL": "rediss://h?ssl_cert_reqs=required&ssl_ca_certs=" + cert}); err != nil {
		t.Errorf("with the authority in the URL: %v", err)
	}
	if err := connect(env{"REDIS_USE_TLS": "1"}); err == nil {
		t.Error("a certificate that nobody vouches for was accepted")
	}
	if err := connect(env{"REDIS_USE_TLS": "1", "REDIS_TLS_SKIP_VERIFY": "true"}); err != nil {
		t.Errorf("without verification: %v", err)
	}

	found := problems(t, env{"REDIS_USE_TLS": "1", "REDIS_TLS_CERT_FILE": cert, "REDIS_TLS_KEY_FILE": otherFile})
	if p := found["REDIS_TLS_CERT_FILE"]; len(found) != 1 || !strings.Contains(p.Right, "key that belongs to it") {
		t.Errorf("a key of another certificate: %v", found)
	}
}
