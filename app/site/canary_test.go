package site_test

import (
	"archive/zip"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/worker/canvas"
)

// canaries are secrets of tasks that end in each way. None may be seen outside of the
// producer's own message and the mail.
var canaries = map[string]string{
	"code that is mailed": "481516", "code of a refused mail": "342815", "code that waits": "623420", "code of an unknown task": "768231", "password of an unknown task": "corr3ct-h0rse",
	"token of a login": "t0k3n-of-nobody", "name of a login": "passw0rd-as-a-name",
}

// TestCanaries sends marked secrets with the monitor running, and looks for them on every
// page, in the interfaces for programs, metrics and bundle, in what Redis and PostgreSQL keep, in the
// log and the events of the worker, and in what top prints.
func TestCanaries(t *testing.T) {
	t.Parallel()
	w := startWorld(t, map[string]string{"MONITOR_ANONYMOUS_ROLE": "admin", "LOG_LEVEL": "debug"})
	channels := w.listen(t)
	to := canvas.Options{Queue: "email_notifications"}
	code := func(address, canary string) map[string]any {
		return map[string]any{"email": address, "otp": canaries[canary], "user_data": map[string]any{"username": "kofi"}}
	}
	w.send(t, "mailed", "send_otp_verification_email", to, code("ada@mail.example", "code that is mailed"))
	w.send(t, "refused", "send_otp_verification_email", to, code("refused@mail.example", "code of a refused mail"))
	w.send(t, "waits", "send_otp_verification_email", canvas.Options{Queue: "email_notifications", Countdown: time.Hour}, code("ada@mail.example", "code that waits"))
	w.send(t, "unknown", "no_such_task", to, map[string]any{"otp": canaries["code of an unknown task"], "password": canaries["password of an unknown task"]})
	conn := w.redis.Conn(0)
	defer conn.Close()
	testkit.Eventually(t, 60*time.Second, "dead letters, and a mail", func() bool {
		n, err := conn.Do("HLEN", "_goworker.1.dead")
		return err == nil && n.(int64) >= 2 && strings.Contains(w.worker.Out.String(), `"msg":"mail sent"`) && strings.Contains(channels(), "task-succeeded")
	})

	places := map[string]string{}
	for _, flags := range []string{"--once", "--json"} {
		env := []string{asCommand + "=1"}
		for name, value := range w.env {
			env = append(env, name+"="+value)
		}
		p := testkit.Start(t, "top "+flags, env, os.Args[0], "top", flags)
		<-p.Done
		places["top "+flags] = p.Out.String()
	}
	read := func(path string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+path, nil)
		req.Header.Set("Accept", "text/html")
		req.SetBasicAuth(canaries["name of a login"], canaries["token of a login"])
		if reply, err := http.DefaultClient.Do(req); err == nil { // refused, and logged
			reply.Body.Close()
		}
		_, places["page "+path] = get(t, w.base+path)
	}
	for _, path := range w.crawl(t) {
		read(path)
	}
	for _, path := range []string{"/api/tasks", "/api/workers?refresh=true", "/api/queues/length", "/api/task/types", "/metrics", "/healthcheck", "/workers?json=1"} {
		read(path)
	}
	for _, id := range w.ids {
		for _, path := range []string{"/tasks/", "/api/task/info/", "/api/task/result/", "/dead-letters/", "/deliveries/", "/was-it-sent?q="} {
			read(path + id)
		}
	}
	reply, err := http.Get(w.base + "/incident/bundle.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	raw, _ := io.ReadAll(reply.Body)
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatalf("the bundle: %v: %.200s", err, raw)
	}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(in)
		in.Close()
		places["bundle "+f.Name] = string(text)
	}
	keys, err := conn.Do("KEYS", "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys.([]any) {
		name := string(key.([]byte))
		if strings.HasPrefix(name, "_goworker.1.") || strings.HasPrefix(name, "celery-task-meta") {
			for _, command := range [][]any{{"GET", name}, {"HGETALL", name}, {"ZRANGE", name, 0, -1}, {"XRANGE", name, "-", "+"}, {"SMEMBERS", name}} {
				if value, err := conn.Do(command[0].(string), command[1:]...); err == nil {
					places["key "+name] += fmt.Sprintf("%s", value)
				}
			}
		}
	}
	rows(t, w.postgres.URL(), places)
	places["log of the worker"], places["events of the worker"] = w.worker.Out.String(), channels()
	for place, proof := range map[string]string{"log of the worker": `"msg":"mail sent"`, "events of the worker": "task-succeeded", "top --once": "email_notifications", "top --json": `"workers"`} {
		if !strings.Contains(places[place], proof) {
			t.Errorf("%s has no %q:\n%s", place, proof, places[place])
		}
	}
	if len(places) < 60 {
		t.Errorf("%d places were looked at: this test proves little", len(places))
	}
	for place, text := range places {
		for what, canary := range canaries {
			if at := strings.Index(text, canary); at >= 0 {
				t.Errorf("%s has the %s: … %s …", place, what, text[max(0, at-100):min(len(text), at+40)])
			}
		}
	}
	if !strings.Contains(places["page /tasks/"+w.ids["mailed"]], w.ids["mailed"]) {
		t.Error("the page of the task does not show it")
	}
	t.Logf("%d places", len(places))
}

// listen returns what is published in Redis, events and news of results, from now on.
func (w *world) listen(t *testing.T) (heard func() string) {
	t.Helper()
	conn := w.redis.Conn(0)
	if err := conn.Send("PSUBSCRIBE", "*"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Receive(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var b strings.Builder
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			message, err := conn.Receive()
			if err != nil {
				return
			}
			text := fmt.Sprintf("%s", message)
			if parts, ok := message.([]any); ok {
				raw, _ := parts[len(parts)-1].([]byte)
				var envelope struct {
					Body []byte `json:"body"` // an event in base64
				}
				if json.Unmarshal(raw, &envelope) == nil {
					text += string(envelope.Body)
				}
			}
			mu.Lock()
			b.WriteString(text + "\n")
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

// rows adds the rows of all tables that the service writes.
func rows(t *testing.T, url string, places map[string]string) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := func(query string) (texts []string) {
		found, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer found.Close()
		for found.Next() {
			var text string
			if err := found.Scan(&text); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
		return texts
	}
	for _, table := range all(`SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables WHERE table_schema = 'evently_mail'`) {
		if texts := all("SELECT x::text FROM " + table + " x"); len(texts) > 0 {
			places["table "+table] = strings.Join(texts, "\n")
		}
	}
}
