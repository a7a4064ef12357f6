package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/redis/redistest"
)

const canary = "s3cret-Canary"

// run runs the command and returns its output and its findings by their names.
func run(t *testing.T, c Cmd) (out string, findings map[string]finding, err error) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c.Timeout, c.JSON = 10*time.Second, true
	runErr := c.Run(t.Context(), term.Terminal{In: f, Out: f, Err: f})
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return string(text), nil, runErr
	}
	findings = map[string]finding{}
	for _, f := range r.Checks {
		findings[f.Check] = f
	}
	var b strings.Builder
	if err := r.print(&b, 80); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 81 {
			t.Errorf("line of %d columns: %s", len(line)-1, line)
		}
	}
	if strings.Contains(b.String()+string(text), canary) {
		t.Errorf("a secret is told:\n%s", b.String())
	}
	return b.String(), findings, runErr
}

// unused returns a port without a listener.
func unused(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestDoctor(t *testing.T) {
	db := storetest.Postgres(t)
	db.Exec(storetest.Database, "CREATE ROLE mailer LOGIN PASSWORD '"+canary+"'")
	relay := smtptest.New(t, smtptest.Options{Username: "mailer", Password: canary})
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "otp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "otp", "text.tmpl"), []byte("{{.Nothing}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	mailer := fmt.Sprintf("postgres://mailer:%s@127.0.0.1:%d/%s?sslmode=disable", canary, db.Port, storetest.Database)
	for name, value := range map[string]string{
		"REDIS_URL": redistest.Start(t).URL(0), "DATABASE_URL": mailer, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": fmt.Sprint(relay.Port()),
		"SMTP_TLS_MODE": "none", "SMTP_USERNAME": "mailer", "SMTP_PASSWORD": canary, "FROM_ADDRESS": "tickets@example.com",
	} {
		t.Setenv(name, value)
	}
	expect := func(what string, c Cmd, check, status, text string) {
		t.Helper()
		out, findings, err := run(t, c)
		f := findings[check]
		if f.Status != status || !strings.Contains(f.Text+strings.Join(f.Notes, " "), text) {
			t.Errorf("%s: want %s %s %q\n%s", what, check, status, text, out)
		}
		if status == failed && !errors.Is(err, term.ErrSilent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect("no right to the table", Cmd{}, "database", failed, "GRANT SELECT ON users")
	expect("no right to make tables", Cmd{}, "history", degraded, "lacks rights (42501)")
	db.Exec(storetest.Database, "GRANT SELECT ON users TO mailer; GRANT CREATE ON DATABASE "+storetest.Database+" TO mailer")
	expect("no tables", Cmd{}, "history", ok, "a worker makes its tables")
	db.Exec(storetest.Database, "REVOKE CREATE ON DATABASE "+storetest.Database+" FROM mailer")
	db.Exec(storetest.Database, ledger.Migrations())
	expect("no right to the schema", Cmd{}, "history", degraded, "lacks rights (42501)")
	db.Exec(storetest.Database, "GRANT USAGE ON SCHEMA evently_mail TO mailer")
	db.Exec(storetest.Database, "GRANT SELECT ON evently_mail.migrations TO mailer")
	expect("no right to the tables", Cmd{}, "history", degraded, "(42501) to audit")
	db.Exec(storetest.Database, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA evently_mail TO mailer")
	expect("tables of another user", Cmd{}, "history", degraded, "make and drop no partitions")

	out, findings, err := run(t, Cmd{})
	if err != nil || findings["database"].Status != ok || findings["mail"].Status != ok || !strings.Contains(findings["mail"].Text, "not tried (--login)") ||
		findings["templates"].Status != ok || findings["zero"].Status != off || findings["redis"].Status != ok {
		t.Errorf("all is well: %v\n%s", err, out)
	}
	expect("the login", Cmd{Login: true}, "mail", ok, "logged in")
	t.Setenv("SMTP_PASSWORD", "wrong")
	expect("a wrong password", Cmd{Login: true}, "mail", failed, "535")
	t.Setenv("SMTP_PORT", fmt.Sprint(unused(t)))
	expect("no relay", Cmd{}, "mail", failed, "refused")
	t.Setenv("TEMPLATES_DIR", folder)
	expect("templates with a fault", Cmd{}, "templates", failed, "see templates lint")
	t.Setenv("DATABASE_URL", fmt.Sprintf("postgres://mailer:x@127.0.0.1:%d/evently?sslmode=disable", unused(t)))
	expect("no database", Cmd{}, "database", failed, "it refuses connections: start it, or correct host and port")
	t.Setenv("ZERO_TOKEN", canary)
	t.Setenv("ZERO_URL", web.URL+"/graphql")
	expect("no secrets", Cmd{}, "zero", failed, "HTTP status 404")
}
