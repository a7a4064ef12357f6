package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/evently/workers/internal/connurl"
)

// TLSFiles are the certificates of one connection.
type TLSFiles struct {
	CA         string // PEM; "": the system's authorities
	Cert, Key  string // PEM of a client certificate; "": none
	SkipVerify bool   // accept any certificate

	IgnoreHostname bool // accept a certificate of the authorities for any host
}

// Config reads the files. TLS 1.2 is the oldest version that is spoken.
func (t TLSFiles) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.SkipVerify}
	if t.CA != "" {
		pool, err := readCA(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		c.RootCAs = pool
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if t.IgnoreHostname && !t.SkipVerify {
		connurl.IgnoreHostname(c)
	}
	return c, nil
}

// check puts what is wrong with the files to the settings they come from.
func (t TLSFiles) check(ca, cert, key *setting) {
	if t.CA != "" {
		if _, err := readCA(t.CA); err != nil {
			ca.mistake(err.Error(), "name a PEM file with certificates that this process may read")
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
	case t.Cert == "":
		key.mistake("there is a key without a certificate", "set REDIS_TLS_CERT_FILE as well")
	case t.Key == "":
		cert.mistake("there is a certificate without a key", "set REDIS_TLS_KEY_FILE as well")
	default:
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			cert.mistake(fileFault(t.Cert, err), "name PEM files of a certificate and the key that belongs to it")
		}
	}
}

func readCA(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, errors.New(fileFault(path, err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}

// fileFault tells why a file cannot be used, in few words.
func fileFault(path string, err error) string {
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
