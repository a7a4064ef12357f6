package config_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/config"
)

const canary = "cAnArY-9f3"

// outputs are all the ways in which a value may be printed by accident.
func outputs(v any) []string {
	var all []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%f", "%T", "%p", "%10.3s", "%c", "%U", "%e", "%b", "%o", "%O", "%w", "%z"} {
		all = append(all, fmt.Sprintf(verb, v))
	}
	all = append(all, fmt.Sprint(v), fmt.Sprintln(v))
	if b, err := json.Marshal(v); err == nil {
		all = append(all, string(b))
	}
	var b bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		log := slog.New(h)
		log.Info("x", "value", v)
		log.With("value", v).WithGroup("g").Info("x", slog.Group("h", "value", v))
	}
	return append(all, b.String())
}

func hidden(t *testing.T, what string, texts []string) {
	t.Helper()
	hex := fmt.Sprintf("%x", canary)
	for _, text := range texts {
		if strings.Contains(text, canary) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%s shows the secret: %s", what, text)
		}
	}
}

// holder has a Secret where fmt may not call methods.
type holder struct {
	secret  config.Secret
	list    []config.Secret
	table   map[string]config.Secret
	pointer *config.Secret
	Public  config.Secret
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := config.NewSecret(canary)
	hidden(t, "a Secret", outputs(s))
	hidden(t, "a pointer", outputs(&s))
	hidden(t, "a struct", outputs(holder{s, []config.Secret{s}, map[string]config.Secret{"a": s}, &s, s}))
	hidden(t, "a list", outputs([]any{s, &s}))
	hidden(t, "an error", []string{fmt.Errorf("login with %v: %w", s, fmt.Errorf("%s", s)).Error()})
	if s.Reveal() != canary || !s.IsSet() || s.String() != "***" {
		t.Errorf("Reveal %q, IsSet %t, String %q", s.Reveal(), s.IsSet(), s)
	}
	if b, err := json.Marshal(s); err != nil || string(b) != `"***"` {
		t.Errorf("JSON %s, %v", b, err)
	}
	if got := fmt.Sprintf("%#v %q", s, s); got != `config.Secret("***") "***"` {
		t.Errorf("got %s", got)
	}
	if n := config.NewSecret(""); n.IsSet() || n.String() != "" || n.Reveal() != "" || !n.Equal(config.Secret{}) {
		t.Errorf("an empty text is a secret: %v", n)
	}
}

