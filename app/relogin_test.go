package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/config"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// relogin is a configuration whose secrets are in files.
type relogin struct {
	*testing.T
	dir    string
	env    map[string]string
	keeper *secrets.Keeper
	cfg    config.Config
}

func (r *relogin) file(variable, text string) {
	r.Helper()
	path := filepath.Join(r.dir, variable)
	if err := os.WriteFile(path+".new", []byte(text+"\n"), 0o600); err != nil {
		r.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.Fatal(err)
	}
	if r.env[variable+"_FILE"] == "" { // before start: the keeper reads it
		r.env[variable+"_FILE"] = path
	}
}

// start runs a keeper that looks at its files when a server refuses a login, and else each minute.
func (r *relogin) start() {
	r.Helper()
	load := func(sources ...config.Source) (config.Config, error) {
		return config.Load(func(name string) (string, bool) { text, ok := r.env[name]; return text, ok }, sources...)
	}
	cfg, err := load()
	if err != nil {
		r.Fatal(err)
	}
	r.keeper = secrets.New(secrets.Config{Initial: cfg, Load: load, Logger: slog.New(slog.DiscardHandler), FileEvery: time.Minute})
	r.cfg = r.keeper.Attach(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.keeper.Run(ctx) }()
	r.Cleanup(func() { cancel(); <-done })
}

