package flower

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/evently/workers/monitor/web"
)

// refusal is an answer that says why there is no other one.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// syntaxError is the fault of a search, which Flower answers with JSON.
type syntaxError struct{ text string }

func (e *syntaxError) Error() string { return e.text }

// handler answers with what fn returns, as JSON.
func handler(fn func(r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := fn(r)
		answer(w, v, err)
	})
}

func answer(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if wrong, ok := errors.AsType[*syntaxError](err); ok {
		v, status, err = map[string]string{"error": wrong.text}, http.StatusBadRequest, nil
	}
	var body []byte
	if err == nil {
		body, err = json.Marshal(v)
	}
	if err != nil {
		refused, ok := errors.AsType[*refusal](err)
		if !ok {
			refused = &refusal{http.StatusServiceUnavailable, "The broker does not answer"} // the error may hold addresses
		}
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.WriteHeader(refused.status)
		_, _ = io.WriteString(w, refused.text)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// text answers with a text.
func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = io.WriteString(w, s)
	})
}

// maxBody bounds a request. A task that is sent may be large.
const maxBody = 4 << 20

// command answers a request that changes something. The audit trail has what was asked for
// and whether it was done, and no arguments.
func (a *API) command(role web.Role, name string, fn func(ctx context.Context, r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor := web.ActorOf(r.Context())
		switch {
		case a.cfg.ReadOnly:
			answer(w, nil, refuse(http.StatusForbidden, "Read only mode is enabled"))
			return
		case actor.Role < role:
			answer(w, nil, refuse(http.StatusForbidden, "This needs the role %s", role))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		subject := r.PathValue("id") + r.PathValue("name") + r.PathValue("node")
		var v any
		_, err := a.cfg.Audit(r.Context(), web.AuditEntry{Actor: actor, From: actor.From, Action: name, Subjects: []string{subject}}, func(ctx context.Context) (done web.Done, err error) {
			v, err = fn(ctx, r)
			done.Details = map[string]string{"interface": "flower"}
			return done, err
		})
		answer(w, v, err)
	})
}

// argument returns the last value of a parameter of the query or the form, without space
// around it.
func argument(r *http.Request, name string) string {
	if r.Form == nil {
		_ = r.ParseForm() // what could be read counts
	}
	values := r.Form[name]
	if len(values) == 0 {
		return ""
	}
	return strings.TrimSpace(values[len(values)-1])
}

func required(r *http.Request, name string) (string, error) {
	v := argument(r, name)
	if v == "" {
		return "", refuse(http.StatusBadRequest, "Missing argument %s", name)
	}
	return v, nil
}

// given reports whether a parameter is there, also with an empty value.
func given(r *http.Request, name string) bool {
	argument(r, name)
	return len(r.Form[name]) > 0
}

// integer reads a whole number; otherwise is that of an absent one.
func integer(r *http.Request, name string, otherwise int) (int, error) {
	if !given(r, name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(strings.ReplaceAll(argument(r, name), "_", ""))
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "Invalid argument '%s' of type 'int'", argument(r, name))
	}
	return n, nil
}

// decimal reads a number; nil is an absent one.
func decimal(r *http.Request, name string) (*float64, error) {
	if !given(r, name) {
		return nil, nil
	}
	f, err := strconv.ParseFloat(argument(r, name), 64)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid argument '%s' of type 'float'", argument(r, name))
	}
	return &f, nil
}

// truth reads a word for true or false.
func truth(r *http.Request, name string) (bool, error) {
	if !given(r, name) {
		return false, nil
	}
	switch strings.ToLower(argument(r, name)) {
	case "y", "yes", "t", "true", "on", "1":
		return true, nil
	case "n", "no", "f", "false", "off", "0":
		return false, nil
	}
	return false, refuse(http.StatusBadRequest, "Invalid argument '%s' of type 'bool'", argument(r, name))
}
