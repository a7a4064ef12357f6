package connurl_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/testkit"
)

// Passwords that people paste as they are.
var passwords = []string{
	"plain", "a^b", "a|b", `a"b`, "a b", "a@b", "a:b", "@:@", "100%sure", "a%zzb", "a%40b", "a+b", "a&b=c", "a$b!c*d(e)f",
	"a'b", "a`b", "a~b", "a{b}c", `a\b`, "a<b>c", "a,b", "ünïcode", "%", "a=b", "trailing%", "a%4",
}

// Celery's own parser reads the same login, host and database.
func TestPasswordsAsKombu(t *testing.T) {
	t.Parallel()
	var urls []string
	for _, p := range passwords {
		urls = append(urls, "redis://:"+p+"@h:6380/3", "redis://app:"+p+"@h/0", "redis://"+strings.ReplaceAll(p, ":", "")+"@h/0")
	}
	const script = `import sys
from kombu.utils.url import parse_url
for line in sys.stdin.buffer.read().decode().split("\n"):
    p = parse_url(line)
    print("\x1f".join(str(p[k] or "") for k in ("userid", "password", "hostname", "port", "virtual_host")))`
	cmd := exec.CommandContext(t.Context(), testkit.Python(t, testkit.CeleryNew), "-c", script)
	cmd.Env = testkit.PythonEnv()
	cmd.Stdin = strings.NewReader(strings.Join(urls, "\n"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kombu: %v", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(urls) {
		t.Fatalf("%d answers to %d URLs", len(lines), len(urls))
	}
	for i, raw := range urls {
		u, err := connurl.Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		got := strings.Join([]string{u.User, u.Password, u.Hosts[0].Name, u.Hosts[0].Port, strings.Trim(u.Path, "/")}, "\x1f")
		if got != lines[i] {
			t.Errorf("%s: read as %q, kombu as %q", raw, got, lines[i])
		}
		again, err := connurl.Parse(u.String())
		if err != nil || again.User != u.User || again.Password != u.Password {
			t.Errorf("%s: written as a URL that reads otherwise: %v", raw, err)
		}
	}
}

func TestParseRedis(t *testing.T) {
	t.Parallel()
	tcp := func(address string, db int) connurl.Redis {
		return connurl.Redis{Network: "tcp", Address: address, DB: db}
	}
	with := func(r connurl.Redis, change func(*connurl.Redis)) connurl.Redis { change(&r); return r }
	for raw, want := range map[string]connurl.Redis{
		"redis://":                  tcp("localhost:6379", -1),
		"valkey://h/2":              tcp("h:6379", 2),
		"REDIS://h":                 tcp("h:6379", -1),
		"valkeys://h:1":             with(tcp("h:1", -1), func(r *connurl.Redis) { r.TLS = true }),
		"redis://h?db=3":            tcp("h:6379", 3),
		"redis://h/3?db=3":          tcp("h:6379", 3),
		"redis://h?virtual_host=/4": tcp("h:6379", 4),
		"redis://:p;x@h":            with(tcp("h:6379", -1), func(r *connurl.Redis) { r.Password = "p;x" }),
		"redis://h?username=u&password=p": with(tcp("h:6379", -1), func(r *connurl.Redis) {
			r.Username, r.Password = "u", "p"
		}),
		"unix:///run/r.sock?db=2":                   {Network: "unix", Address: "/run/r.sock", DB: 2},
		"unix://u:p@/run/r.sock":                    {Network: "unix", Address: "/run/r.sock", DB: -1, Username: "u", Password: "p"},
		"redis+socket:///run/user@1000/r.sock":      {Network: "unix", Address: "/run/user@1000/r.sock", DB: -1},
		"redis+socket:///run/r.sock?virtual_host=7": {Network: "unix", Address: "/run/r.sock", DB: 7},
		"rediss://h?ssl_cert_reqs=CERT_NONE&ssl_check_hostname=False&ssl_ca_certs=%2Fca.pem": with(tcp("h:6379", -1), func(r *connurl.Redis) {
			r.TLS, r.TLSParams = true, connurl.RedisTLS{CA: "/ca.pem", SkipVerify: true, IgnoreHostname: true}
		}),
		"redis://h?socket_timeout=5&health_check_interval=30": with(tcp("h:6379", -1), func(r *connurl.Redis) {
			r.Notes = []string{`the parameter "health_check_interval" is not used`, `the parameter "socket_timeout" is not used`}
		}),
	} {
		got, err := connurl.ParseRedis(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", raw, diff)
		}
	}
	for raw, remedy := range map[string]string{
		"redis://:1234#secret@db/0":        "# as %23",
		"redis://:p@ss?word@h/0":           "? as %3F",
		"redis://:p/w@h/0":                 "/ as %2F",
		"redis://h/0#x":                    "leave out the #",
		"redis://h/0?client_name=a@b":      "@ as %40",
		"redis://h/1?db=2":                 "redis://[user]",
		"redis://h1,h2":                    "Sentinels",
		"redis://h?ssl_cert_reqs=none":     "rediss://",
		"rediss://h?ssl_check_hostname=x":  "true or false",
		"redis://h?credential_provider=m":  "user and password",
		"redis://h:port":                   "@ as %40",
		"redis://::1":                      "brackets",
		"sentinel://u:12345;abcdef@h:1":    "; as %3B",
		"sentinel://:1234#secret@h;b":      "# as %23",
		"redis+socket://run/r.sock":        "three slashes",
		"redis+socket://:1234#pw@/r.sock":  "# as %23",
		"redis://h1;redis://h2":            "write one",
		"redis://h\x00":                    "%XX",
		"rediss://:a?ssl_ca_certs=/x@h":    "@ as %40",
		"redis://h?ssl_cert_reqs=required": "rediss://",
	} {
		_, err := connurl.ParseRedis(raw)
		if f, ok := errors.AsType[*connurl.Fault](err); !ok || !strings.Contains(f.Right, remedy) {
			t.Errorf("%s: %v, want the remedy %q", raw, err, remedy)
		}
	}
}

// alphabet has no letter of our own texts. A password of it can be told from
// them, wherever a piece of it turns up.
const alphabet = "QZJ7#/?@:;%&=+ ^|\"'[]{}<>\\,.~$!*()`_-"

// password turns any bytes into a password.
func password(seed []byte) string {
	var b strings.Builder
	for _, c := range seed {
		b.WriteByte(alphabet[int(c)%len(alphabet)])
	}
	return b.String()
}

// pieces are the parts of a password that tell something.
func pieces(password string) (all []string) {
	const least = 4
	for i := 0; i+least <= len(password); i++ {
		if piece := password[i : i+least]; strings.ContainsAny(piece, "QZJ7") {
			all = append(all, piece)
		}
	}
	return all
}

// No piece of a password is in an error, a note or a redacted URL.
func FuzzNoPieceOfAPassword(f *testing.F) {
	for _, seed := range []string{"\x03\x03\x03\x03\x04\x00\x01\x02", "\x00\x01\x02\x06\x06\x05\x01\x02\x00", "\x03\x03\x03\x03\x03\x09\x00\x01\x02\x03", "\x00\x08\x05\x05\x01\x02\x00\x03", "\x03\x07\x03\x03\x04\x03"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, seed []byte) {
		pw := password(seed)
		for _, form := range []string{
			"redis://:%@h:6379/0", "rediss://app:%@h", "redis+socket://:%@/run/r.sock", "sentinel://:%@h;sentinel://i/0",
			"valkey://:%@h?ssl_cert_reqs=none", "postgres://app:%@h:5432/n", "postgresql+psycopg2://app:%@h1,h2/n?sslmode=require",
		} {
			raw := strings.Replace(form, "%", pw, 1)
			seen := connurl.Redact(raw)
			if r, err := connurl.ParseRedis(raw); err != nil {
				seen += "\n" + err.Error()
			} else {
				seen += "\n" + strings.Join(append(r.Notes, r.Address), "\n")
			}
			if p, err := connurl.ParsePostgres(raw); err != nil {
				seen += "\n" + err.Error()
			} else {
				seen += "\n" + strings.Join(append(p.Notes, p.HostNames(), p.Ports(""), p.Database, connurl.Redact(p.URL())), "\n")
			}
			for _, piece := range pieces(pw) {
				if strings.Contains(seen, piece) {
					t.Fatalf("%s: %q is seen in\n%s", raw, piece, seen)
				}
			}
		}
	})
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                              "",
		"secret":                        "***",
		"redis://:1234#secret@db/0":     "redis://***",
		"redis://:p@ss?word@h/0":        "redis://***",
		"redis://:p@ss@h/0":             "redis://:***@h/0",
		"redis://u:p@h:1/3":             "redis://u:***@h:1/3",
		"redis://maybe@h":               "redis://***@h",
		"redis://h?token=secret&db=1":   "redis://h?db=1&token=***",
		"sentinel://:p@h;i":             "sentinel://***",
		"https://h/graphql?key=secret":  "https://h/graphql?key=***",
		"postgres://u:p@h/n?password=x": "postgres://u:***@h/n?password=***",
	} {
		if got := connurl.Redact(raw); got != want {
			t.Errorf("Redact(%s) = %s, want %s", raw, got, want)
		}
	}
}

