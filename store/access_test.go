package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// Each fault of rights, schema and login is told by Ping as by a lookup, with
// the words to act on; when it is mended, both work again.
func TestFaultsOfAccess(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	const user, password = "reader", "cAnArY-pw"
	server.Exec(storetest.Database, `CREATE ROLE `+user+` LOGIN PASSWORD '`+password+`'; GRANT SELECT ON users TO `+user)
	fill(t, server.DB())
	cfg := store.Config{Host: "127.0.0.1", Port: server.Port, Name: storetest.Database, User: user, Password: password, SSLMode: "disable"}
	check := func(t *testing.T, s *store.Store, code, words, remedy string) {
		t.Helper()
		_, lookup := s.Email(t.Context(), 1)
		for call, err := range map[string]error{"Ping": s.Ping(t.Context()), "Email": lookup} {
			e, ok := errors.AsType[*store.AccessError](err)
			if !ok || errors.Is(err, store.ErrNoUser) || e.Code != code {
				t.Errorf("%s: %v; want an AccessError with %q", call, err, code)
				continue
			}
			if s := e.Summary(); !strings.Contains(s, words) || !strings.Contains(s, remedy) || strings.Contains(s, user) || strings.Contains(s, "127.0.0.1") {
				t.Errorf("%s: summary %q; want %q and %q, and no name of a user or host", call, s, words, remedy)
			}
			if strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), remedy) {
				t.Errorf("%s: error %q; want the remedy and no password", call, err)
			}
		}
	}
	for _, test := range []struct{ name, fault, mend, code, words, remedy string }{
		{"no SELECT", `REVOKE SELECT ON users FROM reader`, `GRANT SELECT ON users TO reader`, "42501", "permission denied for table users", "GRANT SELECT ON users TO"},
		{"SELECT on one column", `REVOKE SELECT ON users FROM reader; GRANT SELECT (id, email) ON users TO reader`, `GRANT SELECT ON users TO reader`, "42501", "permission denied", "GRANT SELECT"},
		{"no schema", `REVOKE USAGE ON SCHEMA public FROM public`, `GRANT USAGE ON SCHEMA public TO public`, "42P01", "does not exist", "search_path"},
		{"no table", `ALTER TABLE users RENAME TO people`, `ALTER TABLE people RENAME TO users`, "42P01", `relation "users" does not exist`, "DB_NAME"},
		{"no email", `ALTER TABLE users RENAME email TO mail`, `ALTER TABLE users RENAME mail TO email`, "42703", `column "email" does not exist`, "columns id (integer)"},
		{"no id", `ALTER TABLE users RENAME id TO user_id`, `ALTER TABLE users RENAME user_id TO id`, "42703", `column "id" does not exist`, "columns id (integer)"},
		{"no is_active", `ALTER TABLE users RENAME is_active TO active`, `ALTER TABLE users RENAME active TO is_active`, "42703", `column "is_active" does not exist`, "is_active (boolean)"},
		{"id is a uuid", `ALTER TABLE users RENAME id TO old; ALTER TABLE users ADD id uuid`, `ALTER TABLE users DROP id; ALTER TABLE users RENAME old TO id`, "22P02", "type uuid", "id (integer)"},
		{"id is a time", `ALTER TABLE users RENAME id TO old; ALTER TABLE users ADD id timestamptz`, `ALTER TABLE users DROP id; ALTER TABLE users RENAME old TO id`, "22007", "timestamp", "id (integer)"},
		{"id is JSON", `ALTER TABLE users RENAME id TO old; ALTER TABLE users ADD id json`, `ALTER TABLE users DROP id; ALTER TABLE users RENAME old TO id`, "42883", "operator does not exist", "id (integer)"},
		{"is_active is text", `ALTER TABLE users ALTER is_active TYPE text`, `ALTER TABLE users ALTER is_active TYPE bool USING is_active::bool`, "42883", "text = boolean", "is_active (boolean)"},
		{"row-level security", `ALTER TABLE users ENABLE ROW LEVEL SECURITY`, `ALTER TABLE users DISABLE ROW LEVEL SECURITY`, "", "row-level security", "CREATE POLICY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, cfg)
			if err := s.Ping(t.Context()); err != nil {
				t.Fatalf("Ping before: %v", err)
			}
			server.Exec(storetest.Database, test.fault)
			check(t, s, test.code, test.words, test.remedy)
			server.Exec(storetest.Database, test.mend)
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("Ping after: %v", err)
			}
			if email, err := s.Email(t.Context(), 1); err != nil || email != "ada@example.com" {
				t.Errorf("Email after: %q, %v", email, err)
			}
		})
	}
	for _, test := range []struct {
		name                string
		change              func(*store.Config)
		fault, mend         string
		code, words, remedy string
	}{
		{"wrong password", func(c *store.Config) { c.Password = "wrong" }, "", "", "28P01", "refuses the login", "DB_PASSWORD"},
		{"no such user", func(c *store.Config) { c.User = "reader2" }, "", "", "28P01", "refuses the login", "DB_USER"},
		{"no login", func(*store.Config) {}, `ALTER ROLE reader NOLOGIN`, `ALTER ROLE reader LOGIN`, "28000", "refuses the login", "pg_hba.conf"},
		{"no such database", func(c *store.Config) { c.Name = "elsewhere" }, "", "", "3D000", "no such database", "DB_NAME"},
		{"no CONNECT", func(*store.Config) {}, `REVOKE CONNECT ON DATABASE evently FROM public`, `GRANT CONNECT ON DATABASE evently TO public`, "42501", "may not connect", "GRANT CONNECT"},
		{"no connection left", func(*store.Config) {}, `ALTER ROLE reader CONNECTION LIMIT 0`, `ALTER ROLE reader CONNECTION LIMIT -1`, "53300", "out of connections", "max_connections"},
		{"no TLS", func(c *store.Config) { c.SSLMode = "require" }, "", "", "", "no TLS", "DB_SSLMODE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.fault != "" {
				server.Exec(storetest.Database, test.fault)
				defer server.Exec(storetest.Database, test.mend)
			}
			changed := cfg
			test.change(&changed)
			check(t, open(t, changed), test.code, test.words, test.remedy)
		})
	}
}

