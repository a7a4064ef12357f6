//go:build figures

package mails_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/monitor/pages/internal/pagestest"
	"github.com/evently/workers/monitor/pages/mails"
	"github.com/evently/workers/monitor/pages/tasks"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/ledgertest"
	"github.com/evently/workers/store/storetest"
)

// With rows, as "make ledger-figures" has them, TestFigures prints the times of pages.
var figureRows = flag.Int("pages.rows", 10_000, "mails in the tables of TestFigures")

// secretOf keeps the secret for the hashes of addresses.
type secretOf string

func (s secretOf) Secret(context.Context) ([]byte, error) { return []byte(s), nil }

// TestFigures measures each page that reads the history, at the server: from the request to the
// last byte of the document.
func TestFigures(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	db := figureDatabase(t, now)
	sealer, err := ledger.NewSealer(ledger.SealerConfig{Secrets: secretOf("figures")})
	if err != nil {
		t.Fatal(err)
	}
	reader := ledger.NewReader(ledger.ReaderConfig{DB: db, Sealer: sealer, Timeout: time.Hour})
	maker := pagestest.Maker(t, nil)
	task := fmt.Sprint("task-", *figureRows/3)
	for _, path := range []string{
		"/was-it-sent?q=" + task, "/was-it-sent?q=4242", "/was-it-sent?q=4FzQ4242", "/was-it-sent?q=nothing", "/was-it-sent?q=ada@example.com",
		"/deliveries", "/deliveries?since=24h", "/deliveries?state=dead", "/deliveries?state=accepted&since=7d", "/deliveries?q=kind:welcome", "/deliveries?q=domain:gmail.com",
		"/deliveries?q=domain:gmail.com&state=bounced", "/deliveries?q=domain:domain77.example", "/deliveries?q=class:bad_address", "/deliveries?q=user:4242",
		"/deliveries?q=kind:otp+domain:gmx.de+class:bad_address", "/deliveries?since=90d&q=domain:none.example", "next", "/deliveries/" + task, "/deliveries/" + task + "?tab=headers", "/deliveries/" + task + "/preview",
		"/tasks?q=domain:gmail.com", "/tasks?q=user:4242", "/tasks?q=class:bad_address", "/tasks?source=history", "/tasks/" + task,
	} {
		if path == "next" {
			page, err := reader.List(t.Context(), ledger.Filter{Limit: 50})
			if err != nil {
				t.Fatal(err)
			}
			path = "/deliveries?after=" + page.Next
		}
		times := make([]time.Duration, 9)
		size := 0
		for i := range times {
			// A new site each time: nothing is kept from the page before.
			site, err := web.New(web.Config{Groups: []web.Group{
				mails.New(mails.Config{History: reader, Preview: maker, Now: func() time.Time { return now }}, pagestest.Kinds()),
				tasks.New(tasks.Config{History: reader, Now: func() time.Time { return now }}),
			}})
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host, r.RemoteAddr = "127.0.0.1:5555", "127.0.0.1:40000"
			start := time.Now()
			site.ServeHTTP(w, r)
			times[i], size = time.Since(start), w.Body.Len()
			if w.Code != http.StatusOK && !strings.Contains(path, "/preview") {
				t.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
			}
		}
		slices.Sort(times)
		shown, _ := url.QueryUnescape(path)
		if len(shown) > 60 {
			shown = "/deliveries, next page"
		}
		t.Logf("| `%s` | %.0f | %.0f | %.0f | %.0f |", shown, float64(size)/1000, times[0].Seconds()*1000, times[4].Seconds()*1000, times[8].Seconds()*1000)
		if times[0] > 200*time.Millisecond { // the machine may do much else
			t.Errorf("%s takes %s, at most 200 ms", path, times[0])
		}
	}
}

// figureDatabase returns PostgreSQL with many mails, as a small server of a customer has it.
func figureDatabase(t *testing.T, now time.Time) *sqlx.DB {
	t.Helper()
	s := storetest.Postgres(t, "fsync=on", "shared_buffers=256MB", "maintenance_work_mem=512MB")
	db, err := sqlx.Open("postgres", s.URL()+"&binary_parameters=yes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	statements := []string{ledger.Migrations()}
	for months := -4; months <= 0; months++ {
		from := time.Date(now.Year(), now.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
		for _, table := range []string{"mails", "events"} {
			statements = append(statements, fmt.Sprintf("CREATE TABLE evently_mail.%s_%s PARTITION OF evently_mail.%s FOR VALUES FROM ('%s') TO ('%s')",
				table, from.Format("2006_01"), table, from.Format(time.RFC3339), from.AddDate(0, 1, 0).Format(time.RFC3339)))
		}
	}
	run := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			start := time.Now()
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%v\n%s", err, statement)
			}
			if took := time.Since(start); took > time.Second {
				t.Logf("%.0f s: %.40s", took.Seconds(), statement)
			}
		}
	}
	run(statements...)
	var indexes []string // rows are loaded faster without them
	err = db.SelectContext(t.Context(), &indexes, `SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
		WHERE i.indrelid IN ('evently_mail.mails'::regclass, 'evently_mail.events'::regclass) AND NOT i.indisprimary`)
	if err != nil {
		t.Fatal(err)
	}
	for i, definition := range indexes {
		name, _, _ := strings.Cut(strings.TrimPrefix(definition, "CREATE INDEX "), " ")
		run("DROP INDEX evently_mail." + name)
		indexes[i] = strings.Replace(definition, " ON ONLY ", " ON ", 1)
	}
	run(ledgertest.Statements(*figureRows)...)
	run(indexes...)
	run("VACUUM ANALYZE")
	return db
}
