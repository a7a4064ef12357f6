package store_test

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	_ "modernc.org/sqlite" // the development mode's database

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func fill(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, row := range []struct {
		id     int64
		email  any
		active bool
	}{
		{1, "ada@example.com", true},
		{2, "left@example.com", false},
		{3, nil, true},
		{4, "  ", true},
		{5, " padded@example.com ", true},
		{6, "Jörg@bücher.example", true},
		{-7, "minus@example.com", true},
		{math.MaxInt32, "last@example.com", true},
	} {
		if _, err := db.ExecContext(t.Context(), `INSERT INTO users (id, email, is_active) VALUES ($1, $2, $3)`,
			row.id, row.email, row.active); err != nil {
			t.Fatalf("insert user %d: %v", row.id, err)
		}
	}
}

// lookups is what both databases must answer.
func lookups(t *testing.T, s *store.Store) {
	t.Helper()
	for name, c := range map[string]struct {
		id   int64
		want string // "" is ErrNoUser
	}{
		"active":             {1, "ada@example.com"},
		"inactive":           {2, ""},
		"address is null":    {3, ""},
		"address is blank":   {4, ""},
		"address is padded":  {5, "padded@example.com"},
		"not ASCII":          {6, "Jörg@bücher.example"},
		"negative id":        {-7, "minus@example.com"},
		"largest id":         {math.MaxInt32, "last@example.com"},
		"missing":            {99, ""},
		"zero":               {0, ""},
		"beyond the column":  {math.MaxInt32 + 1, ""},
		"largest 64-bit id":  {math.MaxInt64, ""},
		"smallest 64-bit id": {math.MinInt64, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Email(t.Context(), c.id)
			if c.want == "" {
				if !errors.Is(err, store.ErrNoUser) || got != "" {
					t.Errorf("Email(%d) = %q, %v; want ErrNoUser", c.id, got, err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("Email(%d) = %q, %v; want %q", c.id, got, err, c.want)
			}
		})
	}
}

func TestSQLite(t *testing.T) {
	db, err := sqlx.Open("sqlite", filepath.Join(t.TempDir(), "users.db"))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	s := open(t, store.Config{DB: db, QueryTimeout: patience})
	if _, err := db.ExecContext(t.Context(), storetest.Schema); err != nil {
		t.Fatalf("create the table: %v", err)
	}
	fill(t, db.DB)
	lookups(t, s)
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), `DROP TABLE users`); err != nil {
		t.Fatalf("drop the table: %v", err)
	}
	mustFailSoftly(t, s)
}

// mustFailSoftly wants an error that says nothing about the user, and which is
// free of what must not be told.
func mustFailSoftly(t *testing.T, s *store.Store) error {
	t.Helper()
	email, err := s.Email(t.Context(), 1)
	if err == nil || errors.Is(err, store.ErrNoUser) || email != "" {
		t.Fatalf("Email = %q, %v; want an error that is worth another attempt", email, err)
	}
	for _, secret := range []string{storetest.Password, "wrong-password", "ada@example.com"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells %q: %v", secret, err)
		}
	}
	return err
}

