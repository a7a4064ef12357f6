package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

// secure runs the TLS handshake over the raw connection.
func (h *handshake) secure(ctx context.Context) (net.Conn, *SendError) {
	limit := h.cfg.Timeouts.TLS
	if err := h.raw.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, h.fail("TLS", err)
	}
	conn := tls.Client(h.raw, h.sender.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, h.fail("TLS", late(h.cfg.tlsFault(err), limit))
	}
	state := conn.ConnectionState()
	h.tls = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	return conn, nil
}

// Faults of port and mode, which last until the configuration is changed.
var (
	errWebServer = setupError{"web server at this port", "it speaks HTTP; set the host and the port of the mail server"}
	errNoTLS     = setupError{"no TLS at this port", "it speaks SMTP without TLS; use STARTTLS, or the port of implicit TLS (465)"}
	errTLSAtOnce = setupError{"implicit TLS at this port", "it waits for a TLS handshake; use implicit TLS, or the port of STARTTLS (587)"}
	errNotTLS    = setupError{"no TLS at this port", "its answer to the handshake is not TLS; check host and port"}
	errNotSMTP   = setupError{"no SMTP at this port", "another service answers; check host and port"}
	errOldTLS    = setupError{"no TLS 1.2 or newer", "the server offers only older versions and must be updated"}
)

// tlsFault returns the fault of the server or the configuration if the TLS handshake failed for
// a permanent reason. It returns other errors as they are.
func (c *Config) tlsFault(err error) error {
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		// The original error would keep a reference to the connection.
		switch begin := header.RecordHeader[:]; {
		case isWebServer(begin):
			return errWebServer
		case c.Security != ImplicitTLS: // the server spoke SMTP before
			return errors.New(header.Msg)
		case isReply(begin):
			return errNoTLS
		}
		return errNotTLS
	}
	text := err.Error()
	alert, isAlert := errors.AsType[*net.OpError](err)
	isAlert = isAlert && alert.Op == "remote error"
	switch {
	case strings.Contains(text, "unsupported protocol version"), isAlert && strings.Contains(text, "protocol version not supported"):
		return errOldTLS
	case isAlert && !isPassing(text):
		return setupError{"TLS refused by the server", oneLine(text)}
	}
	return err
}

// isPassing reports whether an alert is temporary. crypto/tls has no type for alerts, so its
// text is compared.
func isPassing(alert string) bool {
	for _, words := range []string{"internal error", "user canceled", "close notify", "bad record MAC", "unexpected message", "decode error", "decryption failed"} {
		if strings.Contains(alert, words) {
			return true
		}
	}
	return false
}

// isReply reports whether begin looks like the beginning of an SMTP reply.
func isReply(begin []byte) bool {
	if len(begin) < 4 || begin[3] != ' ' && begin[3] != '-' {
		return false
	}
	for _, c := range begin[:3] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func isWebServer(begin []byte) bool {
	for _, prefix := range []string{"HTTP/", "<html", "<HTML", "<!DOC", "<!doc"} {
		if strings.HasPrefix(string(begin), prefix) {
			return true
		}
	}
	return false
}