// A fault that passes by itself, or that concerns one lookup alone, is no fault of access:
// a policy that lets rows through, a table without rows, a time-out.
func TestNoFaultOfAccess(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	server.Exec(storetest.Database, `CREATE ROLE reader LOGIN PASSWORD 'pw'; GRANT SELECT ON users TO reader`)
	s := open(t, store.Config{Host: "127.0.0.1", Port: server.Port, Name: storetest.Database, User: "reader", Password: "pw", SSLMode: "disable"})
	noUser := func(what string) {
		t.Helper()
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("%s: Ping: %v", what, err)
		}
		if _, err := s.Email(t.Context(), 999); !errors.Is(err, store.ErrNoUser) {
			t.Errorf("%s: Email: %v", what, err)
		}
	}
	noUser("no rows")
	fill(t, server.DB())
	server.Exec(storetest.Database, `ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY active ON users FOR SELECT USING (is_active)`)
	noUser("a policy")
	server.Exec(storetest.Database, `ALTER ROLE reader SET statement_timeout = 1`)
	lockUsers(t, server.DB())
	late := open(t, store.Config{URL: fmt.Sprintf("postgres://reader:pw@127.0.0.1:%d/%s?sslmode=disable", server.Port, storetest.Database)})
	if _, err := late.Email(context.WithoutCancel(t.Context()), 1); err == nil {
		t.Error("Email: no error from a table that is locked")
	} else if e, ok := errors.AsType[*store.AccessError](err); ok {
		t.Errorf("Email: %v; want no AccessError for a time-out", e)
	}
}