// Every variable that can hold a secret, in every place it can stand.
func TestNoOutputHoldsASecret(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]env{
		"passwords":         {"REDIS_PASSWORD": canary, "SMTP_PASSWORD": canary, "DB_PASSWORD": canary, "SMTP_USERNAME": "u"},
		"redis URL":         {"REDIS_URL": "rediss://u:" + canary + "@h/0"},
		"redis user":        {"REDIS_URL": "redis://" + canary + "@h/0"},
		"redis socket":      {"REDIS_URL": "redis+socket://:" + canary + "@/run/r.sock"},
		"redis query":       {"REDIS_URL": "redis://h?password=" + canary},
		"database URL":      {"DATABASE_URL": "postgres://u:" + canary + "@h/n"},
		"database query":    {"DATABASE_URL": "postgres://h/n?password=" + canary + "&sslpassword=" + canary},
		"wrong scheme":      {"REDIS_URL": "http://u:" + canary + "@h"},
		"no scheme":         {"REDIS_URL": canary},
		"relays":            {"SMTP_URLS": "smtp://u:" + canary + "@h smtps://v:" + canary + "@i:465?max_conns=2"},
		"relays, wrong":     {"SMTP_URLS": "smtp://u:" + canary + "@h/" + " smtps://v:x " + canary + "@i http://u:" + canary + "@h " + canary},
		"relays, space":     {"SMTP_URLS": "smtp://u:12 " + canary + "@h"},
		"relays, parameter": {"SMTP_URLS": "smtp://h?max_conns=" + canary + "&password=" + canary},
		"relays, twice":     {"SMTP_URLS": "smtp://u:" + canary + "@h smtp://u:" + canary + "@H"},
		"dead letters":      {"DEAD_LETTER_KEY": canary + "0123456789," + canary},
		"bounces":           {"BOUNCE_DOMAIN": "b.example", "BOUNCE_KEY": canary + "0123456789," + canary},
		"webhooks":          {"WEBHOOK_ADDR": canary + ":1", "BOUNCE_LISTEN": "lmtp://u:" + canary + "@h:1", "WEBHOOK_KEY": canary + "0123456789," + canary},
		"relays in clear":   {"SMTP_URLS": "smtp+plain://u:" + canary + "@h"},
		"broken URL":        {"REDIS_URL": "redis://u:" + canary + "%zz@h", "DATABASE_URL": "postgres://u:" + canary + "\x7f@h"},
		"slash in password": {"REDIS_URL": "redis://:abc/" + canary + "@h", "DATABASE_URL": "postgres://u:1/" + canary + "@h/n"},
		"port":              {"REDIS_URL": "redis://h:" + canary},
		"number and hash":   {"REDIS_URL": "redis://:1234#" + canary + "@db/0", "DATABASE_URL": "postgres://u:1234#" + canary + "@db/n"},
		"question mark":     {"REDIS_URL": "redis://:p@ss?" + canary + "@h/0", "DATABASE_URL": "postgres://u:p@ss?" + canary + "@h/n"},
		"at sign":           {"REDIS_URL": "redis://:p@" + canary + "@h/0", "DATABASE_URL": "postgres://u:p@" + canary + "@h/n"},
		"semicolon":         {"REDIS_URL": "sentinel://u:12345;" + canary + "@h:1", "REDIS_SENTINEL_MASTER": "m"},
		"site":              {"SITE_URL": "https://u:1234#" + canary + "@h"},
		"site, slash":       {"SITE_URL": "https://u:1234/" + canary + "@h"},
		"Zero's query":      {"ZERO_URL": "https://h/graphql?key=" + canary},
		"Zero, hash":        {"ZERO_URL": "https://u:1234#" + canary + "@h"},
		"login as host":     {"DB_HOST": "u:" + canary + "@h", "REDIS_HOST": ":" + canary + "@h", "SMTP_HOST": "u:" + canary + "@h"},
		"keywords":          {"DATABASE_URL": "host=h user=u password=" + canary},
		"broken keywords":   {"DATABASE_URL": "host=h user=u password='" + canary},
		"sentinel":          {"REDIS_URL": "sentinel://:" + canary + "@h;sentinel://:" + canary + "@i", "REDIS_SENTINEL_MASTER": "m", "REDIS_SENTINEL_PASSWORD": canary},
		"sentinel, wrong":   {"REDIS_URL": "sentinel://:" + canary + "@h;redis://:" + canary + "@i"},
		"Zero":              {"ZERO_TOKEN": canary},
		"more lines":        {"SMTP_PASSWORD": canary + "\n" + canary},
		"URL as host":       {"REDIS_HOST": "redis://:" + canary + "@h", "DB_HOST": "postgres://u:" + canary + "@h", "SMTP_HOST": "smtp://u:" + canary + "@h"},
		"URL elsewhere":     {"REDIS_PORT": "redis://:" + canary + "@h", "SITE_URL": "https://u:" + canary + "@h", "HEALTH_ADDR": "u:" + canary + "@h:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(e.lookup)
			if err != nil {
				hidden(t, "the error", outputs(err))
			}
			hidden(t, "the Config", outputs(c))
			hidden(t, "the report", append(outputs(c.Report()), config.Text(c.Report(), 0)))
			hidden(t, "the warnings", outputs(c.Warnings))
			hidden(t, "the address of Redis", outputs(c.Redis.String()))
		})
	}
}

