package mails

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/torture/harness"
)

// cold is R31.
var cold = harness.Row{
	ID:   "R31",
	Goal: "Redis, PostgreSQL, the relay and Zero refuse connections when a service starts, for 2 minutes, and come back in any order; the password of the relay is in a file, the address and password of Redis are in Zero",
	Mark: "no exit, `/health` is red or degraded and names a reason, green by itself < 2 s after the last one is back; waiting mails are sent",
	Run: func(r *harness.Run) {
		binary := harness.Build(r, r.TempDir(), "evently-workers", service, r.Kind.Flags...)
		c := startCold(r, binary)
		rounds, lasts := harness.Size(r, 1, 4), harness.Size(r, 2*time.Second, 2*time.Minute)
		var worst time.Duration
		var orders []string
		for n := range rounds {
			order := r.Chance.Perm(len(c.parts))
			if r.Long { // each is the last one once
				order = append(without(order, n), n)
			}
			took, names := c.round(lasts, order)
			worst = max(worst, took)
			orders = append(orders, names+fmt.Sprintf(" (%v)", took.Round(time.Millisecond)))
		}
		r.Figure("%d starts, without servers for %v: green at most %v after the last one: %s; 0 exits", rounds, lasts, worst.Round(time.Millisecond), strings.Join(orders, "; "))
		r.Want(worst <= r.Mark(2*time.Second), "green within 2 s after the last one: %v", worst)
	},
}

func without(all []int, n int) (rest []int) {
	for _, m := range all {
		if m != n {
			rest = append(rest, m)
		}
	}
	return rest
}

// coldStage is a stage whose servers are behind addresses that can refuse connections.
type coldStage struct {
	*stage
	env   []string
	parts []coldPart
}

// coldPart is a server that a service needs.
type coldPart struct {
	name string
	link *proxy.Proxy
}

const redisPassword = "redis-41c8"

// startCold starts the servers, and no service.
func startCold(r *harness.Run, binary string) *coldStage {
	r.Helper()
	const user, password = "mailer", "relay-5e07"
	relay := startRefusing(r, smtptest.Options{Username: user, Password: password})
	c := &coldStage{stage: newStage(r, binary, relay.relay, 200)}
	c.Redis.Do("ACL", "SETUSER", "mailer", "on", ">"+redisPassword, "~*", "&*", "+@all")
	at := map[string]string{}
	zero := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		_, _ = fmt.Fprintf(w, `{"data": {"secrets": [{"name": "evently", "fields": [{"name": "redis-url", "value": "redis://mailer:%s@%s/0"}]}]}}`, redisPassword, at["Redis"])
	}))
	r.Cleanup(zero.Close)
	for _, p := range [][2]string{
		{"Redis", c.Redis.Addr()}, {"PostgreSQL", fmt.Sprintf("127.0.0.1:%d", c.users.Port)},
		{"relay", relay.Addr()}, {"Zero", zero.Listener.Addr().String()},
	} {
		link, err := proxy.New(p[1])
		if err != nil {
			r.Fatalf("%v", err)
		}
		r.Cleanup(link.Close)
		c.parts, at[p[0]] = append(c.parts, coldPart{p[0], link}), link.Addr()
	}
	file := filepath.Join(r.TempDir(), "relay")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		r.Fatalf("%v", err)
	}
	port := func(name string) string { _, p, _ := strings.Cut(at[name], ":"); return p }
	c.env = []string{
		"REDIS_URL=", // it is in Zero
		"DATABASE_URL=" + strings.Replace(c.users.URL(), fmt.Sprintf(":%d/", c.users.Port), ":"+port("PostgreSQL")+"/", 1),
		"SMTP_PORT=" + port("relay"), "SMTP_USERNAME=" + user, "SMTP_PASSWORD_FILE=" + file,
		"ZERO_URL=http://" + at["Zero"] + "/", "ZERO_TOKEN=token-90d2",
	}
	return c
}

// round starts a service while nothing answers, and brings one server after the other back. It
// returns how long after the last one the service was green.
func (c *coldStage) round(lasts time.Duration, order []int) (took time.Duration, names string) {
	c.Helper()
	for _, p := range c.parts {
		c.set(p, proxy.Refuse)
	}
	first := len(c.IDs)
	c.ask(12)
	began := time.Now()
	proc := c.work("cold", c.env...)
	back := began
	for i, n := range order {
		// All are unavailable for two thirds of the time, and the last one comes back at its end.
		c.red(proc, order[i:], began.Add(lasts*2/3+lasts/3*time.Duration(i+1)/time.Duration(len(order))))
		c.set(c.parts[n], proxy.Pass)
		back = time.Now()
		names += strings.Repeat(", ", min(i, 1)) + c.parts[n].name
	}
	testkit.Eventually(c, time.Minute, "the service is healthy", func() bool { return green(proc) })
	took = time.Since(back)
	a := c.Await(c.IDs[first:], time.Minute)
	c.Want(a.Done == 12 && a.Failed == 0, "the mails that waited are sent: %s", a)
	c.Want(!proc.Ended(), "no exit")
	proc.Kill()
	return took, names
}

func (c *coldStage) set(p coldPart, mode proxy.Mode) {
	c.Helper()
	if err := p.link.Set(mode); err != nil {
		c.Fatalf("%s: %v", p.name, err)
	}
}

// green reports whether a service finds all its parts well. Without a database alone it is degraded.
func green(proc *testkit.Process) bool {
	_, text := health(proc)
	var report struct{ Status string }
	return json.Unmarshal([]byte(text), &report) == nil && report.Status == "healthy"
}

// red checks until a time that a service lives, is not green, and says why, while these parts are
// unavailable.
func (c *coldStage) red(proc *testkit.Process, parts []int, until time.Time) {
	c.Helper()
	reason := "no answer"
	named := testkit.Poll(c.Mark(5*time.Second), func() bool {
		if proc.Ended() || len(parts) == 1 && time.Now().After(until) {
			return true
		}
		_, reason = health(proc)
		return !green(proc) && slices.ContainsFunc([]string{"unavailable", "refuse", "no answer", "not asked", "cannot"}, func(w string) bool { return strings.Contains(reason, w) })
	})
	c.Want(named, "a health page that says why: %s", reason)
	healthy := testkit.Poll(time.Until(until), func() bool { return green(proc) })
	c.Want(!healthy, "no green health page while a server is unavailable: %s", reason)
	c.Want(!proc.Ended(), "no exit")
}
