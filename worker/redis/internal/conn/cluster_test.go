package conn

import (
	"slices"
	"testing"

	redigo "github.com/gomodule/redigo/redis"
)

// An owner in MOVED may have an address of IPv6 without brackets, or no host: that of the node
// asked. A node that does not know the name of the owner writes a question mark, and is no help.
func TestMovedTo(t *testing.T) {
	for reply, want := range map[string]string{
		"MOVED 3213 10.0.0.1:7000":   "10.0.0.1:7000",
		"MOVED 3213 ::1:7000":        "[::1]:7000",
		"MOVED 3213 [fe80::1]:7000":  "[fe80::1]:7000",
		"MOVED 3213 node-a:7000":     "node-a:7000",
		"MOVED 3213 :7000":           "[2001:db8::9]:7000",
		"MOVED 3213 ?:7000":          "",
		"MOVED 3213 7000":            "",
		"MOVED ":                     "",
		"ASK 3213 10.0.0.1:7000":     "",
		"CLUSTERDOWN The cluster is": "",
	} {
		if got := movedTo(redigo.Error(reply), "[2001:db8::9]:6379"); got != want {
			t.Errorf("%s: %q, want %q", reply, got, want)
		}
	}
}

// CLUSTER SLOTS writes the host of a node in many ways, and Redis 7 adds what else it is called.
func TestReadRange(t *testing.T) {
	node := func(host any, more ...any) any {
		return append([]any{host, int64(7000), []byte("id")}, more...)
	}
	meta := func(pairs ...string) any {
		var all []any
		for _, p := range pairs {
			all = append(all, []byte(p))
		}
		return all
	}
	for _, test := range []struct {
		name string
		node any
		want []string
	}{
		{"an address", node([]byte("10.0.0.1")), []string{"10.0.0.1:7000"}},
		{"IPv6", node([]byte("::1")), []string{"[::1]:7000"}},
		{"a name", node([]byte("node-a"), meta("ip", "10.0.0.1")), []string{"node-a:7000"}},
		{"null", node(nil, meta("ip", "10.0.0.1", "hostname", "node-a")), []string{"proxy:7000"}},
		{"empty", node([]byte("")), []string{"proxy:7000"}},
		{"no name yet", node([]byte("?"), meta("ip", "10.0.0.1")), []string{"10.0.0.1:7000"}},
		{"no name and no address", node([]byte("?"), meta()), []string{"proxy:7000"}},
		{"no port", []any{[]byte("10.0.0.1"), int64(0), []byte("id")}, nil},
		{"half a node", []any{[]byte("10.0.0.1")}, nil},
		{"no node", int64(1), nil},
	} {
		from, to, got := readRange([]any{int64(5), int64(9), test.node}, "proxy:6379")
		if from != 5 || to != 9 || !slices.Equal(got, test.want) {
			t.Errorf("%s: %d to %d of %q, want %q", test.name, from, to, got, test.want)
		}
	}
	for _, bad := range []any{nil, int64(1), []any{}, []any{int64(1), int64(2)}, []any{[]byte("x"), int64(2), node(nil)}} {
		if _, _, got := readRange(bad, "proxy:6379"); got != nil {
			t.Errorf("%v: %q", bad, got)
		}
	}
}
