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
	hidden(t, "the report", append(outputs(c.Report()), config.Text(c.Report())))
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
		"null":             {200, `{"data": null}`, true},
		"an endless value": {200, `{"data": "` + strings.Repeat("x", 2<<20) + `"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := zero(t, test.status, test.answer)
			sources, err := config.Secrets(t.Context(), env{"ZERO_TOKEN": canary, "ZERO_URL": url}.lookup)
			if err == nil || sources != nil {
				t.Fatalf("sources %v, error %v", sources, err)
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
