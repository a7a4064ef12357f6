package dev

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// newSite returns a page without other parts. The tasks that it sends go to the channel.
func newSite(t *testing.T) (*site, *httptest.Server, chan Order) {
	t.Helper()
	changed := newPulse()
	sent := make(chan Order, 10)
	s := &site{
		inbox: newInbox(changed), tasks: newTasklog(changed, time.Now), changed: changed, users: seed(),
		addresses: Addresses{Redis: "redis://127.0.0.1:6379/0", SMTP: "127.0.0.1:1025", Page: "http://127.0.0.1:8025"},
		logger:    slog.New(slog.DiscardHandler), now: time.Now,
	}
	s.send = func(_ context.Context, o Order) (string, error) {
		sent <- o
		s.tasks.sent("some-id", o)
		return "some-id", nil
	}
	h, err := s.handler()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return s, server, sent
}

// ask makes one request and returns the response with its body read.
func ask(t *testing.T, method, address string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

const hostile = "From: <script>alert('from')</script>@evil.test\r\nTo: a@evently.test\r\nSubject: </title><script>alert('subject')</script>\r\n" +
	"X-Bad: <img src=x onerror=alert('header')>\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
	"<html><head></head><body><script>parent.document.title='owned'</script><img src=https://evil.test/pixel></body></html>"

func TestHostileMailStaysInItsFrame(t *testing.T) {
	s, server, _ := newSite(t)
	s.inbox.add(readMail([]byte(hostile)))

	response, body := ask(t, "GET", server.URL+"/mails/1", nil)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Security-Policy") != pagePolicy {
		t.Errorf("page: %s, policy %q", response.Status, response.Header.Get("Content-Security-Policy"))
	}
	for _, markup := range []string{"<script>alert", "<img src=x", "<script>parent"} {
		if strings.Contains(body, markup) {
			t.Errorf("markup of the mail became markup of the page: %s", markup)
		}
	}
	for _, need := range []string{`sandbox="allow-popups allow-popups-to-escape-sandbox"`, "Images from other servers are not loaded", "&lt;/title&gt;"} {
		if !strings.Contains(body, need) {
			t.Errorf("the page lacks %s", need)
		}
	}

	response, body = ask(t, "GET", server.URL+"/mails/1/html", nil)
	policy := response.Header.Get("Content-Security-Policy")
	for _, need := range []string{"default-src 'none'", "sandbox ", "frame-ancestors 'self'", "form-action 'none'"} {
		if !strings.Contains(policy, need) {
			t.Errorf("the policy of the mail lacks %s: %s", need, policy)
		}
	}
	for _, never := range []string{"allow-scripts", "allow-same-origin", "script-src", "allow-top-navigation", "https:"} {
		if strings.Contains(policy, never) {
			t.Errorf("the policy of the mail has %s", never)
		}
	}
	if !strings.Contains(body, "<script>parent") || !strings.Contains(body, `<head><base target="_blank">`) {
		t.Errorf("the mail is not shown as it came: %s", body)
	}

	response, body = ask(t, "GET", server.URL+"/mails/1/source", nil)
	if kind := response.Header.Get("Content-Type"); kind != "text/plain; charset=utf-8" || response.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the source could be taken for markup: %s", kind)
	}
	if body != hostile {
		t.Error("the source is not the message")
	}
}

func TestOnlyThisPageMayAsk(t *testing.T) {
	s, server, sent := newSite(t)
	s.inbox.add(&Mail{Subject: "secret"})
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for _, host := range []string{"localhost" + port, "127.0.0.1" + port, "[::1]" + port, "LOCALHOST"} {
		if r, _ := ask(t, "GET", server.URL+"/", nil, "Host", host); r.StatusCode != http.StatusOK {
			t.Errorf("host %s: %s", host, r.Status)
		}
	}
	for _, host := range []string{"evil.example", "evil.example" + port, "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"} {
		if r, body := ask(t, "GET", server.URL+"/", nil, "Host", host); r.StatusCode != http.StatusMisdirectedRequest || strings.Contains(body, "secret") {
			t.Errorf("host %s: %s", host, r.Status)
		}
	}
	for _, header := range [][]string{{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"}} {
		for _, path := range []string{"/tasks", "/clear"} {
			if r, _ := ask(t, "POST", server.URL+path, filled(t, "health_check"), header...); r.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s with %v: %s", path, header, r.Status)
			}
		}
	}
	if len(sent) > 0 || len(s.inbox.all()) != 1 {
		t.Error("a foreign site sent a task or cleared the inbox")
	}
}