// No piece of a password in a URL is in any output, for any letters of the password.
func FuzzPasswordOfAURL(f *testing.F) {
	const alphabet = "QZJ7#/?@:;%&=+ ^|\"'[]{}<>\\,.~$!*()`_-" // no letters of our own texts
	for _, seed := range []string{"\x03\x03\x03\x03\x04\x00\x01\x02", "\x00\x07\x01\x06\x01\x02\x00", "\x03\x03\x03\x09\x00\x01\x02\x03"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		var pw strings.Builder
		for _, c := range seed {
			pw.WriteByte(alphabet[int(c)%len(alphabet)])
		}
		for variable, form := range map[string]string{
			"REDIS_URL": "redis://:%@h:6379/0", "DATABASE_URL": "postgres://u:%@h/n", "SITE_URL": "https://u:%@h",
			"ZERO_URL": "https://u:%@h/graphql", "SMTP_HOST": "smtp://u:%@h", "SMTP_URLS": "smtp://u:%@h smtps://v:%@i", "REDIS_HOST": "u:%@h", "DB_HOST": "u:%@h",
		} {
			e := env{variable: strings.ReplaceAll(form, "%", pw.String())}
			c, err := config.Load(e.lookup)
			seen := fmt.Sprint(err, c.Warnings, config.Text(c.Report(), 0), c.Redis, c.Database, c.Mail)
			for i := 0; i+4 <= pw.Len(); i++ {
				piece := pw.String()[i : i+4]
				if strings.ContainsAny(piece, "QZJ7") && strings.Contains(seen, piece) {
					t.Fatalf("%v: %q is seen in\n%s", e, piece, seen)
				}
			}
		}
	})
}

func TestReportShowsThatASecretIsSet(t *testing.T) {
	t.Parallel()
	c := load(t, env{"SMTP_PASSWORD": canary, "DATABASE_URL": "postgres://u:" + canary + "@h/n"})
	got := make(map[string]config.Setting)
	for _, s := range c.Report() {
		got[s.Variable] = s
	}
	for variable, want := range map[string]string{
		"SMTP_PASSWORD": "***", "DATABASE_URL": "postgres://u:***@h/n", "DB_PASSWORD": "***", "REDIS_PASSWORD": "",
	} {
		if got[variable].Value != want {
			t.Errorf("%s is shown as %q, want %q", variable, got[variable].Value, want)
		}
	}
}

// The line end that echo adds is no part of a password, and a space may be one.
func TestSecretEndsInNoLineBreak(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"hunter2\n": "hunter2", "hunter2\r\n": "hunter2", "hunter2\n\n": "hunter2",
		" hunter2 ": " hunter2 ", " hunter2 \n": " hunter2 ", "hunter2": "hunter2",
	} {
		cfg, err := config.Load(env{"SMTP_PASSWORD": given, "SMTP_USERNAME": "u"}.lookup)
		if err != nil {
			t.Errorf("%q: %v", given, err)
			continue
		}
		if got := cfg.SMTP.Password.Reveal(); got != want {
			t.Errorf("%q is read as %q, want %q", given, got, want)
		}
		warned := slices.ContainsFunc(cfg.Warnings, func(w config.Warning) bool { return w.Variable == "SMTP_PASSWORD" })
		if warned != strings.HasSuffix(given, "\n") {
			t.Errorf("%q: warnings %v", given, cfg.Warnings)
		}
	}
	for _, given := range []string{"hunter\n2", "\nhunter2", "hunter2\n ", "hunter\x002"} {
		if _, err := config.Load(env{"SMTP_PASSWORD": given}.lookup); err == nil || !strings.Contains(err.Error(), "SMTP_PASSWORD: it has more than one line") {
			t.Errorf("%q: %v", given, err)
		}
	}
}

// A secret that was pasted one line too high is not repeated by the error.
func TestSecretInTheWrongVariable(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, s := range config.Table() {
		if s.Type == "text" || s.Type == "secret" || s.Type == "list" || s.Type == "file" {
			continue // takes anything, or never shows it
		}
		for _, secret := range []string{canary, "s3cret!", "hunter2", "x%y", "Tr0ub4dor&3 " + canary} {
			_, err := config.Load(env{s.Variable: secret}.lookup)
			if err == nil {
				continue
			}
			tried++
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), canary) {
				t.Errorf("%s: %v", s.Variable, err)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d mistakes: this test proves little", tried)
	}
}

