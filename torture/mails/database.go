package mails

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/torture/harness"
)

// database is R22.
var database = harness.Row{
	ID:   "R22",
	Goal: "PostgreSQL is stopped, answers no query, is slow, loses connections within queries, refuses the password, and fails over to a standby that is read-only at first; two services, mails to users in the queue",
	Mark: "0 lost, 0 mails to unknown addresses, 0 attempts spent, mails to users held and the health pages say why, all at full rate ≤ 60 s after; the history agrees",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		d := startDatabase(r, binary)
		before := d.rate(warmUp, toUsers...)
		for _, t := range d.troubles() {
			took := d.pass(t, before)
			r.Figure("%s: %s", t.name, took)
		}
		a := d.account(time.Minute)
		d.unharmed(a)
		disagree := d.disagree()
		r.Want(disagree == 0, "the history of each mail to agree with its result: %d do not", disagree)
		r.Figure("%s; %d histories disagree", a, disagree)
		d.Settled(time.Minute)
	},
}

// toUsers are the numbers of the kinds that need an address.
var toUsers = []int{2, 3, 4, 5}

// outaged is a stage whose database is in trouble.
type outaged struct {
	*stage
	standby *storetest.Server
	link    *proxy.Proxy
}

const mailerPassword = "mailer-9d2e"

// startDatabase starts two services whose database has a standby, and lies behind an address that
// can move.
func startDatabase(r *harness.Run, binary string) *outaged {
	r.Helper()
	d := &outaged{stage: newStage(r, binary, startRefusing(r, smtptest.Options{}).relay, warmUp+8*mailsOfTrouble(r))}
	d.users.Exec(storetest.Database, `CREATE ROLE mailer LOGIN PASSWORD '`+mailerPassword+`'; GRANT SELECT ON users TO mailer; GRANT CREATE ON DATABASE evently TO mailer`)
	d.standby = d.users.Standby()
	link, err := proxy.New(fmt.Sprintf("127.0.0.1:%d", d.users.Port))
	if err != nil {
		r.Fatalf("%v", err)
	}
	r.Cleanup(link.Close)
	d.link = link
	at := url.URL{Scheme: "postgres", User: url.UserPassword("mailer", mailerPassword), Host: link.Addr(), Path: storetest.Database, RawQuery: "sslmode=disable"}
	for n := range 2 {
		d.healthy(d.work(fmt.Sprintf("w%d", n), "CONCURRENCY=6", "DATABASE_URL="+at.String(), fmt.Sprintf("RETRY_DELAY=%d", harness.Size(r, 2, 60))))
	}
	return d
}

func mailsOfTrouble(r *harness.Run) int { return harness.Size(r, 250, 2000) }

// trouble is one of the database.
type trouble struct {
	name       string
	lasts      time.Duration
	says       string // on the health pages, while mails are held; "": mails go on
	begin, end func()
}

func (d *outaged) troubles() []trouble {
	lasts := harness.Size(d.Run, 3*time.Second, 10*time.Minute)
	var release func()
	return []trouble{
		{"stopped", lasts, "no recipient can be looked up for ", d.users.Stop, d.users.Start},
		{"no answer", max(8*time.Second, lasts/5), "no answer in time", func() { release = d.lock() }, func() { release() }},
		{"slow", max(3*time.Second, lasts/20), "", func() { d.link.Delay(150 * time.Millisecond) }, func() { d.link.Delay(0) }},
		{"connections cut within queries", max(3*time.Second, lasts/20), "", func() { release = d.cutQueries() }, func() { release() }},
		{"password refused", max(5*time.Second, lasts/5), "the server refuses the login", func() { d.password("another") }, func() { d.password(mailerPassword) }},
		{"failover", max(4*time.Second, lasts/20), "", d.failOver, d.standby.Promote},
	}
}

// pass queues mails in a trouble, and returns what came after it.
func (d *outaged) pass(t trouble, before float64) string {
	d.Helper()
	began, first := time.Now(), len(d.IDs)
	t.begin()
	mails := mailsOfTrouble(d.Run)
	if t.says == "" {
		mails /= 2 // some come later
	}
	d.ask(mails, toUsers...)
	if t.says != "" {
		d.says(d.Mark(10*time.Second), t.says, "mail tasks are held: ")
	}
	testkit.Pause(d, time.Until(began.Add(t.lasts)))
	if t.says != "" {
		d.says(d.Mark(10*time.Second), t.says, "mail tasks are held: ")
	} else {
		d.ask(mails, toUsers...)
	}
	t.end()
	over := time.Now()
	sent := len(d.relay.Mails())
	a := d.Await(d.IDs[first:], d.Mark(time.Minute)+time.Duration(mails)*50*time.Millisecond)
	d.Want(a.Done == len(d.IDs)-first, "all mails sent after %q: %s", t.name, a)
	all := d.accepted().Last().Sub(over).Round(10 * time.Millisecond)
	if t.says == "" {
		return fmt.Sprintf("%d mails sent within %v of it", len(d.IDs)-first, all)
	}
	again := d.recovered(over, before, 12)
	d.fullRate(again, t.name)
	return fmt.Sprintf("%v, %d mails held, %s, all sent after %v", t.lasts, len(d.relay.Mails())-sent, again, all)
}

// lock keeps all queries of users waiting, until the function that it returns is called.
func (d *outaged) lock() (release func()) {
	d.Helper()
	db, err := sql.Open("postgres", d.users.URL())
	if err != nil {
		d.Fatalf("%v", err)
	}
	tx, err := db.BeginTx(d.Context(), nil)
	if err == nil {
		_, err = tx.Exec("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		d.Fatalf("lock the table of users: %v", err)
	}
	return func() {
		_ = tx.Rollback() // it wrote nothing
		_ = db.Close()
	}
}

// endSessions ends all sessions of the services.
const endSessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mailer'"

// cutQueries ends all sessions of the services three times a second while a query of each waits,
// until the function that it returns is called.
func (d *outaged) cutQueries() (release func()) {
	ctx, cancel := context.WithCancel(d.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(300 * time.Millisecond); ctx.Err() == nil; {
			unlock := d.lock()
			testkit.Poll(200*time.Millisecond, func() bool { return ctx.Err() != nil })
			d.users.Exec(storetest.Database, endSessions)
			unlock()
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// password changes the password of the services' user and ends their sessions.
func (d *outaged) password(now string) {
	d.users.Exec(storetest.Database, strings.Join([]string{"ALTER ROLE mailer PASSWORD '" + now + "'", endSessions}, "; "))
}

// failOver kills the primary and moves its address to the standby, which takes no writes yet.
func (d *outaged) failOver() {
	d.users.Stop()
	d.link.Redirect(fmt.Sprintf("127.0.0.1:%d", d.standby.Port))
	d.users = d.standby
}
