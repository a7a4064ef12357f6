package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/proxy"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// outageScale is the size of an outage: small in CI, OUTAGE=10m for the whole.
type outageScale struct {
	lasts        time.Duration
	before       int // mails that are sent before it, for the rate
	mails, codes int
}

func scaleOfOutage(t *testing.T) outageScale {
	t.Helper()
	text := os.Getenv("OUTAGE")
	if text == "" {
		return outageScale{20 * time.Second, 300, 400, 30}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("OUTAGE: %v", err)
	}
	return outageScale{d, 600, 2000, 200}
}

// outageWorld is the service with two workers whose relay and database are behind proxies.
type outageWorld struct {
	*platform
	t               testing.TB
	server          *smtptest.Server
	relay, database *proxy.Proxy
	workers         [2]*process
	health          [2]string
	begin           func(i int, name string) // starts a worker
	pushed          int

	mu       sync.Mutex
	accepted testkit.Throughput // mails, by the relay
}

// relayTime is what the relay takes for each reply. So the rate depends on it and on the number
// of connections, and less on what else the machine does.
const relayTime = 25 * time.Millisecond

const outageUser = 4711

func startOutageWorld(t *testing.T) *outageWorld {
	t.Helper()
	w := &outageWorld{platform: startPlatform(t), t: t}
	w.addUser(t, outageUser, "ann@example.com", true)
	w.server = smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		time.Sleep(relayTime) // the relay is slow
		if s.Command == "." {
			w.mu.Lock()
			w.accepted = append(w.accepted, time.Now())
			w.mu.Unlock()
		}
		return smtptest.Action{}
	}})
	through := func(target string) *proxy.Proxy {
		p, err := proxy.New(target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	w.relay, w.database = through(w.server.Addr()), through(fmt.Sprintf("127.0.0.1:%d", w.postgres.Port))
	_, port, _ := strings.Cut(w.relay.Addr(), ":")
	url := strings.Replace(w.postgres.URL(), fmt.Sprintf("127.0.0.1:%d", w.postgres.Port), w.database.Addr(), 1)
	w.begin = func(i int, name string) {
		health := freePort(t)
		w.health[i] = "http://127.0.0.1:" + health
		w.workers[i] = start(t, "worker "+name, w.env(t, "WORKER_NAME="+name+"@%h",
			"SMTP_PORT="+port, "DATABASE_URL="+url, "HEALTH_ADDR=127.0.0.1:"+health, "LOG_LEVEL=info", "CONCURRENCY=6", "OWNER_TIMEOUT=5"), bin.service, "run")
	}
	for i := range w.workers {
		w.begin(i, "w"+strconv.Itoa(i))
	}
	eventually(t, 30*time.Second, "both workers consume", func() bool {
		return strings.Contains(w.get(0, "/health"), `"healthy"`) && strings.Contains(w.get(1, "/health"), `"healthy"`)
	})
	return w
}

func (w *outageWorld) get(worker int, path string) string {
	client := &http.Client{Timeout: 2 * time.Second}
	reply, err := client.Get(w.health[worker] + path)
	if err != nil {
		return err.Error()
	}
	defer reply.Body.Close()
	text, _ := io.ReadAll(reply.Body)
	return string(text)
}

// times returns when the relay accepted mails.
func (w *outageWorld) times() testkit.Throughput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.accepted)
}

