package connurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// IgnoreHostname makes c accept a certificate of its authorities for any host,
// as ssl_check_hostname=false asks for. All other checks stay.
func IgnoreHostname(c *tls.Config) {
	roots := c.RootCAs
	c.InsecureSkipVerify = true // crypto/tls has no way to leave out the name alone
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the server has no certificate")
		}
		between := x509.NewCertPool()
		for _, cert := range s.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
}

// RedisTLS are the parameters with which Celery's URLs describe TLS.
type RedisTLS struct {
	CA, Cert, Key  string // files; "": not named
	SkipVerify     bool   // ssl_cert_reqs=none
	IgnoreHostname bool   // ssl_check_hostname=false
}

// TakeTLS removes the parameters of TLS from the query and returns them. found
// reports whether there were any; notes are for a warning.
func (u *URL) TakeTLS() (t RedisTLS, found bool, notes []string, err error) {
	take := func(name string) string {
		value := u.Query.Get(name)
		found = found || value != ""
		u.Query.Del(name)
		return value
	}
	t.CA, t.Cert, t.Key = take("ssl_ca_certs"), take("ssl_certfile"), take("ssl_keyfile")
	switch strings.TrimPrefix(strings.ToLower(take("ssl_cert_reqs")), "cert_") {
	case "", "required":
	case "none":
		t.SkipVerify = true
	case "optional":
		notes = append(notes, "ssl_cert_reqs=optional is taken as required: a server always has a certificate")
	default:
		return t, found, notes, &Fault{"its ssl_cert_reqs is not known", "write required or none"}
	}
	switch strings.ToLower(take("ssl_check_hostname")) {
	case "", "true", "1", "yes", "on":
	case "false", "0", "no", "off":
		t.IgnoreHostname = true
	default:
		return t, found, notes, &Fault{"its ssl_check_hostname is not known", "write true or false"}
	}
	return t, found, notes, nil
}
