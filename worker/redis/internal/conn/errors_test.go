package conn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"
)

// A refusal is the reply of the server, and no address.
func TestRefusal(t *testing.T) {
	t.Parallel()
	reply := func(text string) error { return redigo.Error(text) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("wait for messages: %w", reply("CLUSTERDOWN The cluster is down")), "CLUSTERDOWN The cluster is down"},
		{fmt.Errorf("connect to redis cluster of a:1,b:1: %w", errors.Join(errors.New("node a:1: i/o timeout"), fmt.Errorf("node b:1: %w", reply("MASTERDOWN Link is down: 'no'.")))), "MASTERDOWN Link is down: 'no'."},
		{reply("LOADING " + strings.Repeat("x", 300)), "LOADING " + strings.Repeat("x", 192)},
		{reply("OOM a\nb"), ""},
		{reply("LOADING"), ""},
		{reply("ERR unknown command 'AUTH', with args beginning with: 'secret'"), ""},
		{reply("ERR max number of clients reached"), "ERR max number of clients reached"},
		{reply("ERR max number of clients + cluster connections reached"), "ERR max number of clients + cluster connections reached"},
		{errors.New("LOADING is what a proxy says"), ""},
		{nil, ""},
	} {
		if got := Refusal(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// A server may repeat the password that it refuses.
func TestRefusedLoginWithoutPassword(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		"ERR unknown command 'AUTH', with args beginning with: 'a-secret'": "ERR unknown command 'AUTH'",
		"WRONGPASS proxy: no user has the password a-secret":               "WRONGPASS proxy: no user has the password ***",
		"WRONGPASS invalid username-password pair":                         "WRONGPASS invalid username-password pair",
	} {
		if err := withoutSecrets(redigo.Error(reply), "a-secret"); err.Error() != want || isLoginRefused(err) != strings.HasPrefix(reply, "WRONGPASS") {
			t.Errorf("%q, want %q", err, want)
		}
	}
	if err := withoutSecrets(redigo.Error("ERR a user"), "a"); err.Error() != "ERR a user" {
		t.Errorf("a short password: %q", err)
	}
}
