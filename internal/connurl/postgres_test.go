package connurl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/internal/connurl"
)

func TestParsePostgres(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{ // as lib/pq gets it
		"postgres://u:p@h:1/n?sslmode=disable":                  `dbname='n' host='h' password='p' port='1' sslmode='disable' user='u'`,
		"postgresql://h":                                        `host='h'`,
		"postgresql+asyncpg://u@h/n?ssl=verify-full":            `dbname='n' host='h' sslmode='verify-full' user='u'`,
		"postgres://u@h/n?ssl=true":                             `dbname='n' host='h' sslmode='require' user='u'`,
		"postgres://u@h/n?ssl=false":                            `dbname='n' host='h' sslmode='disable' user='u'`,
		"postgres://u@h/n?sslmode=no-verify":                    `dbname='n' host='h' sslmode='require' user='u'`,
		"postgres://u:p^|\" w@h/n":                              `dbname='n' host='h' password='p^|" w' user='u'`,
		"postgres://u:p@ss@h/n":                                 `dbname='n' host='h' password='p@ss' user='u'`,
		"postgres://u:a'b%5Cc@h/n":                              `dbname='n' host='h' password='a\'b\\c' user='u'`,
		"postgres://u@h1:5432,h2:5433/n":                        `dbname='n' host='h1,h2' port='5432,5433' user='u'`,
		"postgres://u@h1,h2/n?port=6432":                        `dbname='n' host='h1,h2' port='6432,6432' user='u'`,
		"postgres://u@[::1]:1,h2/n":                             `dbname='n' host='::1,h2' port='1,' user='u'`,
		"postgres://u@h1,h2/n?target_session_attrs=read-write":  `dbname='n' host='h1,h2' port=',' target_session_attrs='read-write' user='u'`,
		"postgres:///n?host=/var/run/postgresql":                `dbname='n' host='/var/run/postgresql'`,
		"postgres://%2Fvar%2Frun%2Fpostgresql/n":                `dbname='n' host='/var/run/postgresql'`,
		"postgres://u@/n?host=/run/pg&port=6000":                `dbname='n' host='/run/pg' port='6000' user='u'`,
		"postgres://u@h/n?options=-c%20search_path%3Da":         `dbname='n' host='h' options='-c search_path=a' user='u'`,
		"postgres://u@h/n?connect_timeout=5&application_name=x": `application_name='x' connect_timeout='5' dbname='n' host='h' user='u'`,
		"postgres://u@h/n?sslrootcert=system":                   `dbname='n' host='h' sslmode='verify-full' sslrootcert='system' user='u'`,
		"postgres://u@h/n?schema=public":                        `dbname='n' host='h' user='u'`,
		"postgres://u@h/n?schema=app":                           `dbname='n' host='h' search_path='app' user='u'`,
		"postgres://h/n?user=u&password=p":                      `dbname='n' host='h' password='p' user='u'`,
		"postgres://u@h/n?client_encoding=utf8":                 `dbname='n' host='h' user='u'`,
		"postgres://u@h/n?TimeZone=UTC&app.tenant=7":            `app.tenant='7' dbname='n' host='h' timezone='UTC' user='u'`,
		"host=h port=1 dbname=n user=u password='a b\\'c'":      `dbname='n' host='h' password='a b\'c' port='1' user='u'`,
		"host = /run/pg  dbname = n":                            `dbname='n' host='/run/pg'`,
	} {
		p, err := connurl.ParsePostgres(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		got := p.Keywords("", "")
		if strings.Trim(p.Ports(""), ",") == "" { // nothing that the driver could read
			got = strings.Replace(got, " port=','", "", 1)
			want = strings.Replace(want, " port=','", "", 1)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", raw, got, want)
		}
		if len(p.Notes) > 0 {
			t.Errorf("%s: notes %q about nothing", raw, p.Notes)
		}
		again, err := connurl.ParsePostgres(p.URL())
		if err != nil {
			t.Errorf("%s: URL() is read with %v", raw, err)
		} else if diff := cmp.Diff(p, again); diff != "" {
			t.Errorf("%s: URL() is read otherwise (-want +got):\n%s", raw, diff)
		}
	}
}

// Parameters of hosts and other drivers are left out with a note.
func TestPostgresNotes(t *testing.T) {
	t.Parallel()
	for _, parameter := range []string{
		"channel_binding=require", "pgbouncer=true", "connection_limit=1", "pool_timeout=10", "prepared_statement_cache_size=0",
		"statement_cache_size=0", "conn_max_age=600", "keepalives_idle=30", "sslcompression=0", "require_auth=scram-sha-256",
		"uselibpqcompat=true", "prepareThreshold=0", "client_encoding=latin1", "datestyle=German", "pool_size=5",
	} {
		p, err := connurl.ParsePostgres("postgres://u:p@h/n?" + parameter)
		if err != nil {
			t.Errorf("%s: %v", parameter, err)
			continue
		}
		name, _, _ := strings.Cut(strings.ToLower(parameter), "=")
		if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], name) || len(p.Params) != 0 {
			t.Errorf("%s: notes %q, parameters %v", parameter, p.Notes, p.Params)
		}
	}
}

func TestPostgresFaults(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"mysql://h/n":                                         "postgres://",
		"postgres://u@h/n?frobnicate=1":                       `"frobnicate"`,
		"postgres://u@h/n?sslmode=maybe":                      "sslmode",
		"postgres://u@h/n?sslmode=require&sslrootcert=system": "verify-full",
		"postgres://u@h/n?replication=database":               "replication",
		"postgres://u@h/n?gssencmode=require":                 "gssencmode",
		"postgres://u:p#w@h/n":                                "# as %23",
		"postgres://u:1234#w@h/n":                             "# as %23",
		"postgres://u:p/w@h/n":                                "/ as %2F",
		"postgres://u:p%zz@h/n":                               "%25",
		"postgres://h1,h2,h3/n?port=1,2":                      "one port",
		"postgres://h/n?port=x":                               "port",
		"host=h dbname":                                       "keyword=value",
		"host=h password='x":                                  "keyword=value",
		"host=h frobnicate=x":                                 "frobnicate",
		"nothing":                                             "begin with postgres://",
	} {
		_, err := connurl.ParsePostgres(raw)
		if _, ok := errors.AsType[*connurl.Fault](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", raw, err, want)
		}
	}
}