func TestPostgres(t *testing.T) {
	server := storetest.Postgres(t)
	admin := server.DB()
	fill(t, admin)
	s := open(t, store.Config{URL: server.URL(), QueryTimeout: patience})

	t.Run("lookups", func(t *testing.T) { lookups(t, s) })

	t.Run("settings one by one", func(t *testing.T) {
		one := open(t, store.Config{
			Host: "127.0.0.1", Port: server.Port, Name: storetest.Database,
			User: storetest.Superuser, Password: storetest.Password, // no TLS there: sslmode prefer goes on without
		})
		lookups(t, one)
	})

	t.Run("unix socket", func(t *testing.T) {
		lookups(t, open(t, store.Config{
			Host: server.Dir, Port: server.Port, User: storetest.Superuser, Password: storetest.Password,
		}))
	})

	t.Run("wrong password", func(t *testing.T) {
		err := mustFailSoftly(t, open(t, store.Config{
			Host: "127.0.0.1", Port: server.Port, User: storetest.Superuser, Password: "wrong-password", SSLMode: "disable",
		}))
		if !strings.Contains(err.Error(), "28P01") {
			t.Errorf("the error does not tell what is wrong: %v", err)
		}
	})

	t.Run("no such database", func(t *testing.T) {
		mustFailSoftly(t, open(t, store.Config{
			Host: "127.0.0.1", Port: server.Port, Name: "elsewhere", User: storetest.Superuser, Password: storetest.Password,
		}))
	})

	t.Run("no permission", func(t *testing.T) {
		server.Exec(storetest.Database, `CREATE ROLE nobody LOGIN PASSWORD 'none'`)
		mustFailSoftly(t, open(t, store.Config{
			Host: "127.0.0.1", Port: server.Port, User: "nobody", Password: "none",
		}))
	})

	t.Run("caller's context ends", func(t *testing.T) {
		cause := errors.New("worker is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if _, err := s.Email(ctx, 1); !errors.Is(err, cause) {
			t.Errorf("Email = %v; want the cause", err)
		}
	})

	t.Run("slow query meets the deadline", func(t *testing.T) {
		lockUsers(t, admin)
		quick := open(t, store.Config{URL: server.URL(), QueryTimeout: 200 * time.Millisecond})
		if err := mustFailSoftly(t, quick); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Email = %v; want DeadlineExceeded", err)
		}
	})

	t.Run("frozen server meets the deadline", func(t *testing.T) {
		frozen := open(t, store.Config{URL: named(server.URL(), "frozen"), QueryTimeout: 200 * time.Millisecond, MaxOpen: 1})
		testkit.Eventually(t, 30*time.Second, "an answer in the time of a query", func() bool { return frozen.Ping(t.Context()) == nil })
		pid := backend(t, admin, "frozen", "idle")
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatalf("freeze the backend: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		if err := mustFailSoftly(t, frozen); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Email = %v; want DeadlineExceeded", err)
		}
		// The connection is not reused. A new one may take longer than a query may.
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			got, err := frozen.Email(t.Context(), 1)
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("Email afterwards = %q, %v", got, err)
			}
		}
	})

	t.Run("connection killed in a query", func(t *testing.T) {
		victim := open(t, store.Config{URL: named(server.URL(), "victim"), QueryTimeout: patience})
		unlock := lockUsers(t, admin)
		type answer struct {
			email string
			err   error
		}
		answers := make(chan answer, 1)
		go func() {
			email, err := victim.Email(context.WithoutCancel(t.Context()), 1)
			answers <- answer{email, err}
		}()
		pid := backend(t, admin, "victim", "active")
		if _, err := admin.ExecContext(t.Context(), `SELECT pg_terminate_backend($1)`, pid); err != nil {
			t.Fatalf("kill the connection: %v", err)
		}
		// The pool asks again over a new connection, and waits for the lock.
		backend(t, admin, "victim", "active", pid)
		unlock()
		if got := <-answers; got.err != nil || got.email != "ada@example.com" {
			t.Errorf("Email = %q, %v", got.email, got.err)
		}
	})

	t.Run("server stopped and started", func(t *testing.T) {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatalf("Ping: %v", err)
		}
		server.Stop()
		mustFailSoftly(t, s)
		if err := s.Ping(t.Context()); err == nil {
			t.Error("Ping has an answer from a server that is down")
		}
		server.Start()
		if got, err := s.Email(t.Context(), 1); err != nil {
			t.Errorf("Email after the restart = %q, %v", got, err)
		}
	})

	t.Run("server restarted under the pool", func(t *testing.T) {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatalf("Ping: %v", err)
		}
		server.Stop()
		server.Start()
		if got, err := s.Email(t.Context(), 1); err != nil {
			t.Errorf("Email on a connection of the old server = %q, %v", got, err)
		}
	})
}

// lockUsers makes every query of the table wait, until unlock or the end of
// the test.
func lockUsers(t *testing.T, db *sql.DB) (unlock func()) {
	t.Helper()
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE users IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatalf("lock: %v", err)
	}
	return func() { _ = tx.Rollback() }
}

func named(url, application string) string { return url + "&application_name=" + application }

// backend waits for a server process of an application in that state, another
// than those in not.
func backend(t *testing.T, db *sql.DB, application, state string, not ...int) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		var pid int
		err := db.QueryRowContext(ctx, `SELECT pid FROM pg_stat_activity
			WHERE application_name = $1 AND state = $2 AND NOT pid = ANY($3)`, application, state, pq.Array(append(not, 0))).Scan(&pid)
		if err == nil {
			return pid
		}
		if !errors.Is(err, sql.ErrNoRows) {
			t.Fatalf("wait for %s to be %s: %v", application, state, err)
		}
	}
}
