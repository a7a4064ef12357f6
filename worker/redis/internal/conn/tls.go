package conn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// handshake speaks TLS on nc under the deadline of ctx, which is that of the dial.
func handshake(ctx context.Context, nc net.Conn, host string, cfg *tls.Config) (net.Conn, error) {
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(host)
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		if errors.Is(err, context.DeadlineExceeded) {
			err = &tlsFault{"no answer; a server without TLS on this port gives none either, and wants redis:// instead of rediss://", err}
		}
		return nil, fmt.Errorf("TLS handshake: %w", explainTLS(err))
	}
	return &secureConn{tc}, nil
}

// secureConn is a TLS connection whose failed writes tell the alert of the server. A server
// that refuses our certificate says so and closes the connection while we write to it.
type secureConn struct{ *tls.Conn }

// alertWait is the time in which an alert is read that has arrived already.
const alertWait = 100 * time.Millisecond

// Write implements [net.Conn].
func (c *secureConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || c.SetReadDeadline(time.Now().Add(alertWait)) != nil {
		return n, err
	}
	if _, alert := c.Conn.Read(make([]byte, 1)); alertCause(alert) != "" {
		err = alert
	}
	return n, err
}

// tlsFault is a fault of a TLS connection with its remedy.
type tlsFault struct {
	text string
	err  error
}

// Error implements error.
func (f *tlsFault) Error() string { return f.text }

// Unwrap returns the error of package tls.
func (f *tlsFault) Unwrap() error { return f.err }

// explainTLS adds to err what a person can do about it. Other errors are returned as they are.
func explainTLS(err error) error {
	if err == nil {
		return nil
	}
	if text := tlsCause(err); text != "" {
		return &tlsFault{text, err}
	}
	return err
}

// tlsCause returns the cause and the remedy, "" for an error that is not of TLS.
func tlsCause(err error) string {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		from, until := e.Cert.NotBefore.UTC().Format(time.RFC3339), e.Cert.NotAfter.UTC().Format(time.RFC3339)
		return fmt.Sprintf("the certificate of the server is valid from %s to %s only: renew it, or set the clock of this machine", from, until)
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the certificate of the server is for %s, not for %s: connect to a name that it has, or issue one that has this name",
			certificateNames(e.Certificate), e.Host)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := "an unknown authority"
		if e.Cert != nil && e.Cert.Issuer.String() != "" {
			issuer = fmt.Sprintf("an unknown authority (%s)", e.Cert.Issuer)
		}
		return "the certificate of the server is by " + issuer + ": name the file of that authority (ssl_ca_certs)"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server speaks no TLS on this port: connect to its port for TLS, or write redis:// instead of rediss://"
	}
	return alertCause(err)
}

// certificateNames returns the hosts that a certificate is for.
func certificateNames(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host"
	}
	return strings.Join(names, ", ")
}

// alertCause returns the cause and the remedy of an alert that the server sent, "" for any
// other error. Package tls does not export the type of alerts, so that their texts are
// compared.
func alertCause(err error) string {
	e, ok := errors.AsType[*net.OpError](err)
	if !ok || e.Op != "remote error" {
		return ""
	}
	const badCertificate, unsupported, revoked, expired, unknown, unknownCA, required = 42, 43, 44, 45, 46, 48, 116
	is := func(alert tls.AlertError) bool { return e.Err.Error() == alert.Error() }
	switch {
	case is(required):
		return "the server wants a client certificate: name its file and that of its key (ssl_certfile, ssl_keyfile)"
	case is(unknownCA):
		return "the server does not know the authority of our client certificate (ssl_certfile)"
	case is(expired):
		return "the server says that our client certificate (ssl_certfile) has expired"
	case is(revoked):
		return "the server says that our client certificate (ssl_certfile) is revoked"
	case is(badCertificate), is(unsupported), is(unknown):
		return "the server refuses our client certificate (ssl_certfile), or wants one: " + e.Err.Error()
	}
	return ""
}