// A URL that is written again leads to the same place.
func TestRedisURL(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"redis://h", "rediss://u:p%40@h:1/5", "redis://u@h", "redis://[::1]:6379/0", `redis://:a^b|"c d@e:f@h`,
		"unix://u:p@/run/r.sock?db=2", "redis+socket:///run/r.sock", "sentinel://:p@h;sentinel://i:1/3", "valkeys://u:p@h:1/5",
	} {
		first, err := connurl.ParseRedis(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		again, err := connurl.ParseRedis(first.URL())
		first.DB = max(first.DB, 0) // a written URL names one
		if diff := cmp.Diff(first, again); err != nil || diff != "" {
			t.Errorf("%s became %s: %v (-first +again):\n%s", raw, first.URL(), err, diff)
		}
	}
}

func TestParseSMTP(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]connurl.SMTP{
		"smtp://h":                     {TLSMode: "starttls", Host: "h", Port: 587},
		"SMTPS://h":                    {TLSMode: "implicit", Host: "h", Port: 465},
		"smtp+plain://h/":              {TLSMode: "none", Host: "h", Port: 25},
		"smtp://u:p@ss:w%2Ford@h:2525": {TLSMode: "starttls", Host: "h", Port: 2525, User: "u", Password: "p@ss:w/ord"},
		"smtp://u%40example.com:p@h":   {TLSMode: "starttls", Host: "h", Port: 587, User: "u@example.com", Password: "p"},
		"smtps://[2001:db8::1]:1":      {TLSMode: "implicit", Host: "2001:db8::1", Port: 1},
		"smtp://h?max_conns=2&hello=a.example&ca_file=/a%20b.pem": {
			TLSMode: "starttls", Host: "h", Port: 587, MaxConns: 2, HelloName: "a.example", CAFile: "/a b.pem",
		},
		"smtp://u@h?token_file=/t": {TLSMode: "starttls", Host: "h", Port: 587, User: "u", TokenFile: "/t"},
	} {
		if got, err := connurl.ParseSMTP(raw); err != nil || *got != want {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
	for raw, wrong := range map[string]string{
		"h:587": "scheme", "http://h": "scheme", "smtp://": "no host", "smtp://u:p@": "no host", "smtp://a,b": "more than one host",
		"smtp://h/x": "path", "smtp://h:99999": "port", "smtp://:p@h": "no user", "smtp://u@h": "neither a password", "smtp://u:50%@h": "%",
		"smtp://h?max_conns=0": "max_conns", "smtp://h?max_conns=many": "max_conns", "smtp://h?tls=no": `"tls"`,
		"smtp://u:p@h?token_file=/t": "password and a token_file", "smtp://h?token_file=/t": "no user", "smtp://u:a#b@h": "#", "smtp://u:a/b@h": "@",
	} {
		fault, ok := errors.AsType[*connurl.Fault](func() error { _, err := connurl.ParseSMTP(raw); return err }())
		if !ok || !strings.Contains(fault.Error(), wrong) || fault.Right == "" {
			t.Errorf("%s: %v, want a fault with %q", raw, fault, wrong)
		}
	}
}
