package flower

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// mostWait bounds how long an answer waits for the result of a task.
const mostWait = 50 * time.Second

// call is what the body of a request asks for.
type call struct {
	signature *canvas.Signature
	timeout   time.Duration // for the result; 0: mostWait
}

// options are those of apply_async that a request may give.
var options = []string{
	"countdown", "eta", "expires", "queue", "exchange", "routing_key", "priority", "task_id", "serializer", "compression",
	"time_limit", "soft_time_limit", "ignore_result", "shadow", "headers",
}

// readCall reads the body. With checked set it is that of apply and async-apply, which read
// times.
func readCall(r *http.Request, checked bool) (*call, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, refuse(http.StatusRequestEntityTooLarge, "The request is too large")
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	var given protocol.Raw
	if err := protocol.Unmarshal(body, &given); err != nil {
		return nil, refuse(http.StatusBadRequest, "The body is no JSON")
	}
	fields, err := given.Fields()
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid options")
	}
	c := &call{}
	var args []any
	var kwargs []protocol.Field
	set := map[string]protocol.Raw{}
	for _, f := range fields {
		switch f.Name {
		case "args":
			elements, err := f.Value.Elements()
			if err != nil {
				return nil, refuse(http.StatusBadRequest, "args must be an array")
			}
			for _, e := range elements {
				args = append(args, e)
			}
		case "kwargs":
			if kwargs, err = f.Value.Fields(); err != nil {
				return nil, refuse(http.StatusBadRequest, "kwargs must be an object")
			}
		case "timeout":
			if !checked {
				return nil, refuse(http.StatusBadRequest, "Invalid option")
			}
			seconds, ok := readSeconds(f.Value)
			if !ok {
				return nil, refuse(http.StatusBadRequest, "Invalid timeout")
			}
			c.timeout = seconds
		default:
			if !slices.Contains(options, f.Name) {
				return nil, refuse(http.StatusBadRequest, "Invalid option")
			}
			set[f.Name] = f.Value
		}
	}
	c.signature = canvas.New(r.PathValue("name"), args...)
	for _, f := range kwargs {
		c.signature.Kwarg(f.Name, f.Value)
	}
	for name, value := range set {
		if value, err = readOption(name, value); err != nil {
			return nil, err
		}
		c.signature.SetOption(name, value)
	}
	return c, nil
}

// dateLayout is that of eta and expires, as Flower reads it.
const dateLayout = "2006-01-02 15:04:05.999999"

// readOption reads the options that are times. Others are checked when the task is sent.
func readOption(name string, value protocol.Raw) (protocol.Raw, error) {
	invalid := refuse(http.StatusBadRequest, "Invalid option")
	text, isText := value.Text()
	switch name {
	case "eta", "expires":
		if name == "expires" {
			if seconds, ok := readSeconds(value); ok {
				return protocol.Marshal(seconds.Seconds())
			}
		}
		if !isText {
			return nil, invalid
		}
		for _, layout := range []string{dateLayout, time.RFC3339Nano} {
			if at, err := time.Parse(layout, string(text)); err == nil {
				return protocol.Marshal(protocol.FormatTime(at))
			}
		}
		return nil, invalid
	case "countdown":
		seconds, ok := readSeconds(value)
		if !ok {
			return nil, invalid
		}
		return protocol.Marshal(seconds.Seconds())
	}
	return value, nil
}

// readSeconds reads a number of seconds, also as a text.
func readSeconds(value protocol.Raw) (time.Duration, bool) {
	if text, ok := value.Text(); ok {
		value = text
	}
	var f float64
	if protocol.Unmarshal(value, &f) != nil || math.Abs(f) > 1e9 || math.IsNaN(f) {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)), true
}

