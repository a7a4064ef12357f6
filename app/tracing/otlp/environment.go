// Package otlp sends spans to a collector by OTLP over HTTP with protobuf, as the variables of
// OpenTelemetry say.
//
// The exporter of OpenTelemetry does the same, and links gRPC, which costs ten seconds of every
// first build. Only the transport is here: the spans are encoded by OpenTelemetry's own package.
package otlp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// settings are what the environment says about a collector.
type settings struct {
	url     url.URL
	headers http.Header
	timeout time.Duration // of one request
	gzip    bool
	tls     *tls.Config // nil: of the system
}

// defaultTimeout is that of the specification.
const defaultTimeout = 10 * time.Second

// read returns the settings of the variables OTEL_EXPORTER_OTLP_…; one whose name continues
// with TRACES_ has precedence. The error names the variable and not its value, which may be a secret.
func read(getenv func(string) string) (s settings, err error) {
	env := environment{getenv: getenv}
	s.url, err = env.endpoint()
	s.headers = http.Header{}
	s.timeout = defaultTimeout
	err = errors.Join(err,
		env.value("HEADERS", s.readHeaders),
		env.value("TIMEOUT", s.readTimeout),
		env.value("COMPRESSION", s.readCompression),
	)
	var other error
	s.tls, other = env.tls()
	return s, errors.Join(err, other)
}

// environment reads variables.
type environment struct {
	getenv func(string) string
}

// lookup returns a variable of the exporter and the name that it has.
func (e environment) lookup(name string) (value, variable string) {
	for _, variable = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + name, "OTEL_EXPORTER_OTLP_" + name} {
		if value = strings.TrimSpace(e.getenv(variable)); value != "" {
			return value, variable
		}
	}
	return "", variable
}

// value gives a variable that is set to its reader.
func (e environment) value(name string, read func(string) error) error {
	value, variable := e.lookup(name)
	if value == "" {
		return nil
	}
	if err := read(value); err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	return nil
}

// endpoint returns where traces go. The URL of the traces is used as it is; the one of all
// signals gets a path for each of them.
func (e environment) endpoint() (url.URL, error) {
	value, variable := e.lookup("ENDPOINT")
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return url.URL{}, fmt.Errorf("%s is no URL: write it as http://collector:4318", variable)
	}
	if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	}
	u.Path = cmp.Or(u.Path, "/")
	return *u, nil
}

func (s *settings) readHeaders(text string) error {
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return errors.New("write it as name=value,name=value, with %2C for a comma in a value")
		}
		s.headers.Set(name, value)
	}
	return nil
}

func (s *settings) readTimeout(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || n > int(time.Hour/time.Millisecond) {
		return errors.New("write milliseconds, such as 10000")
	}
	s.timeout = time.Duration(n) * time.Millisecond
	return nil
}

func (s *settings) readCompression(text string) error {
	if text != "gzip" && text != "none" {
		return errors.New("write gzip or none")
	}
	s.gzip = text == "gzip"
	return nil
}

// tls returns what the variables say about certificates; nil: nothing.
func (e environment) tls() (*tls.Config, error) {
	authority, authorityName := e.lookup("CERTIFICATE")
	certificate, certificateName := e.lookup("CLIENT_CERTIFICATE")
	key, keyName := e.lookup("CLIENT_KEY")
	if authority == "" && certificate == "" && key == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", authorityName, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: the file has no certificate in PEM", authorityName)
		}
	}
	if (certificate == "") != (key == "") {
		return nil, fmt.Errorf("set both %s and %s, or none of them", certificateName, keyName)
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", certificateName, keyName, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
