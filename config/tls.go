package config

import (
	"crypto/tls"

	"github.com/evently/workers/internal/tlsfiles"
)

// TLSFiles are the certificates of one connection.
type TLSFiles tlsfiles.Files

// Config reads the files. TLS 1.2 is the oldest version that is spoken.
func (t TLSFiles) Config() (*tls.Config, error) { return tlsfiles.Files(t).Config() }

// check puts what is wrong with the files to the settings they come from.
func (t TLSFiles) check(ca, cert, key *setting) {
	if t.CA != "" {
		if _, err := tlsfiles.ReadCA(t.CA); err != nil {
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
			cert.mistake(tlsfiles.Fault(t.Cert, err), "name PEM files of a certificate and the key that belongs to it")
		}
	}
}
