package site_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/store/storetest"
	"github.com/evently/workers/worker/redis/redistest"
)

// PostgreSQL hangs: one page waits for it, then pages say at once what is missing, and actions
// are done, with their entries of the audit trail in Redis. Once it goes on, pages show it.
func TestFrozenDatabase(t *testing.T) {
	t.Parallel()
	redis, postgres := redistest.Start(t), storetest.Postgres(t)
	base, _ := startMonitor(t, map[string]string{
		"REDIS_URL": redis.URL(0), "DATABASE_URL": postgres.URL(), "LEDGER_KEY": "k3y-of-the-operator", "SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9",
		"HEALTH_ADDR": "off", "MONITOR_ADDR": "127.0.0.1:5555", "AUDIT_KEY": "k3y-of-the-trail-of-the-test",
	})
	get(t, base+"/audit") // has a connection
	thaw := postgres.Freeze()
	began := time.Now()
	get(t, base+"/deliveries")
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the first page took %v", took)
	}
	// Without a database that hangs they take some milliseconds. There are three tries, as the machine
	// may be busy; a page that waits for the database is slow in each.
	const patience, tries = 2 * time.Second, 3
	for _, path := range []string{"/", "/tasks", "/tasks?q=user:42", "/was-it-sent?q=ada@mail.example", "/deliveries", "/suppressions", "/audit", "/dead-letters", "/queues", "/workers", "/health", "/templates"} {
		for try := 1; ; try++ {
			began := time.Now()
			status, text := get(t, base+path)
			took := time.Since(began)
			if took > patience && try < tries {
				continue
			} else if took > patience || status >= 500 {
				t.Errorf("%s: %d after %v", path, status, took)
			}
			if strings.HasPrefix(path, "/deliveries") && !strings.Contains(text, "does not answer") {
				t.Errorf("%s does not say what is missing", path)
			}
			break
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for try := 1; ; try++ {
		var slow []string
		for _, verb := range []string{"pause", "resume"} {
			began := time.Now()
			reply, err := client.PostForm(base+"/queues/email_notifications/"+verb, url.Values{"note": {"database hangs"}})
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			if took := time.Since(began); took > 2*patience || reply.StatusCode != http.StatusSeeOther {
				slow = append(slow, fmt.Sprintf("%s: %d after %v", verb, reply.StatusCode, took))
			}
		}
		if len(slow) == 0 {
			break
		}
		if try == tries {
			t.Fatalf("%q", slow)
		}
	}
	thaw()
	if !testkit.Poll(30*time.Second, func() bool {
		_, text := get(t, base+"/deliveries")
		return !strings.Contains(text, "does not answer")
	}) {
		t.Error("the database goes on, and the page does not")
	}
}
