// Package tlsfiles makes the TLS configuration of a client from certificate files, and makes
// it again when the files were replaced.
package tlsfiles

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/evently/workers/internal/connurl"
)

// Files are the certificates of one connection.
type Files struct {
	CA         string // PEM; "": the system's authorities
	Cert, Key  string // PEM of a client certificate; "": none
	SkipVerify bool   // accept any certificate

	IgnoreHostname bool // accept a certificate of the authorities for any host
}

// String returns the names of the files.
func (f Files) String() string {
	return strings.Join(slices.DeleteFunc([]string{f.CA, f.Cert, f.Key}, func(s string) bool { return s == "" }), ", ")
}

// Config reads the files. TLS 1.2 is the oldest version that is spoken.
func (f Files) Config() (*tls.Config, error) {
	c, _, err := f.read()
	return c, err
}

// read returns the configuration and a hash of the files that it was made of.
func (f Files) read() (*tls.Config, [sha256.Size]byte, error) {
	content := sha256.New()
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.SkipVerify}
	if f.CA != "" {
		var err error
		if c.RootCAs, err = readCA(f.CA, content); err != nil {
			return nil, sum(content), fmt.Errorf("read authorities: %w", err)
		}
	}
	if f.Cert != "" {
		pair, err := readPair(f.Cert, f.Key, content)
		if err != nil {
			return nil, sum(content), fmt.Errorf("read client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if f.IgnoreHostname && !f.SkipVerify {
		connurl.IgnoreHostname(c)
	}
	return c, sum(content), nil
}

// ReadCA returns the authorities of a PEM file.
func ReadCA(path string) (*x509.CertPool, error) { return readCA(path, sha256.New()) }

func readCA(path string, content hash.Hash) (*x509.CertPool, error) {
	pem, err := readFile(path, content)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

func sum(h hash.Hash) (s [sha256.Size]byte) {
	h.Sum(s[:0])
	return s
}

func readPair(cert, key string, content hash.Hash) (tls.Certificate, error) {
	certPEM, err := readFile(cert, content)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := readFile(key, content)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return pair, fmt.Errorf("%s: %w", cert, err)
	}
	return pair, nil
}

// readFile reads a file and adds it to the hash.
func readFile(path string, content hash.Hash) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, errors.New(Fault(path, err))
	}
	fmt.Fprintf(content, "%d:", len(text)) // a hash takes all that is written
	content.Write(text)
	return text, nil
}

// Fault tells why a file cannot be used, in few words.
func Fault(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		return path + " may not be read by this process"
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Sprintf("%s cannot be read: %v", at.Path, at.Err)
	}
	return fmt.Sprintf("%s: %v", path, err)
}

// Reader returns the TLS configuration of the next connection. It reads the files each time,
// so that a new connection uses files that were replaced. Files that cannot be used, such as
// a certificate whose key is not written yet, change nothing.
type Reader struct {
	files Files
	log   *slog.Logger

	mu   sync.Mutex
	used *tls.Config
	from [sha256.Size]byte // the files of used
	bad  [sha256.Size]byte // the files that were reported last as not usable
}

// NewReader reads the files. log gets a line when they were replaced, and when what replaced
// them cannot be used.
func NewReader(f Files, log *slog.Logger) (*Reader, error) {
	c, from, err := f.read()
	if err != nil {
		return nil, err
	}
	return &Reader{files: f, log: log, used: c, from: from}, nil
}

// Config returns the configuration of the next connection. The caller must not change it.
func (r *Reader) Config() *tls.Config {
	c, from, err := r.files.read()
	r.mu.Lock()
	changed, bad := from != r.from, err != nil && from != r.bad
	switch {
	case err != nil:
		r.bad = from
	case changed:
		r.used, r.from, r.bad = c, from, [sha256.Size]byte{}
	}
	used := r.used
	r.mu.Unlock()
	switch {
	case bad:
		r.log.Warn("certificate files cannot be used, keeping the previous ones", "error", err)
	case err == nil && changed:
		r.log.Info("certificate files replaced", "files", r.files.String())
	}
	return used
}
