package secrets_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Keeper with files and a Zero.
type world struct {
	*testing.T
	dir    string
	env    map[string]string
	keeper *secrets.Keeper
	cfg    config.Config // attached
	began  time.Time
	clock  atomic.Int64 // seconds that passed; the clock stands still else

	mu     sync.Mutex
	logs   bytes.Buffer
	events []secrets.Event
	zero   map[string]string
	status int
	token  string
	asked  int
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), began: time.Now(), env: map[string]string{}, zero: map[string]string{}, status: 200, token: "token"}
	s := httptest.NewServer(http.HandlerFunc(w.answer))
	t.Cleanup(s.Close)
	w.env["ZERO_URL"] = s.URL + "/graphql"
	return w
}

func (w *world) answer(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	var question struct{ Variables struct{ Token string } }
	_ = json.NewDecoder(r.Body).Decode(&question)
	if question.Variables.Token != w.token {
		to.WriteHeader(http.StatusUnauthorized)
		return
	}
	type field struct{ Name, Value string }
	var fields []field
	for name, value := range w.zero {
		fields = append(fields, field{name, value})
	}
	to.WriteHeader(w.status)
	_ = json.NewEncoder(to).Encode(map[string]any{"data": map[string]any{"secrets": []any{map[string]any{"name": "evently", "fields": fields}}}})
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logs.Write(p)
}

func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// file puts a text into the file of a variable.
func (w *world) file(variable, text string) {
	w.Helper()
	path := filepath.Join(w.dir, variable)
	w.do(func() { w.env[variable+"_FILE"] = path })
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		w.Fatal(err)
	}
}

func (w *world) lookup(name string) (text string, ok bool) {
	w.do(func() { text, ok = w.env[name] })
	return text, ok
}

// start runs a Keeper. It looks at files each 10 ms.
func (w *world) start() {
	w.Helper()
	sources, err := config.Secrets(w.Context(), w.lookup)
	if err != nil {
		w.Fatal(err)
	}
	cfg, err := config.Load(w.lookup, sources...)
	if err != nil {
		w.Fatal(err)
	}
	w.keeper = secrets.New(secrets.Config{
		Initial: cfg, Load: func(sources ...config.Source) (config.Config, error) { return config.Load(w.lookup, sources...) },
		Event:  func(e secrets.Event) { w.do(func() { w.events = append(w.events, e) }) },
		Logger: slog.New(slog.NewTextHandler(w, nil)), FileEvery: 10 * time.Millisecond,
		Now: func() time.Time { return w.began.Add(time.Duration(w.clock.Load()) * time.Second) },
	})
	w.cfg = w.keeper.Attach(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.keeper.Run(ctx) }()
	w.Cleanup(func() {
		cancel()
		<-done
		if logs := w.logs.String(); strings.Contains(logs, canary) {
			w.Errorf("the log shows a secret:\n%s", logs)
		}
		if text := fmt.Sprintf("%+v %+v", w.events, w.keeper.States()); strings.Contains(text, canary) {
			w.Errorf("an event or a state shows a secret: %s", text)
		}
	})
}

const canary = "cAnArY-"

// next returns the password that a connection tries after others were refused.
func (w *world) next(l config.Logins, refused ...string) string {
	w.Helper()
	var before []config.Login
	for _, password := range refused {
		before = append(before, config.Login{Username: "u", Password: canary + password})
	}
	got, err := l.Next(w.Context(), before)
	if err != nil {
		w.Fatal(err)
	}
	return strings.TrimPrefix(got.Password, canary)
}

func (w *world) accept(l config.Logins, password string) {
	l.Accepted(config.Login{Username: "u", Password: canary + password})
}

// await waits until the first login of l is one.
func (w *world) await(l config.Logins, password string) {
	w.Helper()
	w.until("password "+password, func() bool { return w.next(l) == password })
}

func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not in time: %s; states %+v", what, w.keeper.States())
		}
	}
}

// state returns the state of one secret.
func (w *world) state(variable string) secrets.State {
	for _, s := range w.keeper.States() {
		if s.Variable == variable {
			return s
		}
	}
	return secrets.State{}
}

// A fault of a variable with several logins is one of each of them, and of no further secret.
func TestFaultOfSeveralLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["LEDGER_DATABASE_URL"] = "off"
	w.file("REDIS_URLS", "eu=redis://u:"+canary+"a@h:6379/0 us=redis://u:"+canary+"b@i:6379/0")
	w.start()
	w.file("REDIS_URLS", "eu=http://h")
	w.until("event, which is the last thing", func() (told bool) {
		w.do(func() { told = len(w.events) > 0 })
		return told
	})
	for _, name := range []string{"REDIS_URLS[eu]", "REDIS_URLS[us]"} {
		if s := w.state(name); s.Fault == "" || s.Results[secrets.Failed] != 1 {
			t.Errorf("%+v", s)
		}
	}
	if all := w.keeper.States(); len(all) != 2 {
		t.Errorf("states %+v, want those of the logins", all)
	}
	w.do(func() {
		if len(w.events) != 1 || w.events[0].Variable != "REDIS_URLS" || w.events[0].Source != config.SourceFile || w.events[0].Fingerprint != "" {
			t.Errorf("events %+v", w.events)
		}
	})
}

