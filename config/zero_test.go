package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/config"
)

// zero is a server that answers as Zero does.
func zero(t *testing.T, status int, answer string) (url string, asked *[]byte) {
	t.Helper()
	asked = new([]byte)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/graphql", asked
}

func TestSecretsFromZero(t *testing.T) {
	t.Parallel()
	url, asked := zero(t, 200, `{"data": {"secrets": [{"name": "evently", "fields": [
		{"name": "redis-host", "value": "redis.internal"}, {"name": "smtp-password", "value": "`+canary+`"},
		{"name": "concurrency", "value": "7"}, {"name": "zero-token", "value": "other"}]}]}}`)
	e := env{"ZERO_TOKEN": "token-" + canary, "ZERO_URL": url, "CONCURRENCY": "9", "SMTP_USERNAME": "u"}
	sources, err := config.Secrets(t.Context(), e.lookup)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(*asked, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"query": "query Secrets($token: String!, $pick: [String!], $callerName: String) { secrets(zeroToken: $token, pick: $pick, callerName: $callerName) { name fields { name value } } }",
		"variables": map[string]any{
			"token": "token-" + canary, "pick": []any{"evently"}, "callerName": "evently",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("question (-want +got):\n%s", diff)
	}

	c, err := config.Load(e.lookup, sources...)
	if err != nil {
		t.Fatal(err)
	}
	if c.Redis.Address != "redis.internal:6379" || c.SMTP.Password.Reveal() != canary {
		t.Errorf("secrets did not arrive: Redis at %s, SMTP password set: %v", c.Redis.Address, c.SMTP.Password.IsSet())
	}
	if c.Worker.Concurrency != 9 {
		t.Errorf("concurrency is %d: the environment must win", c.Worker.Concurrency)
	}
	sourceOf := map[string]string{}
	for _, s := range c.Report() {
		sourceOf[s.Variable] = s.Source
	}
	for variable, want := range map[string]string{"REDIS_HOST": "zero", "SMTP_PASSWORD": "zero", "CONCURRENCY": "env", "ZERO_TOKEN": "env", "SMTP_PORT": "default"} {
		if sourceOf[variable] != want {
			t.Errorf("%s comes from %q, want %q", variable, sourceOf[variable], want)
		}
	}
	hidden(t, "the report", append(outputs(c.Report()), config.Text(c.Report(), 0)))
}

func TestNoTokenNoQuestion(t *testing.T) {
	t.Parallel()
	url, asked := zero(t, 200, `{}`)
	sources, err := config.Secrets(t.Context(), env{"ZERO_URL": url}.lookup)
	if err != nil || len(sources) != 0 || len(*asked) != 0 {
		t.Errorf("Secrets without a token: %v, %v, asked %q", sources, err, *asked)
	}
}

func TestZeroRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status  int
		answer  string
		refused bool
	}{
		"errors":           {200, `{"errors": [{"message": "no token ` + canary + `"}]}`, true},
		"errors and 400":   {400, `{"errors": [{"message": "no"}]}`, true},
		"errors and 500":   {500, `{"errors": [{"message": "internal"}]}`, false},
		"no such secret":   {200, `{"data": {"secrets": []}}`, true},
		"another secret":   {200, `{"data": {"secrets": [{"name": "other", "fields": [{"name": "redis-host", "value": "x"}]}]}}`, true},
		"a page":           {200, `<html>`, false},
		"a page and 502":   {502, `<html>`, false},
		"a redirect":       {302, ``, false},
		"null":             {200, `{"data": null}`, false},
		"no list":          {200, `{"data": {"secrets": null}}`, false},
		"a word":           {200, `"ok"`, false},
		"internal":         {200, `{"errors": [{"message": "Internal server error"}]}`, false},
		"internal code":    {200, `{"errors": [{"message": "oops", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}`, false},
		"internal, token":  {200, `{"errors": [{"message": "internal error while looking up token ` + canary + `"}]}`, false},
		"unknown message":  {200, `{"errors": [{"message": "oops"}]}`, false},
		"timeout":          {200, `{"errors": [{"message": "Query timed out"}], "data": null}`, false},
		"rate by GraphQL":  {200, `{"errors": [{"message": "Rate limit exceeded for token"}]}`, false},
		"two errors":       {200, `{"errors": [{"message": "invalid token"}, {"message": "Internal server error"}]}`, false},
		"429":              {429, `{"errors": [{"message": "invalid token"}]}`, false},
		"429 by a page":    {429, `<html>`, false},
		"503 by GraphQL":   {503, `{"errors": [{"message": "invalid token"}]}`, false},
		"408":              {408, ``, false},
		"404":              {404, `{"message": "no route"}`, false},
		"403 by a page":    {403, `<html>`, false},
		"401 by a page":    {401, `<html>`, true},
		"invalid token":    {200, `{"errors": [{"message": "Invalid token"}]}`, true},
		"code":             {200, `{"errors": [{"message": "internal: no session", "extensions": {"code": "UNAUTHENTICATED"}}]}`, true},
		"forbidden":        {403, `{"errors": [{"message": "Forbidden"}]}`, true},
		"an endless value": {200, `{"data": "` + strings.Repeat("x", 2<<20) + `"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := zero(t, test.status, test.answer)
			sources, err := config.Secrets(t.Context(), env{"ZERO_TOKEN": canary, "ZERO_URL": url}.lookup)
			if err == nil || sources != nil {
				t.Fatalf("sources %v, error %v", sources, err)
			}
			fault, later := errors.AsType[*config.ZeroError](err)
			if later && (fault.Summary == "" || later == test.refused) {
				t.Errorf("ZeroError %+v", fault)
			}
			if errors.Is(err, config.ErrZeroRefused) != test.refused {
				t.Errorf("refused for good: %v, want %v: %v", !test.refused, test.refused, err)
			}
			hidden(t, "the error", outputs(err))
		})
	}
}

func TestZeroIsAway(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := config.Secrets(t.Context(), env{"ZERO_TOKEN": canary, "ZERO_URL": s.URL}.lookup)
	if err == nil || errors.Is(err, config.ErrZeroRefused) {
		t.Errorf("error %v, want a fault of the network", err)
	}
	hidden(t, "the error", []string{fmt.Sprint(err)})
}

func TestZeroURL(t *testing.T) {
	t.Parallel()
	_, err := config.Secrets(t.Context(), env{"ZERO_TOKEN": canary, "ZERO_URL": "http://zero.example/graphql"}.lookup)
	if e, ok := errors.AsType[*config.Error](err); !ok || e.Problems[0].Variable != "ZERO_URL" {
		t.Errorf("a token over plain HTTP: %v, want a mistake of ZERO_URL", err)
	}
}

// A pause that Zero asks for is handed on.
func TestZeroAsksToWait(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "soon": 0, "-1": 0} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		_, err := config.Secrets(t.Context(), env{"ZERO_TOKEN": canary, "ZERO_URL": s.URL}.lookup)
		s.Close()
		if fault, ok := errors.AsType[*config.ZeroError](err); !ok || fault.Wait != want || fault.Summary != "HTTP status 429" {
			t.Errorf("Retry-After %q: %v, want a pause of %v", header, err, want)
		}
	}
}

// The other path of the same host is asked where there is nothing, and a warning tells.
func TestZeroAtTheOtherPath(t *testing.T) {
	t.Parallel()
	for there, other := range map[string]string{"/graphql": "/v1/graphql", "/v1/graphql": "/graphql"} {
		asked := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			if r.URL.Path != there {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, `{"data": {"secrets": [{"name": "evently", "fields": [{"name": "smtp-username", "value": "u"}]}]}}`)
		}))
		e := env{"ZERO_TOKEN": canary, "ZERO_URL": s.URL + other}
		sources, err := config.Secrets(t.Context(), e.lookup)
		if err != nil {
			t.Errorf("%s: %v", there, err)
			continue
		}
		c, err := config.Load(e.lookup, sources...)
		if err != nil || c.SMTP.Username != "u" || asked != 2 {
			t.Errorf("%s: user %q, %d questions, %v", there, c.SMTP.Username, asked, err)
		}
		if text := fmt.Sprint(c.Warnings); !strings.Contains(text, "ZERO_URL: nothing is there (HTTP status 404), but at the path "+there) {
			t.Errorf("%s: warnings %s", there, text)
		}
		e["ZERO_URL"] = s.URL + "/secrets"
		if _, err := config.Secrets(t.Context(), e.lookup); err == nil || asked != 3 {
			t.Errorf("another path: %v, %d questions", err, asked)
		}
		s.Close()
	}
}
