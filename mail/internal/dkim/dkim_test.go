package dkim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	other "github.com/emersion/go-msgauth/dkim"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var edKey = sync.OnceValue(func() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func pkcs8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pkcs1(key *rsa.PrivateKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

// record returns the DNS record of a key, RFC 6376 section 3.6.1 and RFC 8463 section 4.
func record(key crypto.Signer) string {
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

var at = time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)

const head = "Date: Tue, 24 Nov 2026 09:30:00 +0000\r\nFrom: \"Evently\" <mail@evently.example>\r\n" +
	"To: jane.roe@example.com\r\nMessage-ID: <1@evently.example>\r\n"

var mails = map[string]string{
	"plain":          head + "Subject: hello\r\n\r\nHello\r\n",
	"no body":        head + "Subject: hello\r\n\r\n",
	"blank body":     head + "Subject: hello\r\n\r\n\r\n\r\n",
	"blanks":         head + "Subject:   a  b\t c \r\nReply-To: x@evently.example\r\n\r\n  a \t b  \r\n\r\n \r\nc\t\r\n \r\n\r\n",
	"folded":         head + "Subject: one\r\n two\r\n\t three\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=UTF-8\r\n\r\n.\r\n..\r\n",
	"not ASCII":      head + "Subject: J\u00f6rg\r\n\r\nJ\u00f6rg\r\n",
	"no line end":    head + "Subject: hello\r\n\r\nHello",
	"fields between": "X-A: 1\r\n" + head + "X-B: 2\r\nSubject:\r\nContent-Transfer-Encoding: 7bit\r\n\r\nx\r\n",
}

// sign returns mail with the signatures of both kinds of keys.
func sign(t testing.TB, mail string) string {
	t.Helper()
	var fields []byte
	for selector, key := range map[string]crypto.Signer{"r": rsaKey(), "e": edKey()} {
		field, err := signature{"evently.example", selector, key}.field([]byte(mail), at)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(field) {
			if len(line) > 80 || !bytes.HasSuffix(line, []byte("\r\n")) {
				t.Errorf("line %q", line)
			}
		}
		fields = append(fields, field...)
	}
	return string(fields) + mail
}

func lookup(name string) ([]string, error) {
	switch name {
	case "r._domainkey.evently.example":
		return []string{record(rsaKey())}, nil
	case "e._domainkey.evently.example":
		return []string{record(edKey())}, nil
	}
	return nil, errors.New("no such record")
}

// verify returns the number of signatures that another implementation finds good.
func verify(t testing.TB, mail string) (good int) {
	t.Helper()
	found, err := other.VerifyWithOptions(strings.NewReader(mail), &other.VerifyOptions{LookupTXT: lookup})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		if v.Err == nil {
			good++
		}
	}
	return good
}

func TestVerifiedByGoMsgauth(t *testing.T) {
	t.Parallel()
	for name, mail := range mails {
		signed := sign(t, mail)
		if good := verify(t, signed); good != 2 {
			t.Errorf("%s: %d good signatures of 2:\n%s", name, good, signed)
		}
	}
}

// Signed fields and the body cannot be changed, and no second field can be added.
func TestChangesAreFound(t *testing.T) {
	t.Parallel()
	signed := sign(t, mails["folded"])
	for name, change := range map[string]func(string) string{
		"body":             func(m string) string { return strings.Replace(m, "\r\n..\r\n", "\r\n...\r\n", 1) },
		"appended":         func(m string) string { return m + "more\r\n" },
		"subject":          func(m string) string { return strings.Replace(m, "one", "two", 1) },
		"second From":      func(m string) string { return strings.Replace(m, "From:", "From: <evil@example.com>\r\nFrom:", 1) },
		"second Subject":   func(m string) string { return strings.Replace(m, "Subject:", "Subject: evil\r\nSubject:", 1) },
		"Reply-To":         func(m string) string { return strings.Replace(m, "From:", "Reply-To: <evil@example.com>\r\nFrom:", 1) },
		"second MIME type": func(m string) string { return strings.Replace(m, "From:", "Content-Type: text/html\r\nFrom:", 1) },
		"transfer encoding": func(m string) string {
			return strings.Replace(m, "From:", "Content-Transfer-Encoding: base64\r\nFrom:", 1)
		},
	} {
		if changed := change(signed); changed == signed || verify(t, changed) != 0 {
			t.Errorf("%s: the signature is good", name)
		}
	}
	for name, change := range map[string]func(string) string{
		"Received":    func(m string) string { return "Received: from a by b;\r\n Tue, 24 Nov 2026 09:30:01 +0000\r\n" + m },
		"Return-Path": func(m string) string { return "Return-Path: <b+1@bounces.example>\r\n" + m },
		"white space": func(m string) string { return strings.Replace(m, "two\r\n\t three", "two three  ", 1) },
		"blank lines": func(m string) string { return m + "\r\n\r\n" },
	} {
		if changed := change(signed); changed == signed || verify(t, changed) != 2 {
			t.Errorf("%s: the signature is not good any more", name)
		}
	}
	for field := range strings.SplitSeq(strings.ToLower(signed[:strings.Index(signed, "\r\nDate:")]), ":") {
		if field = strings.TrimSpace(field); field == "bcc" || field == "return-path" || field == "received" {
			t.Errorf("%s is signed", field)
		}
	}
}

// The signatures of the same mail are the same octets: a copy is known as one.
func TestSameMailSameSignature(t *testing.T) {
	t.Parallel()
	for _, key := range []crypto.Signer{rsaKey(), edKey()} {
		s := signature{"evently.example", "s", key}
		one, _ := s.field([]byte(mails["plain"]), at)
		two, err := s.field([]byte(mails["plain"]), at)
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%v:\n%s%s", err, one, two)
		}
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"PKCS #1": pkcs1(rsaKey()), "PKCS #8": pkcs8(rsaKey()), "Ed25519": pkcs8(edKey())} {
		if key, err := ParseKey(append([]byte("some comment\n"), text...)); err != nil || key == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})
	for want, text := range map[string][]byte{
		"no PEM block":        []byte("not a key"),
		"1024 bits":           pkcs1(short),
		"another kind":        pkcs8(curve),
		"PUBLIC KEY":          public,
		"several PEM blocks":  append(pkcs8(edKey()), pkcs8(edKey())...),
		"pass phrase":         pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}),
		"Proc-Type":           pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")}),
		"cannot be read":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}),
		"cannot be read, too": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("secret")}),
	} {
		words, _, _ := strings.Cut(want, ",")
		if words == "Proc-Type" {
			words = "pass phrase"
		}
		if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pkcs8(edKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ domain, selector, want string }{
		{"evently.example", "s1", ""}, {"evently.example", "a.b-c_d", ""}, {"xn--bcher-kva.example", "s", ""},
		{"", "s", "domain: empty"}, {"evently.example", "", "selector: empty"}, {"a..b", "s", "domain"}, {"evently.example", "s;x", "selector"},
		{"evently.example", "s\r\nX: y", "selector"}, {"b\u00fccher.example", "s", "domain"}, {"evently.example", "-s", "selector"},
	} {
		_, err := New(file, tt.domain, tt.selector)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%q, %q: %v", tt.domain, tt.selector, err)
		}
	}
	if _, err := New(filepath.Join(t.TempDir(), "none.pem"), "evently.example", "s"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A changed file counts for the next mail, and a broken one is reported once.
func TestKeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key.pem")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(pkcs8(edKey()))
	s, err := New(file, "evently.example", "s")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(algorithm string, faulty bool) {
		t.Helper()
		field, stale, err := s.Sign([]byte(mails["plain"]), at)
		if err != nil || !strings.Contains(string(field), "a="+algorithm+";") || (stale != nil) != faulty {
			t.Errorf("%v, stale %v:\n%s", err, stale, field)
		}
	}
	expect("ed25519-sha256", false)
	write(pkcs1(rsaKey()))
	expect("rsa-sha256", false)
	write([]byte("half a fi"))
	expect("rsa-sha256", true)
	expect("rsa-sha256", false)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	expect("rsa-sha256", true)
	expect("rsa-sha256", false)
	write(pkcs8(edKey()))
	expect("ed25519-sha256", false)
}