// A new value is tried first. The previous one stays until a server has accepted the new one, and
// ten minutes longer.
func TestPreviousValue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"] = "u"
	w.file("SMTP_PASSWORD", canary+"a\n")
	w.start()
	l := w.cfg.Relays[0].Logins
	var renewed atomic.Int32
	l.OnChange(func() { renewed.Add(1) })
	w.await(l, "a")
	if got := w.next(l, "a"); got != "a" {
		t.Errorf("no other: %q", got)
	}
	w.accept(l, "a")
	w.file("SMTP_PASSWORD", canary+"b\n")
	w.await(l, "b")
	w.until("connections log in anew", func() bool { return renewed.Load() > 0 })
	w.clock.Add(3600) // however long the server takes
	if got := w.next(l, "b"); got != "a" {
		t.Errorf("the server has the old one: %q", got)
	}
	if got := w.next(l); got != "a" {
		t.Errorf("right after the refusal: %q first", got)
	}
	w.accept(l, "a")
	if s := w.state("SMTP_PASSWORD"); !strings.Contains(s.Fault, "the server refuses the new value") || s.Advice == "" {
		t.Errorf("state %+v", s)
	}
	if got := w.next(l, "a"); got != "b" {
		t.Errorf("the server has just changed: %q", got)
	}
	w.clock.Add(6)
	if got := w.next(l); got != "b" {
		t.Errorf("after the pause: %q first", got)
	}
	w.accept(l, "b")
	if s := w.state("SMTP_PASSWORD"); s.Fault != "" || s.Source != "file" || s.Changed.IsZero() || s.Results[secrets.Accepted] != 1 || s.Results[secrets.Changed] != 1 {
		t.Errorf("state %+v", s)
	}
	w.clock.Add(9 * 60)
	if got := w.next(l, "b"); got != "a" {
		t.Errorf("within ten minutes: %q", got)
	}
	w.accept(l, "b")
	w.clock.Add(61)
	if first, got := w.next(l), w.next(l, "b"); first != "b" || got != "b" {
		t.Errorf("after ten minutes: %q, %q", first, got)
	}
}

// Of values that follow each other before a server has accepted one, the accepted one is kept.
func TestValuesThatNoServerAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"] = "u"
	w.file("SMTP_PASSWORD", canary+"a")
	w.start()
	l := w.cfg.Relays[0].Logins
	w.accept(l, "a")
	for _, text := range []string{"b", "c", "d", "e"} {
		w.file("SMTP_PASSWORD", canary+text)
		w.await(l, text)
	}
	if got := w.next(l, "e"); got != "a" {
		t.Errorf("%q instead of the one that was accepted", got)
	}
}

// A refusal looks at the sources at once, but only once in five seconds.
func TestRefusalAsks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"], w.env["ZERO_TOKEN"] = "u", "token"
	w.zero["smtp-password"] = canary + "a"
	w.start()
	l := w.cfg.Relays[0].Logins
	w.accept(l, "a")
	w.do(func() { w.zero["smtp-password"] = canary + "b" })
	time.Sleep(50 * time.Millisecond)
	if got := w.next(l); got != "a" {
		t.Errorf("asked before a refusal: %q", got)
	}
	w.until("Run runs", func() bool { return w.next(l, "a") == "b" }) // one question
	w.accept(l, "b")
	asked := 0
	w.do(func() { asked = w.asked; w.zero["smtp-password"] = canary + "c" })
	for range 20 {
		if got := w.next(l, "b"); got != "a" {
			t.Errorf("asked again within five seconds: %q", got)
		}
	}
	w.do(func() {
		if w.asked != asked {
			t.Errorf("%d questions to Zero within five seconds", w.asked-asked)
		}
	})
	w.clock.Add(6)
	if got := w.next(l, "b"); got != "c" {
		t.Errorf("after five seconds: %q", got)
	}
	w.keeper.Look()
}