func TestFormWithAndWithoutScript(t *testing.T) {
	s, server, sent := newSite(t)
	in := filled(t, "send_waitlist_joined")

	r, _ := ask(t, "POST", server.URL+"/tasks", in, "Origin", server.URL, "Sec-Fetch-Site", "same-origin")
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/tasks/some-id" {
		t.Errorf("without script: %s to %s", r.Status, r.Header.Get("Location"))
	}
	if o := <-sent; o.Task != "email_workers.tasks.send_waitlist_joined" || o.About != "user 1" {
		t.Errorf("sent %+v", o)
	}
	r, body := ask(t, "POST", server.URL+"/tasks", in, "Accept", "application/json")
	if r.StatusCode != http.StatusCreated || !strings.Contains(body, `"id":"some-id"`) {
		t.Errorf("with script: %s %s", r.Status, body)
	}

	in.Set("countdown", "<b>soon")
	in.Set("send_waitlist_joined.waitlist_data.event_name", "Kept & shown")
	r, body = ask(t, "POST", server.URL+"/tasks", in)
	if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "must be a number of seconds") ||
		!strings.Contains(body, "Kept &amp; shown") || strings.Contains(body, "<b>soon") {
		t.Errorf("a wrong countdown: %s; the form should come back filled, with the reason", r.Status)
	}
	r, body = ask(t, "POST", server.URL+"/tasks", in, "Accept", "application/json")
	if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, `"error"`) {
		t.Errorf("a wrong countdown with script: %s %s", r.Status, body)
	}

	s.send = func(context.Context, Order) (string, error) { return "", errors.New("publish the task: no Redis") }
	in.Set("countdown", "")
	if r, body = ask(t, "POST", server.URL+"/tasks", in); r.StatusCode != http.StatusBadGateway || !strings.Contains(body, "Publish the task: no Redis.") {
		t.Errorf("Redis is gone: %s", r.Status)
	}
}

func TestPagesAndTheirHoles(t *testing.T) {
	s, server, _ := newSite(t)
	for path, want := range map[string]string{
		"/": "No mail yet", "/tasks": "No tasks yet", "/connect": "from celery import Celery",
		"/send?task=health_check": `value="health_check" checked`, "/assets/app.css": "color-scheme", "/assets/app.js": "EventSource",
	} {
		if r, body := ask(t, "GET", server.URL+path, nil); r.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %s, without %q", path, r.Status, want)
		}
	}
	for _, path := range []string{"/mails/7", "/mails/x", "/tasks/unknown", "/mails/7/html", "/mails/7/source", "/assets/page.tmpl", "/nothing"} {
		if r, _ := ask(t, "GET", server.URL+path, nil); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, r.Status)
		}
	}
	s.inbox.add(&Mail{Subject: "one"})
	s.tasks.began("id", "some.task", "", 0)
	ask(t, "POST", server.URL+"/clear", url.Values{"what": {"mails"}})
	if len(s.inbox.all()) != 0 || len(s.tasks.all()) != 1 {
		t.Error("clearing the mails should clear the mails")
	}
	ask(t, "POST", server.URL+"/clear", url.Values{"what": {"tasks"}})
	if len(s.tasks.all()) != 0 {
		t.Error("the tasks were not cleared")
	}
}

func TestEventStreamTellsOfChanges(t *testing.T) {
	s, server, _ := newSite(t)
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func() {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: change" {
				return
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	next() // immediately: a client that reconnects may have missed a change
	for range 3 {
		s.inbox.add(&Mail{})
		next()
	}
}