// dkimpy verifies what we sign: another language, another author.
func TestVerifiedByPython(t *testing.T) {
	t.Parallel()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache")
	}
	python := filepath.Join(cache, "evently-workers", "dkim", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("%v: run .ci/setup, which makes that environment", err)
	}
	const script = `
import dkim, sys
records = {b"r._domainkey.evently.example.": sys.argv[1], b"e._domainkey.evently.example.": sys.argv[2]}
mail = sys.stdin.buffer.read()
verifier = dkim.DKIM(mail)
find = lambda name, timeout=5: records.get(name, "").encode()
def good(i):
    try:
        return verifier.verify(idx=i, dnsfunc=find)
    except dkim.ValidationError:
        return False
print(good(0), good(1))
`
	run := func(mail string) string {
		cmd := exec.CommandContext(t.Context(), python, "-c", script, record(rsaKey()), record(edKey()))
		cmd.Stdin = strings.NewReader(mail)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for name, mail := range mails {
		if !strings.HasSuffix(mail, "\r\n") {
			continue // the mails of this program have their last line end
		}
		if got := run(sign(t, mail)); got != "True True" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := run(strings.Replace(sign(t, mails["plain"]), "Hello", "Hallo", 1)); got != "False False" {
		t.Errorf("a changed body: %s", got)
	}
}

func FuzzVerified(f *testing.F) {
	f.Add("hello", "Hello\r\n")
	f.Add(" a\t b ", " \t\r\n\r\n a")
	f.Fuzz(func(t *testing.T, subject, body string) {
		if strings.ContainsAny(subject, "\r\n\x00") || strings.Contains(strings.NewReplacer("\r\n", "").Replace(body), "\r") || strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\n") {
			t.Skip("such a mail is not composed")
		}
		if good := verify(t, sign(t, head+"Subject: "+subject+"\r\n\r\n"+body)); good != 2 {
			t.Errorf("%d good signatures", good)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for name, key := range map[string]crypto.Signer{"RSA-2048": rsaKey(), "Ed25519": edKey()} {
		b.Run(name, func(b *testing.B) {
			mail := []byte(head + "Subject: x\r\n\r\n" + strings.Repeat("All work and no play.\r\n", 500))
			for b.Loop() {
				if _, err := (signature{"evently.example", "s", key}).field(mail, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
