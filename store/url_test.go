package store_test

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/evently/workers/store"
	"github.com/evently/workers/store/storetest"
)

// Connection strings of hosts and other drivers lead to a database that answers.
func TestURLs(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	login := "postgres://" + url.UserPassword(storetest.Superuser, storetest.Password).String() + "@"
	address := fmt.Sprintf("127.0.0.1:%d", server.Port)
	end := "/" + storetest.Database + "?sslmode=disable"
	silent, refusing := silentHost(t), refusingHost(t)
	server.Exec("postgres", `CREATE ROLE pasted LOGIN PASSWORD 'p^w| "x@y:z'`)
	server.Exec(storetest.Database, `GRANT SELECT ON users TO pasted`)

	for name, text := range map[string]string{
		"Neon":                      login + address + end + "&channel_binding=require",
		"Prisma":                    login + address + end + "&pgbouncer=true&connection_limit=1&schema=public",
		"asyncpg":                   strings.Replace(login, "postgres", "postgresql+asyncpg", 1) + address + "/" + storetest.Database + "?ssl=false",
		"prefer":                    login + address + "/" + storetest.Database + "?sslmode=prefer",
		"allow":                     login + address + "/" + storetest.Database + "?sslmode=allow",
		"options":                   login + address + end + "&options=-c%20statement_timeout%3D5000&application_name=evently&connect_timeout=10",
		"settings":                  login + address + end + "&statement_timeout=5s&search_path=public&TimeZone=UTC&app.tenant=7",
		"folder of a socket":        login + "/" + storetest.Database + fmt.Sprintf("?host=%s&port=%d", server.Dir, server.Port),
		"escaped socket":            login + url.QueryEscape(server.Dir) + fmt.Sprintf(":%d/%s", server.Port, storetest.Database),
		"pasted password":           `postgres://pasted:p^w| "x@y:z@` + address + end,
		"hosts":                     login + address + "," + refusing + end,
		"first host refuses":        login + refusing + "," + address + end,
		"first host is silent":      login + silent + "," + address + end,
		"silent, by TLS or without": login + silent + "," + address + "/" + storetest.Database + "?sslmode=prefer",
		"only the last":             login + refusing + "," + silent + "," + address + end,
		"one port for all":          login + "localhost,127.0.0.1/" + storetest.Database + fmt.Sprintf("?sslmode=disable&port=%d", server.Port),
		"writable":                  login + refusing + "," + address + end + "&target_session_attrs=read-write",
		"primary":                   login + address + end + "&target_session_attrs=primary",
		"standby preferred":         login + refusing + "," + address + end + "&target_session_attrs=prefer-standby",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, store.Config{URL: text})
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("Ping: %v", err)
			}
		})
	}
	if err := open(t, store.Config{URL: login + address + end + "&target_session_attrs=standby"}).Ping(t.Context()); err == nil {
		t.Error("a primary is taken for a standby")
	}
	if err := open(t, store.Config{Host: "127.0.0.2,127.0.0.1", Port: server.Port, Password: storetest.Password, SSLMode: "disable"}).Ping(t.Context()); err != nil {
		t.Errorf("hosts without a URL: %v", err)
	}
	t.Run("every setting", func(t *testing.T) { everySetting(t, server, login+address+end) })
}

// everySetting sets what this server lets a session set, to what it is set to.
func everySetting(t *testing.T, server *storetest.Server, text string) {
	rows, err := server.DB().Query(`SELECT name, setting FROM pg_settings
		WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') AND setting <> '' AND name NOT LIKE '%.%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	query, n := u.Query(), 0
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			t.Fatal(err)
		}
		if name == "transaction_deferrable" || name == "ignore_system_indexes" || name == "session_preload_libraries" {
			continue // not outside of a transaction, or with a price
		}
		query.Set(name, value)
		n++
	}
	if err := rows.Err(); err != nil || n < 150 {
		t.Fatalf("%d settings, %v", n, err)
	}
	u.RawQuery = query.Encode()
	if err := open(t, store.Config{URL: u.String()}).Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

// silentHost takes connections and never says a word.
func silentHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func refusingHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}

// What PostgreSQL would refuse at every connection is refused when the store is
// opened.
func TestUnknownParameter(t *testing.T) {
	t.Parallel()
	for _, parameter := range []string{"frobnicate=1", "replication=database", "sslpassword=x", "gssencmode=require"} {
		name, _, _ := strings.Cut(parameter, "=")
		if _, err := store.Open(store.Config{URL: "postgres://u@h/n?" + parameter}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", parameter, err)
		}
	}
}
