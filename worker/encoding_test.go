package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// A worker that accepts a serializer runs what comes in it, and writes what
// follows as the options, the route, or the configuration say.
func TestSerializers(t *testing.T) {
	b := start(t, worker.Config{
		Tasks: arithmetic(), Accept: []string{"json", "yaml", "msgpack"},
		Publishing: worker.Publishing{DefaultQueue: "q", Encoding: protocol.EncodeOptions{Serializer: "yaml", Compression: "zlib"}},
	})
	for _, serializer := range []string{"json", "yaml", "msgpack"} {
		for _, compression := range []string{"", "zlib", "xz", "zstd", "brotli"} {
			options := canvas.Options{Serializer: serializer, Compression: compression}
			sig := canvas.Chain(canvas.New("add", 1, 2).Set(options), canvas.New("add", 3).Set(options), canvas.New("add", 4))
			var got int
			if err := b.get(t, sig, &got); err != nil || got != 10 {
				t.Errorf("%s, %s: got %d, %v", serializer, compression, got, err)
			}
		}
	}
}

func TestEncodingOfAPublication(t *testing.T) {
	b := workertest.NewBroker()
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{
		Encoding: protocol.EncodeOptions{Serializer: "msgpack"},
		Routes:   []worker.Route{{Task: "routed", Encoding: protocol.EncodeOptions{Serializer: "yaml"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for want, sig := range map[string]*canvas.Signature{
		"application/x-msgpack": canvas.New("t"),
		"application/x-yaml":    canvas.New("routed"),
		"application/json":      canvas.New("routed").Set(canvas.Options{Serializer: "json"}),
	} {
		if _, err := c.Send(t.Context(), sig); err != nil {
			t.Fatal(err)
		}
		raws := b.Queued("celery")
		if last := string(raws[len(raws)-1]); !strings.Contains(last, want) {
			t.Errorf("message is %s, want %s", last, want)
		}
	}
}

// Serializers that the worker does not accept are set aside, and refused by the configuration.
func TestAccept(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic()})
	c := b.client(t)
	if _, err := c.Send(t.Context(), canvas.New("add", 1, 2).Set(canvas.Options{Serializer: "yaml"})); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "it is a dead letter", func() bool { return len(b.DeadLetters()) == 1 })
	if got := b.DeadLetters()[0].Reason; got != string(protocol.ReasonContentType) {
		t.Errorf("reason is %q", got)
	}
	for _, accept := range []string{"pickle", "toml"} {
		_, err := worker.New(worker.Config{Broker: workertest.NewBroker(), Tasks: arithmetic(), Accept: []string{accept}})
		if err == nil || !strings.Contains(err.Error(), accept) {
			t.Errorf("a worker accepts %s: %v", accept, err)
		}
	}
	if _, err := c.Send(t.Context(), canvas.New("t").Set(canvas.Options{Serializer: "pickle"})); err == nil {
		t.Error("the client writes pickle")
	}
}

// A message that came compressed is retried as one that can be read again; when
// that cannot be, the task fails and its message is kept.
func TestRetryOfALargeMessage(t *testing.T) {
	text := strings.Repeat("long ", 1400)
	noise := make([]byte, 7000)
	for i := range noise {
		noise[i] = byte('0' + rand.IntN(64))
	}
	for name, c := range map[string]struct {
		// grow makes the handler retry with more than it got.
		grow []any
		want string
	}{
		"again compressed": {nil, "SUCCESS"},
		"not to be packed": {[]any{string(noise)}, "FAILURE"},
		"more than before": {[]any{strings.Repeat("longer ", 2000)}, "FAILURE"},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, worker.Config{
				Limits: protocol.Limits{Size: 8000},
				Tasks: map[string]worker.Definition{"t": {Backoff: worker.Backoff{Base: 1}, Handler: worker.HandlerFunc(
					func(_ context.Context, task *worker.Task) (any, error) {
						if task.Retries == 0 {
							return nil, &worker.RetryError{Err: fmt.Errorf("again"), Countdown: -1, Args: c.grow}
						}
						return nil, nil
					})}},
			})
			r, err := b.client(t).Send(t.Context(), canvas.New("t", text).Set(canvas.Options{Compression: "zlib"}))
			if err != nil {
				t.Fatal(err)
			}
			b.eventually(t, "the task ends as "+c.want, func() bool {
				rs, err := b.Results(t.Context(), []string{r.ID})
				return err == nil && rs[0] != nil && rs[0].Status == c.want
			})
			if n := len(b.DeadLetters()); (c.want == "FAILURE") != (n == 1) {
				t.Errorf("%d dead letters", n)
			}
		})
	}
}