// push publishes a task, and returns its id.
func (w *outageWorld) push(task, args string, headers ...protocol.Header) string {
	w.t.Helper()
	w.pushed++
	m := &protocol.Message{
		Protocol: 2, ID: fmt.Sprintf("6f2b9a51-1d9c-4a8c-a0c3-%012d", w.pushed), Task: prefix + task,
		Args: protocol.Raw(args), Kwargs: protocol.Raw(`{}`),
		DeliveryTag: fmt.Sprintf("7d1f2c3a-8f5b-4f6b-9b6e-%012d", w.pushed), RoutingKey: queue,
	}
	for _, h := range headers {
		m.SetHeader(h.Name, h.Value)
	}
	raw, err := protocol.Encode(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.redis.do("LPUSH", queue, raw)
	return m.ID
}

// booking publishes a confirmation whose subject has the number in it.
func (w *outageWorld) booking(n int) string {
	return w.push("send_booking_confirmation", fmt.Sprintf(`[%d, {"event_name": "Event %06d"}]`, outageUser, n))
}

// code publishes a code that a worker has first seen at a time.
func (w *outageWorld) code(n int, seen time.Time) string {
	return w.push("send_otp_verification_email", fmt.Sprintf(`[{"email": "guest%d@example.com", "otp": "%06d"}]`, n, n),
		worker.TimeHeader("evently_first_seen", seen))
}

// displaced returns the greatest distance of a mail from its place, but for a few that had
// been tried when the outage began.
func displaced(mails []smtptest.Mail, few int) int {
	var order []int
	for _, m := range mails {
		_, rest, ok := strings.Cut(string(m.Data), "\r\nSubject: Booking Confirmation - Event ")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(rest[:6])
		if err == nil {
			order = append(order, n)
		}
	}
	distances := make([]int, len(order))
	for place, n := range order {
		distances[place] = max(place-n, n-place)
	}
	slices.Sort(distances)
	return distances[max(0, len(distances)-1-few)]
}

// An outage of the relay, of the database or of both costs no attempt, no mail and no
// order. Codes that expire meanwhile are answered in time, and so is health_check. The rate of
// mails is that of before within a minute after the end.
func TestOutage(t *testing.T) {
	scale := scaleOfOutage(t)
	for _, test := range []struct {
		name            string
		relay, database bool
		cause           string // as the health tells
	}{
		{"relay", true, false, `"no mail gets out for `},
		{"database", false, true, `"no recipient can be looked up for `},
		{"both", true, true, `"no mail gets out for `},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startOutageWorld(t)
			set := func(mode proxy.Mode) {
				for p, concerned := range map[*proxy.Proxy]bool{w.relay: test.relay, w.database: test.database} {
					if !concerned {
						continue
					}
					if err := p.Set(mode); err != nil {
						t.Fatal(err)
					}
				}
			}
			var ids []string
			for n := range scale.before {
				ids = append(ids, w.booking(n))
			}
			awaitResults(w.redis, ids, time.Minute)
			at := w.times()
			rate := at.Median(at[len(at)/10], at.Last())

			set(proxy.Refuse)
			began := time.Now()
			for n := range scale.mails {
				ids = append(ids, w.booking(scale.before+n))
			}
			lasting, expiring := []string{}, []string{}
			const life = 10 * time.Minute
			for n := range scale.codes {
				// A third expires in the middle of an outage of the relay, which sends none of them. Without a
				// database each is sent, however long that takes.
				if n%3 == 0 && test.relay {
					expiring = append(expiring, w.code(n, began.Add(scale.lasts/2-life)))
				} else {
					lasting = append(lasting, w.code(n, began.Add(scale.lasts+5*time.Minute-life)))
				}
			}
			eventually(t, time.Minute, "both workers keep the tasks in the queue, and say so", func() bool {
				for i := range w.workers {
					if health := w.get(i, "/health"); !strings.Contains(health, test.cause) || !strings.Contains(health, "mail tasks are held: ") {
						return false
					}
				}
				return true
			})
			t.Logf("held after %v", time.Since(began).Round(time.Millisecond))
			check := w.push("health_check", `[]`)
			asked := time.Now()
			awaitResults(w.redis, []string{check}, 30*time.Second) // the codes are in front of it
			t.Logf("health_check behind %d messages answered after %v", w.redis.waiting(queue), time.Since(asked).Round(time.Millisecond))
			if test.relay {
				expiry := began.Add(scale.lasts / 2)
				time.Sleep(time.Until(expiry))
				awaitResults(w.redis, expiring, 30*time.Second)
				t.Logf("expired codes answered within %v", time.Since(expiry).Round(time.Millisecond))
				for id, r := range w.redis.results(expiring) {
					if !strings.Contains(string(r.Result), `expired`) {
						t.Errorf("code %s: %s", id, r.Result)
					}
				}
			} else {
				awaitResults(w.redis, lasting, time.Minute) // they need no database
			}
			time.Sleep(time.Until(began.Add(scale.lasts)))
			sent := len(w.server.Mails())
			if n := sent - scale.before; test.relay && n > 0 {
				t.Errorf("%d mails during the outage", n)
			}
			set(proxy.Pass)
			over := time.Now()
			eventually(t, time.Minute, "all breakers are closed", func() bool {
				metrics := w.get(0, "/metrics") + w.get(1, "/metrics")
				return strings.Count(metrics, `state="closed"} 1`) == 4 && strings.Count(metrics, "held_task_kinds 0") == 2
			})
			t.Logf("all breakers closed after %v", time.Since(over).Round(time.Millisecond))
			want := len(ids) + len(lasting)
			enough := time.Minute + time.Duration(1.5*float64(want-sent)/rate*float64(time.Second))
			eventually(t, enough, "all mails are sent", func() bool { return len(w.times()) >= want })
			awaitResults(w.redis, append(slices.Clone(ids), lasting...), time.Minute)
			again := w.times().Recovery(over, rate)
			t.Logf("%v; all %d after %v", again, want-sent, w.times().Last().Sub(over).Round(time.Millisecond))
			if again.Full == 0 || again.Full > time.Minute {
				t.Errorf("full rate not within a minute: %v", again)
			}

			mails := w.server.Mails()
			seen := map[string]int{}
			for _, m := range mails {
				for line := range strings.Lines(string(m.Data)) {
					if id, ok := strings.CutPrefix(line, "Message-ID: "); ok {
						seen[id]++
					}
				}
			}
			if len(mails) != want || len(seen) != want {
				t.Errorf("%d mails, %d different ones, want %d", len(mails), len(seen), want)
			}
			if n := w.redis.int("HLEN", "_goworker.1.dead"); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			breakers := 0
			for _, concerned := range []bool{test.relay, test.database} {
				if concerned {
					breakers++
				}
			}
			for _, p := range w.workers {
				log := p.out.String()
				if n := strings.Count(log, "mail will be retried"); n != 0 {
					t.Errorf("%s spent %d attempts", p.name, n)
				}
				for _, line := range []string{"circuit breaker open", "circuit breaker closed", "mail tasks held", "mail tasks released"} {
					// A busy machine may make one of them open once more.
					if n := strings.Count(log, `"`+line); n > breakers+1 {
						t.Errorf("%s: %d lines %q", p.name, n, line)
					}
				}
			}
			const few = 40 // messages at hand when the outage began
			distance := displaced(mails, few)
			t.Logf("a mail is at most %d places from its own, but for %d", distance, few)
			if distance > 40 {
				t.Errorf("order: a mail is %d places from its own", distance)
			}
			w.redis.settled(queue)
		})
	}
}

