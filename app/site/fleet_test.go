package site_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/redistest"
)

// Scripts that ask Flower and a Prometheus that scrapes celery-exporter find what they know,
// without a database and without a worker. Secrets of Python's events are hidden.
func TestNamesOfFlowerAndExporter(t *testing.T) {
	server := redistest.Start(t)
	metrics := "127.0.0.1:" + testkit.FreePort(t)
	base, _ := startMonitor(t, map[string]string{
		"REDIS_URL": server.URL(0), "HEALTH_ADDR": "off", "CELERY_METRICS_ADDR": metrics, "DATABASE_URL": "", "LOG_LEVEL": "error",
		"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1", "SMTP_TLS_MODE": "none",
	})
	conn := server.Conn(0)
	publish := func() {
		for _, e := range []string{
			`"type": "worker-heartbeat", "freq": 2, "active": 3`,
			`"type": "task-received", "uuid": "abc", "name": "email_workers.tasks.send_otp_verification_email", "args": "({'email': 'ada@mail.example', 'otp': '493817'},)", "kwargs": "{}"`,
			`"type": "task-failed", "uuid": "abc", "exception": "ValueError('493817')"`,
		} {
			body := fmt.Sprintf(`{"hostname": "celery@alpha", "timestamp": %d, "clock": 1, "utcoffset": 0, "pid": 7, %s}`, time.Now().Unix(), e)
			raw, err := protocol.AppendEvents(nil, "task.multi", "celery@alpha", "tag", []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Do("PUBLISH", "/0.celeryev/task.multi", raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask := func(url string) (status int, text string) {
		reply, err := http.Get(url)
		if err != nil {
			return 0, ""
		}
		defer reply.Body.Close()
		b, _ := io.ReadAll(reply.Body)
		return reply.StatusCode, string(b)
	}
	testkit.Eventually(t, 60*time.Second, "the task is known", func() bool {
		publish() // the first ones may come before the monitor listens
		_, types := ask(base + "/api/task/types")
		_, workers := ask(base + "/api/workers?status=1")
		return strings.Contains(types, "send_otp") && strings.Contains(workers, "alpha")
	})
	for url, want := range map[string]string{
		base + "/api/task/info/abc":               `"state":"FAILURE"`,
		base + "/api/tasks?state=FAILURE":         `"abc":{`,
		base + "/api/task/types":                  `send_otp_verification_email`,
		base + "/api/workers?status=1":            `{"celery@alpha":true}`,
		base + "/api/queues/length":               `{"active_queues":[{"name":"email_notifications","messages":0}]}`,
		base + "/workers?json=1":                  `"data":[{`,
		base + "/healthcheck":                     "OK",
		base + "/metrics":                         `flower_worker_online{worker="celery@alpha"} 1.0`,
		"http://" + metrics + "/metrics":          `celery_worker_tasks_active{hostname="alpha"} 3.0`,
		"http://" + metrics + "/health":           "Connected to the broker",
		base + "/api/task/info/abc?":              "[redacted]",
		"http://" + metrics + "/metrics?name[]=x": `celery_queue_length{queue_name="email_notifications"} 0.0`,
		base + "/api/task/result/abc":             `{"state":"PENDING","task-id":"abc"}`,
	} {
		var status int
		var text string
		if !testkit.Poll(20*time.Second, func() bool {
			publish() // a worker that is silent goes offline
			status, text = ask(url)
			return strings.Contains(text, want)
		}) {
			t.Errorf("%s: status %d, %s; want %s", url, status, text, want)
		}
		if strings.Contains(text, "493817") || strings.Contains(text, "ada@") {
			t.Errorf("%s shows a secret: %s", url, text)
		}
	}
}