// secretVariables are the variables with secrets whose value may be in a file.
func secretVariables() (all []string) {
	for _, s := range config.Table() {
		if config.FileVariable(s.Variable) != "" {
			all = append(all, s.Variable)
		}
	}
	return all
}

// Every secret may be in a file. Both, a file that cannot be read and one that is empty are
// mistakes that name the variable of the file.
func TestSecretsInFiles(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"REDIS_URL": "redis://u:" + canary + "@h/0", "DATABASE_URL": "postgres://u:" + canary + "@h/n", "LEDGER_DATABASE_URL": "postgres://u:" + canary + "@h/n",
		"OTP_CHECK_REDIS_URL": "redis://u:" + canary + "@h/0", "SMTP_URLS": "smtp://u:" + canary + "@h",
	}
	more := env{"SMTP_USERNAME": "u", "BOUNCE_DOMAIN": "b.example"}
	if n := len(secretVariables()); n < 15 {
		t.Errorf("only %d secrets: this test proves little", n)
	}
	for _, variable := range secretVariables() {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			value := cmp.Or(values[variable], canary+"-long-enough")
			dir := t.TempDir()
			path := filepath.Join(dir, "value")
			write := func(text string) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			with := func(more ...env) (config.Config, error) {
				all := env{variable + "_FILE": path}
				for _, e := range more {
					maps.Copy(all, e)
				}
				return config.Load(all.lookup)
			}
			write(value + "\n")
			inFile, err := with(more)
			given := env{variable: value}
			maps.Copy(given, more)
			direct, err2 := config.Load(given.lookup)
			_, mistaken := errors.AsType[*config.Error](err)
			if mistaken != (err2 != nil) {
				t.Fatalf("in a file: %v; in the variable: %v", err, err2)
			}
			if !mistaken {
				if got, want := inFile.Passwords(), direct.Passwords(); !slices.Equal(got, want) {
					t.Errorf("in a file: %d secrets that differ from the %d of the variable", len(got), len(want))
				}
				if got := config.Given(inFile, config.SourceFile)[variable].Reveal(); got != value {
					t.Errorf("the file gave %d letters, want %d", len(got), len(value))
				}
				if got := config.SecretFiles(inFile); got[variable] != path || len(got) != 1 {
					t.Errorf("files %v", got)
				}
			}
			refused := func(when, want string, more ...env) {
				t.Helper()
				_, err := with(more...)
				if err == nil || !strings.Contains(err.Error(), variable+"_FILE: ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), canary) {
					t.Errorf("%s: %v; want %q", when, err, want)
				}
			}
			refused("both", variable+" is set as well; set one of them", env{variable: value})
			write("\n")
			refused("empty", path+" cannot be used: it is empty")
			write("")
			refused("no content", path+" cannot be used: it is empty")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			refused("none", path+" cannot be used: no such file or directory")
		})
	}
}

// Nothing had to quote the content of a file.
func TestSecretInAFileIsLiteral(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "value")
	for _, text := range []string{`"hunter2"`, "a # b", " hunter2 ", `''`} {
		if err := os.WriteFile(path, []byte(text+"\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := load(t, env{"SMTP_PASSWORD_FILE": path, "SMTP_USERNAME": "u"})
		if got := c.SMTP.Password.Reveal(); got != text || len(c.Warnings) > 0 {
			t.Errorf("%q is read as %q, warnings %v", text, got, c.Warnings)
		}
	}
	if err := os.WriteFile(path, []byte("a\nb"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(env{"SMTP_PASSWORD_FILE": path}.lookup); err == nil || !strings.Contains(err.Error(), "SMTP_PASSWORD_FILE: the file has more than one line") {
		t.Errorf("two lines: %v", err)
	}
}
