package conn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis/redistest"
)

// given gives logins in order, whatever was refused.
type given struct {
	give     []Login
	err      error
	accepted []Login
}

func (g *given) Next(_ context.Context, refused []Login) (Login, error) {
	if len(refused) >= len(g.give) {
		return g.give[len(g.give)-1], g.err
	}
	return g.give[len(refused)], nil
}

func (g *given) Accepted(l Login) { g.accepted = append(g.accepted, l) }

// A connection tries the logins that its source gives until the server refuses none.
func TestLogins(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	admin := server.Conn(0)
	set := func(args ...any) {
		t.Helper()
		if _, err := admin.Do("ACL", args...); err != nil {
			t.Fatal(err)
		}
	}
	set("SETUSER", "worker", "on", ">right", "allkeys", "allcommands")
	set("SETUSER", "default", "resetpass", ">base")
	right, wrong, base := Login{"worker", "right"}, Login{"worker", "wrong"}, Login{"", "base"}
	gone := errors.New("no other")
	for name, tt := range map[string]struct {
		given
		want    Login
		refused string
	}{
		"first":         {given{give: []Login{right}}, right, ""},
		"second":        {given{give: []Login{wrong, right}}, right, ""},
		"third":         {given{give: []Login{wrong, {"nobody", "x"}, base}}, base, ""},
		"password only": {given{give: []Login{{"", "wrong"}, base}}, base, ""},
		"no fourth":     {given{give: []Login{wrong, {"nobody", "x"}, {"", "y"}, right}}, Login{}, "WRONGPASS"},
		"no other":      {given{give: []Login{wrong, wrong}}, Login{}, "WRONGPASS"},
		"an error":      {given{give: []Login{wrong}, err: gone}, Login{}, "WRONGPASS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(Config{Network: "tcp", Host: server.Addr, Name: server.Addr, DB: 1, Logins: &tt.given})
			defer c.Close()
			err := c.Do(t.Context(), func(c redigo.Conn) error { _, err := c.Do("PING"); return err })
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) || len(tt.accepted) > 0 {
					t.Errorf("error %v, accepted %v; want %s", err, tt.accepted, tt.refused)
				}
				return
			}
			if err != nil || !slices.Equal(tt.accepted, []Login{tt.want}) {
				t.Errorf("error %v, accepted %v; want %v", err, tt.accepted, tt.want)
			}
		})
	}
}

// After Renew the next commands use a new login. One that is in progress ends on its connection.
func TestRenew(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	source := given{give: []Login{{}}}
	c := New(Config{Network: "tcp", Host: server.Addr, Name: server.Addr, Logins: &source})
	defer c.Close()
	ping := func(c redigo.Conn) error { _, err := c.Do("PING"); return err }
	err := c.Do(t.Context(), func(conn redigo.Conn) error {
		c.Renew()
		return ping(conn)
	})
	if err == nil {
		err = c.Do(t.Context(), ping)
	}
	if err != nil || len(source.accepted) != 2 {
		t.Errorf("error %v, %d logins, want 2", err, len(source.accepted))
	}
}

// Replies by which servers of all versions refuse a login.
func TestIsLoginRefused(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]bool{
		"WRONGPASS invalid username-password pair or user is disabled.": true,
		"NOAUTH Authentication required.":                               true,
		"ERR invalid password":                                          true,
		"ERR Client sent AUTH, but no password is set":                  true,
		"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?": true,
		"ERR wrong number of arguments for 'auth' command": false,
		"ERR DB index is out of range":                     false,
		"LOADING Redis is loading the dataset in memory":   false,
	} {
		if got := isLoginRefused(redigo.Error(reply)); got != want {
			t.Errorf("%s: %t, want %t", reply, got, want)
		}
	}
	if isLoginRefused(errors.New("WRONGPASS")) {
		t.Error("an error of the network is a refusal")
	}
}