// publish sends a task. known asks whether a worker knows it.
func (a *API) publish(ctx context.Context, r *http.Request, known bool) (*call, string, error) {
	if a.cfg.Client == nil {
		return nil, "", refuse(http.StatusServiceUnavailable, "This monitor has no broker")
	}
	c, err := readCall(r, known)
	if err != nil {
		return nil, "", err
	}
	if name := r.PathValue("name"); known && !a.registered(name) {
		return nil, "", refuse(http.StatusNotFound, "Unknown task '%s'", name)
	}
	result, err := a.cfg.Client.Send(ctx, c.signature)
	if fault, ok := errors.AsType[*canvas.SignatureError](err); ok {
		return nil, "", refuse(http.StatusBadRequest, "Invalid option: %s", fault.Error())
	}
	if err != nil {
		return nil, "", err
	}
	return c, result.ID, nil
}

// apply publishes a task and waits for its result.
func (a *API) apply(ctx context.Context, r *http.Request) (any, error) {
	c, id, err := a.publish(ctx, r, true)
	if err != nil {
		return nil, err
	}
	wait := mostWait
	if c.timeout > 0 {
		wait = min(c.timeout, mostWait)
	}
	result, err := a.await(ctx, id, wait)
	if err != nil {
		return nil, err
	}
	shown := map[string]any{"task-id": id, "state": stateOf(result)}
	a.showResult(shown, result)
	return shown, nil
}

func (a *API) asyncApply(ctx context.Context, r *http.Request) (any, error) {
	return a.sendOnly(ctx, r, true)
}

func (a *API) send(ctx context.Context, r *http.Request) (any, error) {
	return a.sendOnly(ctx, r, false)
}

func (a *API) sendOnly(ctx context.Context, r *http.Request, known bool) (any, error) {
	_, id, err := a.publish(ctx, r, known)
	if err != nil {
		return nil, err
	}
	shown := map[string]any{"task-id": id}
	if a.cfg.Backend != nil {
		result, err := a.result(ctx, id)
		if err != nil {
			return nil, err
		}
		shown["state"] = stateOf(result)
	}
	return shown, nil
}

// taskResult answers GET /api/task/result/<id>.
func (a *API) taskResult(r *http.Request) (any, error) {
	timeout, err := decimal(r, "timeout")
	if err != nil {
		return nil, err
	}
	if a.cfg.Backend == nil {
		return nil, refuse(http.StatusServiceUnavailable, "")
	}
	id := r.PathValue("id")
	var result *protocol.Result
	if timeout != nil && *timeout > 0 {
		result, err = a.await(r.Context(), id, time.Duration(min(*timeout, mostWait.Seconds())*float64(time.Second)))
	} else {
		result, err = a.result(r.Context(), id)
	}
	if err != nil {
		return nil, err
	}
	shown := map[string]any{"task-id": id, "state": stateOf(result)}
	a.showResult(shown, result)
	return shown, nil
}

// result returns the stored result of a task; nil: there is none.
func (a *API) result(ctx context.Context, id string) (*protocol.Result, error) {
	results, err := a.cfg.Backend.Results(ctx, []string{id})
	if err != nil || len(results) == 0 {
		return nil, err
	}
	return results[0], nil
}

// await returns the result of a task when it has ended, or the one that is there after a
// time.
func (a *API) await(ctx context.Context, id string, wait time.Duration) (*protocol.Result, error) {
	if a.cfg.Backend == nil {
		return nil, nil
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	result, err := a.cfg.Backend.Await(waiting, id)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return a.result(ctx, id)
	}
	return result, err
}

func stateOf(r *protocol.Result) string {
	if r == nil {
		return "PENDING"
	}
	return r.Status
}

// showResult adds the result of a task that has ended.
func (a *API) showResult(shown map[string]any, r *protocol.Result) {
	switch stateOf(r) {
	case "SUCCESS", "REVOKED":
	case "FAILURE":
		shown["traceback"] = nil
		if r.Traceback != nil {
			shown["traceback"] = a.cfg.Fleet.HideText(*r.Traceback)
		}
	default:
		return
	}
	if r.Exception != nil {
		shown["result"] = a.cfg.Fleet.HideText(canvas.ReprException(r.Exception))
		return
	}
	raw, err := protocol.Marshal(r.Result)
	if err != nil {
		raw = protocol.Raw("null")
	}
	shown["result"] = jsonOf(a.cfg.Redactor.Value(raw))
}
