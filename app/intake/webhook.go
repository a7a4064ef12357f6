package intake

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/internal/sorting"
)

// Names of the fields of a signed request.
const (
	HeaderTimestamp = "X-Evently-Timestamp" // seconds since 1970
	HeaderSignature = "X-Evently-Signature" // see [Sign]
	HeaderRecipient = "X-Envelope-Recipient"
)

const (
	maxBody = 1 << 20 // a service sends many events together
	// longestRequest is the time in which the events of a request are stored. The answer must
	// come before the end of the WriteTimeout.
	longestRequest  = 50 * time.Second
	signatureWindow = 5 * time.Minute
	webhookPath     = "/webhooks/bounces/"

	generic = "generic"
)

// Sign returns the signature of a request: an HMAC-SHA256 in hex of the timestamp, a dot and
// the body.
func Sign(key, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Token returns the secret in the URL of a service that cannot sign its requests. It is made
// of the key and the source, so that it is of no use for another source.
func Token(key, source string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("evently webhook " + source))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// WebhookSources returns the names of the sources, in order.
func WebhookSources() []string { return sorting.Keys(adapters) }

// WebhookPath returns the path of a source, with its secret if there is one.
func WebhookPath(key, source string) (string, error) {
	if _, ok := adapters[source]; !ok {
		return "", fmt.Errorf("no source of bounces is called %q: use %s", source, strings.Join(WebhookSources(), ", "))
	}
	if source == generic {
		return webhookPath + source, nil
	}
	return webhookPath + source + "?token=" + Token(key, source), nil
}

// WebhookConfig is the configuration of a [Webhook]. Intake, Keys and Listener are required.
type WebhookConfig struct {
	Intake   *Intake
	Keys     []string // of signatures and tokens; all are accepted
	Listener net.Listener
	Logger   *slog.Logger
	Client   *http.Client // confirms subscriptions of SNS; default: one that follows no redirects
}

// Webhook is an HTTP server that takes bounces from mail services.
type Webhook struct {
	cfg   WebhookConfig
	conns *limitedListener
}

// NewWebhook returns a Webhook, which serves when Run is called.
func NewWebhook(cfg WebhookConfig) (*Webhook, error) {
	if cfg.Intake == nil || cfg.Listener == nil || len(cfg.Keys) == 0 {
		return nil, errors.New("webhooks for bounces need an intake, a key, and a port")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	conns := newLimitedListener(cfg.Listener, cfg.Logger)
	conns.probation = longestSession
	conns.ofHostMost = mostConns // all requests may come through one proxy
	conns.refusal = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 10\r\n\r\n"
	return &Webhook{cfg: cfg, conns: conns}, nil
}

// Run serves until ctx ends, and then answers the requests that are there, if that takes at most
// five seconds. The others are cut off, and their services send them again.
func (w *Webhook) Run(ctx context.Context) error {
	halted, halt := context.WithCancel(context.WithoutCancel(ctx))
	defer halt()
	var serving sync.RWMutex // for reading by each request
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+webhookPath+"{source}", func(out http.ResponseWriter, req *http.Request) {
		serving.RLock()
		defer serving.RUnlock()
		w.serve(halted, out, req)
	})
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0), // its lines may have text of the client in them
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(w.conns); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("take bounces of webhooks: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		wait, cancel := context.WithTimeout(context.WithoutCancel(gctx), drainConnections)
		defer cancel()
		if err := server.Shutdown(wait); err != nil {
			_ = server.Close() // it waits for no request
		}
		halt()
		serving.Lock()
		defer serving.Unlock()
		return nil
	})
	return g.Wait()
}