// works waits until f succeeds.
func (r *relogin) works(what string, f func() error) {
	r.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			r.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > 30*time.Second {
			r.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func setUser(t *testing.T, s *redistest.Server, user, password string) {
	t.Helper()
	c := s.Conn(0)
	defer c.Close()
	if _, err := c.Do("ACL", "SETUSER", user, "on", "resetpass", ">"+password, "~*", "&*", "+@all"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("CLIENT", "KILL", "USER", user); err != nil {
		t.Fatal(err)
	}
}

// Each login that differs from that of the broker is replaced, too: the brokers of REDIS_URLS, the
// Redis of the codes, and the database of the history.
func TestEveryLoginIsReplaced(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t), redistest.Start(t)
	postgres := storetest.Postgres(t)
	r := &relogin{T: t, dir: t.TempDir(), env: map[string]string{"LEDGER_KEY": "0123456789abcdef", "DATABASE_URL": postgres.URL()}}
	host := strings.Split(strings.SplitN(postgres.URL(), "@", 2)[1], "?")[0]
	source := func(n int) {
		r.file("REDIS_URLS", fmt.Sprintf("a=redis://worker:a%d@%s/0 b=redis://worker:b%d@%s/0", n, a.Addr, n, b.Addr))
		r.file("OTP_CHECK_REDIS_URL", fmt.Sprintf("redis://codes:c%d@%s/0", n, a.Addr))
		r.file("LEDGER_DATABASE_URL", fmt.Sprintf("postgres://history:h%d@%s?sslmode=disable", n, host))
	}
	server := func(n int) {
		setUser(t, a, "worker", fmt.Sprint("a", n))
		setUser(t, b, "worker", fmt.Sprint("b", n))
		setUser(t, a, "codes", fmt.Sprint("c", n))
		postgres.Exec(storetest.Database, fmt.Sprintf("ALTER ROLE history PASSWORD 'h%d'", n))
		postgres.Exec(storetest.Database, "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE usename = 'history'")
	}
	postgres.Exec(storetest.Database, "CREATE ROLE history LOGIN")
	source(0)
	server(0)
	r.start()
	log := slog.New(slog.DiscardHandler)
	uses := map[string]func() error{}
	for _, one := range r.cfg.Brokers {
		own := r.cfg
		own.Redis = one.Redis
		broker, err := OpenBroker(own, log)
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		uses["broker "+one.Name] = func() error { _, err := broker.Posted(t.Context(), "x"); return err }
	}
	codes, err := openCodes(r.cfg.Delivery.Codes, log)
	if err != nil {
		t.Fatal(err)
	}
	defer codes.Close()
	uses["codes"] = func() error { _, _, err := codes.Code(t.Context(), "ann@example.com"); return err }
	db, err := openLedger(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	uses["history"] = func() error { return db.PingContext(t.Context()) }
	for n := range 2 { // a third one waits five seconds for its look
		if n > 0 {
			source(n)
			server(n)
		}
		var all sync.WaitGroup
		for what, use := range uses {
			all.Go(func() { r.works(fmt.Sprint(what, " with login ", n), use) })
		}
		all.Wait()
	}
	for _, s := range r.keeper.States() {
		if want := int64(1); s.Source == config.SourceFile && (s.Results[secrets.Accepted] != want || s.Fault != "") {
			t.Errorf("%s: %+v", s.Variable, s)
		}
	}
}

// A subscription whose login is revoked logs in with the new one. Messages of the time between are
// lost, and told as a gap. The Sentinels have a login of their own, which is replaced with it.
func TestSubscriptionLogsInAgain(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	sentinel := redistest.StartSentinels(t, 1, master)[0]
	r := &relogin{T: t, dir: t.TempDir(), env: map[string]string{
		"LEDGER_DATABASE_URL": "off", "REDIS_SENTINEL_MASTER": "mymaster", "REDIS_SENTINEL_USERNAME": "watch",
	}}
	rotate := func(n int) {
		r.file("REDIS_URL", fmt.Sprintf("sentinel://worker:r%d@%s/0", n, sentinel.Addr))
		r.file("REDIS_SENTINEL_PASSWORD", fmt.Sprint("s", n))
		setUser(t, sentinel, "watch", fmt.Sprint("s", n))
		setUser(t, master, "worker", fmt.Sprint("r", n))
	}
	rotate(0)
	r.start()
	broker, err := OpenBroker(r.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	var mu sync.Mutex
	got, joined, proofs := map[string]bool{}, 0, 0
	var heard redis.Heard
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- broker.Subscribe(ctx, redis.Subscription{
			Name: "test", Channels: []string{"news"}, Every: 50 * time.Millisecond,
			Message: func(_ string, raw []byte) { mu.Lock(); defer mu.Unlock(); got[string(raw)] = true },
			Joined:  func() { mu.Lock(); defer mu.Unlock(); joined++ },
			Left:    func(error) {},
			Heard:   func(h redis.Heard) { mu.Lock(); defer mu.Unlock(); heard, proofs = h, proofs+1 },
		})
	}()
	defer func() { cancel(); <-done }()
	count := func(n int) func() error {
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			if joined < n || heard.Gaps < int64(n-1) {
				return fmt.Errorf("joined %d times, %+v", joined, heard)
			}
			return nil
		}
	}
	admin := master.Conn(0)
	defer admin.Close()
	sent := map[string][2]time.Time{} // before and after
	publish := func() {
		t.Helper()
		id, before := fmt.Sprint(len(sent)), time.Now()
		if _, err := admin.Do("PUBLISH", "news", id); err != nil {
			t.Fatal(err)
		}
		sent[id] = [2]time.Time{before, time.Now()}
	}
	r.works("subscribed", count(1))
	publish()
	r.works("heard", func() error {
		mu.Lock()
		defer mu.Unlock()
		if !got["0"] || proofs == 0 {
			return fmt.Errorf("%v, %d proofs", got, proofs)
		}
		return nil
	})
	rotate(1)
	again := count(2)
	r.works("subscribed with the new logins, and the gap is told", func() error { publish(); return again() })
	publish()
	last := fmt.Sprint(len(sent) - 1)
	r.works("all is heard", func() error {
		mu.Lock()
		defer mu.Unlock()
		if !got[last] {
			return fmt.Errorf("%s is not heard", last)
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	t.Logf("gap of %v, %d of %d heard", heard.To.Sub(heard.From), len(got), len(sent))
	const blur = 5 * time.Millisecond // the server counts milliseconds
	for id, at := range sent {
		if !got[id] && (at[1].Before(heard.From.Add(-blur)) || at[0].After(heard.To.Add(blur))) {
			t.Errorf("message %s of %v is lost, and the gap is from %v to %v", id, at, heard.From, heard.To)
		}
	}
}