// Workers are killed in the middle of an outage: first one of two, then the other one. The
// messages stay in their queue, in their order, and the worker that is left holds them on. The
// codes of the dead workers come back.
func TestKilledDuringAHold(t *testing.T) {
	t.Parallel()
	w := startOutageWorld(t)
	if err := w.relay.Set(proxy.Refuse); err != nil {
		t.Fatal(err)
	}
	const mails, codes = 200, 6
	var ids []string
	for n := range mails {
		ids = append(ids, w.booking(n))
	}
	for n := range codes {
		ids = append(ids, w.code(n, time.Now()))
	}
	holds := func(worker int) bool {
		return strings.Contains(w.get(worker, "/health"), "mail tasks are held: ")
	}
	eventually(t, 30*time.Second, "both workers hold the mails", func() bool { return holds(0) && holds(1) })
	unclaimed := func() bool { return w.redis.waiting(queue) >= mails && w.redis.int("HLEN", "unacked") <= codes }
	eventually(t, 30*time.Second, "the mails are in their queue", unclaimed)
	w.workers[0].kill()
	w.begin(0, "w2")
	eventually(t, 30*time.Second, "a new worker holds the mails, too", func() bool { return holds(0) && holds(1) && unclaimed() })
	w.workers[1].kill()
	eventually(t, 30*time.Second, "the one that is left holds the mails on", func() bool { return holds(0) && unclaimed() })
	if n := len(w.server.Mails()); n != 0 {
		t.Errorf("%d mails during the outage", n)
	}
	if err := w.relay.Set(proxy.Pass); err != nil {
		t.Fatal(err)
	}
	awaitResults(w.redis, ids, 2*time.Minute)
	seen := map[string]int{}
	for _, m := range w.server.Mails() {
		for line := range strings.Lines(string(m.Data)) {
			if id, ok := strings.CutPrefix(line, "Message-ID: "); ok {
				seen[id]++
			}
		}
	}
	if n := len(w.server.Mails()); n != mails+codes || len(seen) != n {
		t.Errorf("%d mails, %d different ones, want %d", n, len(seen), mails+codes)
	}
	if n := w.redis.int("HLEN", "_goworker.1.dead"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if n := strings.Count(w.workers[0].out.String(), "mail will be retried"); n != 0 {
		t.Errorf("%d attempts were spent", n)
	}
	const few = 40 // messages at hand when the outage began
	distance := displaced(w.server.Mails(), few)
	t.Logf("a mail is at most %d places from its own, but for %d", distance, few)
	if distance > 20 {
		t.Errorf("order: a mail is %d places from its own", distance)
	}
	w.redis.settled(queue)
}
