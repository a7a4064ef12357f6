package intake

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// Certificate returns the TLS configuration of a server with the certificate of a file. The
// files are read again when one of them changes; a pair that cannot be read then is not used.
func Certificate(certFile, keyFile string) (*tls.Config, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile}
	if _, err := k.get(nil); err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: k.get, MinVersion: tls.VersionTLS12}, nil
}

type keyPair struct {
	certFile, keyFile string

	mu      sync.Mutex
	pair    *tls.Certificate
	changed time.Time
}

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	changed := latestChange(k.certFile, k.keyFile)
	if k.pair != nil && changed.Equal(k.changed) {
		return k.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil && k.pair == nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	if err == nil {
		k.pair, k.changed = &pair, changed
	}
	return k.pair, nil
}

func latestChange(files ...string) (latest time.Time) {
	for _, name := range files {
		if info, err := os.Stat(name); err == nil && info.ModTime().After(latest) {
			latest = info.ModTime()
		}
	}
	return latest
}
