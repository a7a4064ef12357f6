package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SourceZero is the name of secrets from Zero in the report.
const SourceZero = "zero"

// ErrZeroRefused: Zero answered that it gives no secrets for this token. Asking
// again is of no use.
var ErrZeroRefused = errors.New("the token is refused by Zero")

// ZeroError says that Zero gave no secrets for a reason other than the token.
// Asking again may help.
type ZeroError struct {
	Summary string        // for everybody, such as "HTTP status 429"
	Wait    time.Duration // that Zero asked for before the next question; 0: none
	Err     error         // the cause, if there is one; nil: Summary says it all

	Unreached bool // nothing has answered, so that a question costs Zero nothing

	missing bool // there is nothing at the address
}

// Error returns the cause, without the address and the token.
func (e *ZeroError) Error() string {
	if e.Err != nil {
		return e.Summary + ": " + e.Err.Error()
	}
	return e.Summary
}

// Unwrap returns the cause.
func (e *ZeroError) Unwrap() error { return e.Err }

// The names under which the platform keeps its secrets, and how long one
// question may take.
const (
	zeroPick    = "evently"
	zeroCaller  = "evently"
	zeroTimeout = 10 * time.Second
	zeroMaxSize = 1 << 20
)

const zeroQuery = `query Secrets($token: String!, $pick: [String!], $callerName: String) { ` +
	`secrets(zeroToken: $token, pick: $pick, callerName: $callerName) { name fields { name value } } }`

// Secrets fetches the variables that Zero (tryzero.com) keeps, when the
// environment has a ZERO_TOKEN, and returns them as a [Source] for [Load];
// otherwise it returns none. lookup takes the place of the environment, as with
// Load.
//
// The error is an [*Error] for a mistake in the environment, [ErrZeroRefused],
// or a [*ZeroError], after which asking again may help. It never holds the token
// or a secret.
func Secrets(ctx context.Context, lookup Lookup) ([]Source, error) {
	var v variables
	if err := v.read(lookup, nil); err != nil {
		return nil, err
	}
	if !v.ZeroToken.given() {
		return nil, nil
	}
	// The other variables may still come from Zero; Load looks at all of them.
	var problems []Problem
	for _, s := range []*setting{&v.ZeroToken.setting, &v.ZeroURL.setting} {
		if s.wrong != "" {
			problems = append(problems, Problem{Variable: s.blame(), Wrong: s.wrong, Right: s.right})
		}
	}
	if len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
	source, err := FetchZero(ctx, v.ZeroURL.value.Reveal(), v.ZeroToken.value)
	if err != nil {
		return nil, fmt.Errorf("ZERO_TOKEN is set, but there are no secrets: %w", err)
	}
	return []Source{source}, nil
}

// FetchZero asks Zero at an address once. Errors are those of [Secrets].
//
// The platform's contract has the path /graphql, and the kits of Zero have /v1/graphql. If there
// is nothing at one of them, the other one of the same host is asked, and a warning tells.
func FetchZero(ctx context.Context, address string, token Secret) (Source, error) {
	fields, err := fetchZero(ctx, address, token)
	note := ""
	if fault, ok := errors.AsType[*ZeroError](err); ok && fault.missing {
		if other, path := otherZero(address); other != "" {
			if found, otherErr := fetchZero(ctx, other, token); otherErr == nil {
				fields, err = found, nil
				note = "nothing is there (HTTP status 404), but at the path " + path + " of the same host; write that path"
			}
		}
	}
	if err != nil {
		return Source{}, err
	}
	return Source{Name: SourceZero, note: note, Lookup: func(name string) (string, bool) {
		if strings.HasPrefix(name, "ZERO_") {
			return "", false // where to ask is not for the answer to say
		}
		value, ok := fields[strings.ToLower(strings.ReplaceAll(name, "_", "-"))]
		return value, ok
	}}, nil
}

// otherZero returns the address with the other path, and that path.
func otherZero(address string) (other, path string) {
	u, err := url.Parse(address)
	if err != nil {
		return "", ""
	}
	switch u.Path {
	case "/graphql":
		path = "/v1/graphql"
	case "/v1/graphql":
		path = "/graphql"
	default:
		return "", ""
	}
	u.Path = path
	return u.String(), path
}

