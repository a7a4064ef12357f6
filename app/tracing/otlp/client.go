package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Retries after an answer that asks for them, and after a timeout: those of OpenTelemetry's
// exporter. The SDK ends an export after OTEL_BSP_EXPORT_TIMEOUT, by default 30 s.
const (
	firstWait   = 5 * time.Second
	longestWait = 30 * time.Second
	retryFor    = time.Minute
)

// longestAnswer is how much of an answer is read.
const longestAnswer = 64 << 10

// New returns an exporter for the collector that the environment names. It connects to nothing.
// The error names the variables that are wrong.
func New(ctx context.Context, getenv func(string) string) (*otlptrace.Exporter, error) {
	s, err := read(getenv)
	if err != nil {
		return nil, err
	}
	return otlptrace.New(ctx, newClient(s))
}

// client sends batches. It implements [otlptrace.Client].
type client struct {
	settings
	http      *http.Client
	firstWait time.Duration

	life context.Context // until Stop
	stop context.CancelFunc
}

func newClient(s settings) *client {
	c := &client{settings: s, firstWait: firstWait}
	c.life, c.stop = context.WithCancel(context.Background())
	c.http = &http.Client{
		Timeout: s.timeout,
		// Headers with keys must not follow to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: s.timeout}).DialContext,
			TLSClientConfig:     s.tls,
			TLSHandshakeTimeout: s.timeout,
			IdleConnTimeout:     90 * time.Second,
			ForceAttemptHTTP2:   true,
		},
	}
	return c
}

// Start implements [otlptrace.Client].
func (c *client) Start(ctx context.Context) error { return ctx.Err() }

// Stop implements [otlptrace.Client]. It ends the uploads that run.
func (c *client) Stop(ctx context.Context) error {
	c.stop()
	c.http.CloseIdleConnections()
	return ctx.Err()
}

// UploadTraces implements [otlptrace.Client].
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// The request of the service has the fields of TracesData, without the need for gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.gzip {
		if body, err = compressed(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	return c.retry(ctx, func() error { return c.post(ctx, body) })
}

func compressed(body []byte) ([]byte, error) {
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	_, err := z.Write(body)
	err = errors.Join(err, z.Close())
	return small.Bytes(), err
}

// temporary is a failure after which the same batch is sent again.
type temporary struct {
	err   error
	after time.Duration // that the collector asked for
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// retry runs an upload until it succeeds, fails for good, or time is up.
func (c *client) retry(ctx context.Context, upload func() error) error {
	began, wait := time.Now(), c.firstWait
	for {
		err := upload()
		again, ok := errors.AsType[*temporary](err)
		if !ok {
			return err
		}
		pause := max(again.after, wait/2+rand.N(wait))
		if time.Since(began)+pause > retryFor {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait = min(wait*3/2, longestWait)
	}
}

// post sends a batch once.
func (c *client) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = c.headers.Clone()
	request.Header.Set("User-Agent", "OTel OTLP Exporter Go/"+otlptrace.Version())
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	reply, err := c.http.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok && failed.Timeout() && ctx.Err() == nil {
		return &temporary{err: err}
	}
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(reply.Body, longestAnswer))
	switch code := reply.StatusCode; {
	case code/100 == 2:
		return partial(answer) // the batch was taken, even if its answer broke off
	case code == http.StatusTooManyRequests, code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return &temporary{c.refusal(reply, answer), after(reply.Header.Get("Retry-After"))}
	default:
		return errors.Join(c.refusal(reply, answer), err)
	}
}

// refusal returns the error for an answer that is not a success, with the words of the collector.
func (c *client) refusal(reply *http.Response, answer []byte) error {
	words := strings.TrimSpace(string(answer))
	if reply.Header.Get("Content-Type") == "application/x-protobuf" {
		_, texts := fields(answer)
		words = string(texts[2]) // message of google.rpc.Status
	}
	if len(words) > 300 {
		words = words[:300]
	}
	return fmt.Errorf("%s answered %s: %q", c.url.Redacted(), reply.Status, words)
}

// after returns how long the collector asks to wait: seconds, or a date.
func after(text string) time.Duration {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return time.Duration(min(n, 3600)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// Rejected is the error for a batch of which the collector took only a part.
type Rejected struct {
	Spans int64 // that it did not take
	Words string
}

func (r *Rejected) Error() string {
	return fmt.Sprintf("the collector rejected %d spans: %q", r.Spans, r.Words)
}

// partial reads the answer to a batch: field 1 of it is the partial success, which has the
// number of rejected spans and a message.
func partial(answer []byte) error {
	_, parts := fields(answer)
	numbers, texts := fields(parts[1])
	if n := numbers[1]; n > 0 {
		return &Rejected{Spans: n, Words: string(texts[2])}
	}
	return nil
}

// fields returns the numbers and the texts of a message, up to where it is no message any more.
func fields(message []byte) (numbers map[protowire.Number]int64, texts map[protowire.Number][]byte) {
	numbers, texts = map[protowire.Number]int64{}, map[protowire.Number][]byte{}
	for len(message) > 0 {
		name, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			break
		}
		value := message[n:]
		if n = protowire.ConsumeFieldValue(name, kind, value); n < 0 {
			break
		}
		message = value[n:]
		switch kind {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			numbers[name] = int64(v)
		case protowire.BytesType:
			texts[name], _ = protowire.ConsumeBytes(value)
		}
	}
	return numbers, texts
}
