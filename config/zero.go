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
	"strings"
	"time"
)

// SourceZero is the name of secrets from Zero in the report.
const SourceZero = "zero"

// ErrZeroRefused: Zero answered that it gives no secrets for this token. Asking
// again is of no use.
var ErrZeroRefused = errors.New("the token is refused by Zero")

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
// or a fault of the network, after which asking again may help. It never holds
// the token or a secret.
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
			problems = append(problems, Problem{Variable: s.name, Wrong: s.wrong, Right: s.right})
		}
	}
	if len(problems) > 0 {
		return nil, &Error{Problems: problems}
	}
	fields, err := fetchZero(ctx, v.ZeroURL.value.Reveal(), v.ZeroToken.value)
	if err != nil {
		return nil, fmt.Errorf("ZERO_TOKEN is set, but there are no secrets: %w", err)
	}
	return []Source{{Name: SourceZero, Lookup: func(name string) (string, bool) {
		if strings.HasPrefix(name, "ZERO_") {
			return "", false // where to ask is not for the answer to say
		}
		value, ok := fields[strings.ToLower(strings.ReplaceAll(name, "_", "-"))]
		return value, ok
	}}}, nil
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
		return nil, err
	}
	defer resp.Body.Close()
	return readZero(resp)
}

// readZero reads an answer. GraphQL servers tell of errors with the status 200
// or with another one, and proxies in between with pages of their own.
func readZero(resp *http.Response) (map[string]string, error) {
	var answer struct {
		Data struct {
			Secrets []struct {
				Name   string
				Fields []struct{ Name, Value string }
			}
		}
		Errors []struct{ Message string }
	}
	err := json.NewDecoder(io.LimitReader(resp.Body, zeroMaxSize)).Decode(&answer)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer, HTTP status %d, is not understood", resp.StatusCode)
	case len(answer.Errors) > 0 && resp.StatusCode < http.StatusInternalServerError:
		// Not the message: whoever wrote it may have repeated the token.
		return nil, ErrZeroRefused
	case resp.StatusCode != http.StatusOK || len(answer.Errors) > 0:
		return nil, fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	fields := map[string]string{}
	for _, secret := range answer.Data.Secrets {
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
