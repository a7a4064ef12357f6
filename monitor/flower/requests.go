package flower

import (
	"encoding/json"

	"github.com/evently/workers/worker/protocol"
)

// requests hides the secrets of a list of requests, or of scheduled entries with one each.
func (in *inspector) requests(value protocol.Raw) []byte {
	elements, err := value.Elements()
	if err != nil {
		return in.redact.Value(value)
	}
	list := make([]json.RawMessage, 0, len(elements))
	for _, e := range elements {
		list = append(list, in.request(e, 0))
	}
	return encode(list)
}

// request hides the secrets of one request.
func (in *inspector) request(value protocol.Raw, depth int) json.RawMessage {
	fields, err := value.Fields()
	if err != nil || depth > 1 {
		return json.RawMessage(in.redact.Value(value))
	}
	task := ""
	for _, f := range fields {
		if text, ok := f.Value.Text(); ok && f.Name == "name" {
			task = string(text)
		}
	}
	shown := map[string]json.RawMessage{}
	for _, f := range fields {
		switch f.Name {
		case "request":
			shown[f.Name] = in.request(f.Value, depth+1)
		case "args", "kwargs":
			shown[f.Name] = in.arguments(task, f)
		default:
			shown[f.Name] = json.RawMessage(f.Value)
		}
	}
	return encode(shown)
}

// arguments hides the secrets of arguments, which are values or a repr.
func (in *inspector) arguments(task string, f protocol.Field) json.RawMessage {
	if text, ok := f.Value.Text(); ok {
		args, kwargs := in.cfg.Fleet.Hide(task, text, text)
		if f.Name == "args" {
			return encode(args)
		}
		return encode(kwargs)
	}
	if f.Name == "kwargs" {
		return json.RawMessage(in.redact.Value(f.Value))
	}
	var names []string
	if in.params != nil {
		names = in.params(task)
	}
	if names == nil {
		return json.RawMessage(in.redact.Unnamed().Args(f.Value, nil))
	}
	return json.RawMessage(in.redact.Args(f.Value, names))
}

// withoutAlternates leaves out the other addresses of the broker, which may have passwords.
func withoutAlternates(stats protocol.Raw) []byte {
	fields, err := stats.Fields()
	if err != nil {
		return stats
	}
	shown := map[string]json.RawMessage{}
	for _, f := range fields {
		shown[f.Name] = json.RawMessage(f.Value)
		switch f.Name {
		case "consumer":
			shown[f.Name] = withoutAlternates(f.Value)
		case "broker":
			var broker map[string]json.RawMessage
			if json.Unmarshal(f.Value, &broker) == nil {
				delete(broker, "alternates")
				shown[f.Name] = encode(broker)
			}
		}
	}
	return encode(shown)
}

// encode writes a value that was read from JSON, or a text, as JSON.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}

// jsonOf returns a value of Python's JSON for encoding/json: one with NaN in it becomes a
// text.
func jsonOf(raw protocol.Raw) any {
	if json.Valid(raw) {
		return json.RawMessage(raw)
	}
	return string(raw)
}