// fetchZero returns the fields of the secret of the platform by their names.
func fetchZero(ctx context.Context, address string, token Secret) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, zeroTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"query":     zeroQuery,
		"variables": map[string]any{"token": token.Reveal(), "pick": []string{zeroPick}, "callerName": zeroCaller},
	})
	if err != nil {
		return nil, fmt.Errorf("make the question: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("make the question: ZERO_URL is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	client := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		// The token goes to the host that was asked for and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the address, which the environment tells
		}
		return nil, &ZeroError{Summary: "no answer", Err: err, Unreached: true}
	}
	defer resp.Body.Close()
	return readZero(resp)
}

// zeroAnswer is what Zero answers.
type zeroAnswer struct {
	Data struct {
		Secrets []struct {
			Name   string
			Fields []struct{ Name, Value string }
		}
	}
	Errors []zeroFault
}

// zeroFault is an error of GraphQL.
type zeroFault struct {
	Message    string
	Extensions struct{ Code string }
}

// readZero reads an answer. GraphQL servers tell of errors with the status 200
// or with another one, and proxies in between with pages of their own.
func readZero(resp *http.Response) (map[string]string, error) {
	status := fmt.Sprintf("HTTP status %d", resp.StatusCode)
	if resp.StatusCode >= http.StatusInternalServerError || slices.Contains(zeroLater, resp.StatusCode) {
		return nil, &ZeroError{Summary: status, Wait: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	}
	var answer zeroAnswer
	err := json.NewDecoder(io.LimitReader(resp.Body, zeroMaxSize)).Decode(&answer)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return nil, &ZeroError{Summary: status, missing: true}
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, ErrZeroRefused
	case err != nil:
		return nil, &ZeroError{Summary: status + ", and an answer that is not understood"}
	case len(answer.Errors) > 0 && slices.ContainsFunc(answer.Errors, func(f zeroFault) bool { return !f.refuses(resp.StatusCode) }):
		return nil, &ZeroError{Summary: status + ", and an error that does not concern the token"}
	case len(answer.Errors) > 0:
		// Without the message: it may repeat the token.
		return nil, ErrZeroRefused
	case resp.StatusCode != http.StatusOK:
		return nil, &ZeroError{Summary: status}
	case answer.Data.Secrets == nil:
		return nil, &ZeroError{Summary: status + ", and an answer without secrets"}
	}
	return answer.fields()
}

// fields returns the secrets of the platform by their names.
func (a zeroAnswer) fields() (map[string]string, error) {
	fields := map[string]string{}
	for _, secret := range a.Data.Secrets {
		if secret.Name != zeroPick {
			continue
		}
		for _, f := range secret.Fields {
			fields[f.Name] = f.Value
		}
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%w: it gives access to no secret named %q", ErrZeroRefused, zeroPick)
	}
	return fields, nil
}

// zeroLater are the client errors of HTTP that pass.
var zeroLater = []int{http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests}

// The words of codes and messages. Those of a fault of the server come first: it
// may name the token that it could not look up.
var (
	zeroServerWords = []string{
		"internal", "unexpected", "something went wrong", "timeout", "timed out", "unavailable", "rate limit", "rate_limit", "ratelimit",
		"limit exceeded", "limit_exceeded", "too many", "too_many", "throttl", "try again", "later", "temporar", "overload", "upstream", "database",
		"connect", "network", "maintenance", "server error", "server_error", "busy", "capacity", "quota",
	}
	zeroTokenWords = []string{
		"token", "unauthori", "unauthenticated", "authenticat", "forbidden", "permission", "denied", "access", "expired", "revoked",
		"credential", "not found", "not_found", "no such", "invalid",
	}
)

// refuses reports whether a fault is about the token. A message that says neither
// goes by the status: with 200 the server may have failed.
func (f zeroFault) refuses(status int) bool {
	for _, text := range []string{f.Extensions.Code, f.Message} {
		has := func(word string) bool { return strings.Contains(strings.ToLower(text), word) }
		switch {
		case slices.ContainsFunc(zeroServerWords, has):
			return false
		case slices.ContainsFunc(zeroTokenWords, has):
			return true
		}
	}
	return status >= http.StatusBadRequest
}

// retryAfter reads the header of that name: seconds, or a time.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// AsksZero reports whether [Secrets] asks Zero.
func AsksZero(lookup Lookup) bool {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	token, _ := lookup("ZERO_TOKEN")
	file, _ := lookup("ZERO_TOKEN" + fileSuffix)
	return !blank(token) || !blank(file)
}