// Files that cannot be read, are empty or hold no valid value change nothing, and say why. The
// other secrets are replaced nevertheless.
func TestFaultyFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"] = "u"
	w.file("SMTP_PASSWORD", canary+"a")
	w.file("REDIS_URL", "redis://u:"+canary+"r1@h:6379/0")
	w.start()
	mail, redis := w.cfg.Relays[0].Logins, w.cfg.Redis.Logins
	w.accept(mail, "a")
	for i, fault := range []struct {
		change func()
		want   string
	}{
		{func() { w.file("SMTP_PASSWORD", "") }, "it is empty"},
		{func() { w.file("SMTP_PASSWORD", "a\nb") }, "more than one line"},
		{func() { w.file("SMTP_PASSWORD", "\x7fELF\x00\x01\xff") }, "no text"},
		{func() { w.file("SMTP_PASSWORD", strings.Repeat(canary, 1<<20)) }, "larger than"},
		{func() { _ = os.Remove(w.env["SMTP_PASSWORD_FILE"]) }, "no such file"},
	} {
		fault.change()
		w.until(fault.want, func() bool { return strings.Contains(w.state("SMTP_PASSWORD").Fault, fault.want) })
		if s := w.state("SMTP_PASSWORD"); s.Advice == "" || w.next(mail) != "a" {
			t.Errorf("state %+v, password %q", s, w.next(mail))
		}
		w.file("REDIS_URL", fmt.Sprintf("redis://u:%sr%d@h:6379/0", canary, i+2))
		w.await(redis, fmt.Sprint("r", i+2))
	}
	w.do(func() { // each fault is said once, however often the files are looked at
		if n := strings.Count(w.logs.String(), "secret not replaced"); n != 5 {
			t.Errorf("%d faults in the log:\n%s", n, w.logs.String())
		}
	})
	w.file("REDIS_URL", "redis://u:"+canary+"x@h:none/0")
	w.until("a URL that is not valid", func() bool { // the fault is there a moment before it is counted
		s := w.state("REDIS_PASSWORD")
		return strings.HasPrefix(s.Fault, "REDIS_URL: ") && strings.Contains(s.Fault, "is not valid") && s.Results[secrets.Failed] > 0
	})
	if got := w.next(redis); got != "r6" {
		t.Errorf("password %q", got)
	}
	if w.state("REDIS_URL").Variable != "" {
		t.Errorf("the fault of REDIS_URL is not one of its secret: %+v", w.keeper.States())
	}
	w.file("REDIS_URL", "redis://u:"+canary+"x@other:6379/0")
	w.until("another host", func() bool { return w.state("REDIS_PASSWORD").Advice == "restart the process" })
	w.file("REDIS_URL", "redis://u:"+canary+"x@h:6379/5")
	w.until("another database, with the source that it is from", func() bool {
		s := w.state("REDIS_DB")
		return s.Advice == "restart the process" && s.Source == "REDIS_URL"
	})
	w.file("SMTP_PASSWORD", canary+"b")
	w.file("REDIS_URL", "redis://u:"+canary+"r7@h:6379/0")
	w.await(mail, "b")
	w.await(redis, "r7")
	w.until("all is well", func() bool {
		for _, s := range w.keeper.States() {
			if s.Fault != "" {
				return false
			}
		}
		return true
	})
}

// While Zero does not answer, the values that it gave stay. A token is replaced as passwords are.
func TestZeroOutageAndToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"], w.env["ZERO_REFRESH"] = "u", "86400"
	w.file("ZERO_TOKEN", "token")
	w.zero["smtp-password"], w.zero["db-password"], w.zero["redis-host"] = canary+"a", canary+"d", "h"
	w.start()
	l := w.cfg.Relays[0].Logins
	w.accept(l, "a")
	look := func(what string, ok func() bool) {
		t.Helper()
		w.until(what, func() bool { w.keeper.Look(); return ok() })
	}
	w.do(func() { w.status = 503 })
	look("Zero is down", func() bool { return strings.Contains(w.state("ZERO_TOKEN").Fault, "HTTP status 503") })
	if got := w.next(l); got != "a" {
		t.Errorf("password %q", got)
	}
	w.do(func() { w.status = 200; w.token = "token-2"; w.zero["smtp-password"] = canary + "b" })
	look("the token is refused", func() bool { return strings.Contains(w.state("ZERO_TOKEN").Advice, "ZERO_TOKEN_FILE") })
	w.file("ZERO_TOKEN", "token-2")
	look("the new token", func() bool { return w.next(l) == "b" })
	w.file("ZERO_TOKEN", "token-3") // before Zero knows it
	w.do(func() { w.zero["smtp-password"] = canary + "c" })
	look("the previous token", func() bool { return w.next(l) == "c" })
	w.do(func() { w.token = "token-3"; delete(w.zero, "smtp-password") })
	look("a secret that is gone", func() bool { return strings.Contains(w.state("SMTP_PASSWORD").Fault, "no longer in zero") })
	if got := w.next(l); got != "c" {
		t.Errorf("password %q", got)
	}
	w.do(func() { w.zero["smtp-password"], w.zero["redis-host"] = canary+"d", "other" })
	look("another host", func() bool {
		return w.next(l) == "d" && w.state("SMTP_PASSWORD").Fault == "" && w.state("REDIS_HOST").Advice == "restart the process"
	})
	if s := w.state("SMTP_PASSWORD"); s.Source != "zero" || s.Fingerprint == "" {
		t.Errorf("state %+v", s)
	}
}

// Without files and Zero nothing runs, and logins are fixed.
func TestNothingToKeep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env["SMTP_USERNAME"], w.env["SMTP_PASSWORD"] = "u", canary+"a"
	w.start()
	if !w.keeper.Idle() || w.cfg.Relays[0].Logins != nil {
		t.Error("a fixed password has logins that change")
	}
	if err := w.keeper.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