// serve takes the request of one source. Nothing more is stored after the end of halted; that the
// service goes away cuts off nothing.
func (w *Webhook) serve(halted context.Context, out http.ResponseWriter, req *http.Request) {
	out.Header().Set("Cache-Control", "no-store")
	source := req.PathValue("source")
	adapter, known := adapters[source]
	if !known {
		http.Error(out, "no such source of bounces", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(out, req.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		http.Error(out, "request is too large", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(out, "request was not read", http.StatusBadRequest)
		return
	}
	if why := w.refuse(req, source, body); why != "" {
		w.conns.logOften("webhook for bounces refused", "source", source, "reason", why, "remote", remoteHost(req))
		http.Error(out, why, http.StatusUnauthorized)
		return
	}
	w.take(halted, out, req, source, adapter, body)
}

// refuse returns why a request is not authentic, "" if it is. Each source may sign; services
// that cannot do it have a token.
func (w *Webhook) refuse(req *http.Request, source string, body []byte) string {
	if signature := req.Header.Get(HeaderSignature); signature != "" || source == generic {
		return w.refuseSignature(req.Header.Get(HeaderTimestamp), strings.TrimPrefix(signature, "sha256="), body)
	}
	token := req.URL.Query().Get("token")
	if _, password, ok := req.BasicAuth(); ok {
		token = password
	} else if bearer, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
		token = bearer
	}
	accepted := false
	for _, key := range w.cfg.Keys {
		accepted = hmac.Equal([]byte(Token(key, source)), []byte(token)) || accepted
	}
	if !accepted {
		return "the token is wrong"
	}
	return ""
}

func (w *Webhook) refuseSignature(timestamp, signature string, body []byte) string {
	accepted := false
	for _, key := range w.cfg.Keys {
		accepted = hmac.Equal([]byte(Sign(key, timestamp, body)), []byte(strings.ToLower(signature))) || accepted
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	switch age := w.cfg.Intake.cfg.Now().Sub(time.Unix(seconds, 0)).Abs(); {
	case signature == "" || timestamp == "":
		return "the request needs the headers " + HeaderTimestamp + " and " + HeaderSignature
	case !accepted:
		return "the signature is wrong"
	case err != nil || age > signatureWindow:
		return "the timestamp is more than five minutes off"
	}
	return ""
}

// take stores the events of a request. The answer is 503 if one of them cannot be stored now:
// the service sends all again, and the events that were stored are copies then.
func (w *Webhook) take(halted context.Context, out http.ResponseWriter, req *http.Request, source string, adapter adapter, body []byte) {
	ctx, cancel := context.WithTimeout(halted, longestRequest)
	defer cancel()
	if kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type")); kind == "message/rfc822" && source == generic {
		ctx, cancel := context.WithTimeout(ctx, longestStore)
		defer cancel()
		err := w.cfg.Intake.Ingest(ctx, body, req.Header.Get(HeaderRecipient), source)
		if errors.Is(err, ErrTooLarge) {
			http.Error(out, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		w.answer(out, source, err)
		return
	}
	events, err := adapter(body)
	if confirm, ok := errors.AsType[*subscription](err); ok {
		w.confirm(ctx, out, confirm)
		return
	}
	if err != nil {
		w.conns.logOften("webhook for bounces not understood", "source", source, "error", err)
		http.Error(out, err.Error(), http.StatusBadRequest)
		return
	}
	w.answer(out, source, w.report(ctx, source, events))
}

// report stores events, up to the first one that cannot be stored now.
func (w *Webhook) report(ctx context.Context, source string, events []event) error {
	for _, e := range events {
		storing, cancel := context.WithTimeout(ctx, longestStore)
		_, err := w.cfg.Intake.report(storing, e, source)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Webhook) answer(out http.ResponseWriter, source string, err error) {
	if err != nil {
		w.conns.logOften("bounce not stored, its sender must try again", "source", source, "error", err)
		out.Header().Set("Retry-After", "60")
		http.Error(out, "the bounce cannot be stored now, try again later", http.StatusServiceUnavailable)
		return
	}
	out.WriteHeader(http.StatusNoContent)
}

func remoteHost(req *http.Request) string {
	h, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return ""
	}
	return h
}
