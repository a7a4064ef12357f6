package mail_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// keyFile writes a private key and returns the file and the DNS record of the public key.
func keyFile(t *testing.T, kind string) (file, record string) {
	t.Helper()
	var private any
	var public []byte
	switch kind {
	case "rsa":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		private = key
		if public, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
			t.Fatal(err)
		}
	default:
		key, secret, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private, public = secret, key
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), kind+".pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)
}

// The signatures of a mail are good where it arrives, by every way, and without them the mail
// is the same as ever.
func TestSignedMailsArrive(t *testing.T) { eachWay(t, testSignedMailsArrive) }

func testSignedMailsArrive(t *testing.T, w way) {
	t.Parallel()
	one, first := keyFile(t, "rsa")
	two, second := keyFile(t, "ed25519")
	records := map[string]string{"one._domainkey.evently.example": first, "two._domainkey.evently.example": second}
	server := smtptest.New(t, w.in(smtptest.Options{}))
	cfg := config(server)
	unsigned, err := newSender(t, cfg).Compose(message())
	if err != nil {
		t.Fatal(err)
	}
	cfg.DKIM.Keys = []mail.DKIMKey{{File: one, Selector: "one"}, {File: two, Selector: "two"}}
	sender := newSender(t, cfg)
	for i := range 2 {
		m := message()
		m.Text = ".\n..\n" + m.Text + "   \n\n\n"
		if i == 1 {
			m = message()
		}
		if _, err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		got := server.WaitMails(i + 1)[i].Data
		found, err := dkim.VerifyWithOptions(bytes.NewReader(got), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
			return []string{records[name]}, nil
		}})
		if err != nil || len(found) != 2 || found[0].Err != nil || found[1].Err != nil || found[0].Domain != "evently.example" {
			t.Errorf("%v, %+v:\n%s", err, found, got)
		}
		if i == 1 && !bytes.HasSuffix(got, append([]byte("\r\n"), unsigned.Bytes...)) {
			t.Errorf("another mail than without signatures:\n%s", got)
		}
	}
	again, err := sender.Compose(message())
	if err != nil || !bytes.Equal(again.Bytes, server.Mails()[1].Data) {
		t.Errorf("%v: the copy is not identical", err)
	}
}

// A wrong key is an error of the configuration that says what to change.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	good, _ := keyFile(t, "ed25519")
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(smtptest.New(t, smtptest.Options{}))
	for want, d := range map[string]mail.DKIM{
		"key 1: " + bad + ": no PEM block": {Keys: []mail.DKIMKey{{File: bad, Selector: "s"}}},
		"key 2: stat /nowhere/key.pem":     {Keys: []mail.DKIMKey{{File: good, Selector: "s"}, {File: "/nowhere/key.pem", Selector: "s"}}},
		"key 1: selector: empty":           {Keys: []mail.DKIMKey{{File: good}}},
		"key 1: domain: not a name":        {Domain: "a b", Keys: []mail.DKIMKey{{File: good, Selector: "s"}}},
	} {
		cfg.DKIM = d
		err := cfg.Check()
		fault, ok := errors.AsType[*mail.ConfigError](err)
		if !ok || fault.Field != "DKIM" || !strings.HasPrefix(fault.Reason, want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Receivers count a signature of another domain for nothing, so there is a warning.
func TestDomainOfSignatures(t *testing.T) {
	t.Parallel()
	file, _ := keyFile(t, "ed25519")
	for domain, warned := range map[string]bool{
		"": false, "evently.example": false, "mail.evently.example": false, "Evently.Example": false,
		"other.example": true, "example": true, "notevently.example": true,
	} {
		var logs lockedBuffer
		cfg := config(smtptest.New(t, smtptest.Options{}))
		cfg.Logger = slog.New(slog.NewTextHandler(&logs, nil))
		cfg.DKIM = mail.DKIM{Domain: domain, Keys: []mail.DKIMKey{{File: file, Selector: "s"}}}
		newSender(t, cfg)
		if strings.Contains(logs.String(), "DKIM domain") != warned {
			t.Errorf("%q: %s", domain, logs.String())
		}
	}
}
