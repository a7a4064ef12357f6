package dev_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/dev"
	"github.com/evently/workers/monitor/web"
)

// pages serves the pages of the development mode alone.
type pages struct{ site *web.Site }

func (p pages) Run(ctx context.Context, l net.Listener) error {
	s := &http.Server{Handler: p.site, ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	<-ctx.Done()
	p.site.EndStreams()
	_ = s.Close()
	<-ended
	return nil
}

func (pages) Close() {}

// operator lets everybody in.
func operator(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(web.WithActor(r.Context(), web.Actor{Name: "ada", Role: web.RoleOperator})))
	})
}

// startChaos runs the development mode with its pages of the monitor.
func startChaos(t *testing.T) running {
	t.Helper()
	return start(t, dev.Options{MonitorPort: -1, OpenMonitor: func(_ config.Lookup, groups ...web.Group) (dev.Monitor, error) {
		site, err := web.New(web.Config{Groups: groups, Guard: operator, Logger: slog.New(slog.DiscardHandler)})
		return pages{site}, err
	}})
}

// breakIt uses a switch of the page.
func breakIt(t *testing.T, r running, form url.Values) (page string) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.PostForm(r.Monitor+"/chaos", form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("POST /chaos %v: %d, %v\n%s", form, response.StatusCode, err, raw)
	}
	return string(raw)
}

// mailTo sends a mail and returns the code of the reply that refused it, 250 if none did, and 0
// without a reply.
func mailTo(r running, to string) int {
	err := smtp.SendMail(r.SMTP, nil, "a@evently.test", []string{to}, []byte("Subject: <b>hello</b>\r\nMessage-ID: <"+to+">\r\n\r\nx\r\n"))
	if err == nil {
		return 250
	}
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		return e.Code
	}
	return 0
}

// Each fault does what its name says, the page tells it, and all ends when it is switched off.
func TestChaos(t *testing.T) {
	r := startChaos(t)
	for _, c := range []struct {
		fault string
		codes []int
	}{{"421", []int{421}}, {"451", []int{451, 451}}, {"535", []int{535}}, {"550", []int{550}}, {"greylist", []int{451, 250}}, {"drop", []int{0}}, {"", []int{250}}} {
		page := breakIt(t, r, url.Values{"part": {"mail"}, "fault": {c.fault}})
		if strings.Contains(page, ">broken<") != (c.fault != "") {
			t.Errorf("%s: the page does not tell it", c.fault)
		}
		for _, want := range c.codes {
			if got := mailTo(r, "to"+c.fault+"@evently.test"); got != want {
				t.Errorf("fault %q: reply %d, want %d", c.fault, got, want)
			}
		}
	}
	breakIt(t, r, url.Values{"part": {"mail"}, "fault": {"hang"}})
	hung := make(chan int, 1)
	go func() { hung <- mailTo(r, "hang@evently.test") }()
	eventually(t, "a mail that hangs", func() bool { return strings.Contains(get(t, r.Monitor+"/chaos"), "met it: 1") })
	breakIt(t, r, url.Values{"part": {"mail"}, "fault": {""}})
	if got := <-hung; got != 451 {
		t.Errorf("the mail that hung: %d", got)
	}
	inbox := get(t, r.Monitor+"/inbox")
	if !strings.Contains(inbox, "todrop@evently.test") && strings.Count(inbox, `id="mail-`) != 3 || strings.Contains(inbox, "<b>hello") {
		t.Errorf("inbox:\n%s", inbox)
	}
	if page := get(t, r.Monitor+"/inbox/1"); !strings.Contains(page, "&lt;b&gt;hello") {
		t.Errorf("mail:\n%s", page)
	}
}

// Redis comes back on its port with its data, and the worker goes on.
func TestRedisAway(t *testing.T) {
	r := startChaos(t)
	address := strings.TrimSuffix(strings.TrimPrefix(r.Redis, "redis://"), "/0")
	breakIt(t, r, url.Values{"part": {"redis"}, "away": {"yes"}})
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("Redis still answers")
	}
	breakIt(t, r, url.Values{"part": {"redis"}, "away": {"no"}})
	breakIt(t, r, url.Values{"part": {"database"}, "away": {"yes"}})
	id := post(t, r.Page, url.Values{"task": {"send_booking_cancellation"}, "send_booking_cancellation.user_id.": {"4"}})
	eventually(t, "the health of the database", func() bool { return strings.Contains(get(t, r.Health), "no answer for") })
	eventually(t, "a task that waits for the database", func() bool { return strings.Contains(get(t, r.Page+"/tasks/"+id), "RETRY") })
	breakIt(t, r, url.Values{"part": {"database"}, "away": {"no"}})
	eventually(t, "the mail after the outage", func() bool { return strings.Contains(get(t, r.Monitor+"/inbox"), "Booking Cancelled") })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if logs := r.logs.String(); strings.Contains(logs, "last events of mails not stored") {
		t.Error("events of mails were not stored at the end")
	}
}
