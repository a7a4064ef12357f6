package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/emersion/go-smtp"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
)

// canaries are the secrets of TestCanary: each is nowhere else, and each takes
// another way through the service.
var canaries = map[string]string{
	"code that is mailed":                      "481516",
	"code that waits for its time":             "623420",
	"code of a mail on its way":                "815162",
	"code that the relay refuses and repeats":  "342815",
	"code that the relay puts off and repeats": "162342",
	"code that is no code":                     "4x8x15-16",
	"code in a list":                           "234281",
	"code as an argument of its own":           "516234",
	"code that came too late":                  "428151",
	"code that was revoked":                    "516423",
	"code in a task that nobody has":           "768231",
	"password in a task that nobody has":       "corr3ct-h0rse",
	"code in a starmap":                        "639417",
	"code in a message that is none":           "938475",
	"password of the mail relay":               "smtp-battery-st4ple",
	"password of the database":                 "db-xkcd-936",
}

// TestCanary sends secrets on every way through the service, beside real Celery and a real
// Flower. Then it looks for them in logs, events, answers, pages, stored values and the
// output of commands.
func TestCanary(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.addUser(t, 1, "mail@canary.example", true)
	release := make(chan struct{})
	putOff := map[string]bool{}
	p.sink.answers(func(l letter) error {
		switch strings.SplitN(l.to[0], "@", 2)[0] {
		case "slow":
			<-release
		case "refused":
			return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "spam, it says code " + canaries["code that the relay refuses and repeats"]}
		case "later":
			p.sink.mu.Lock()
			first := !putOff[l.to[0]]
			putOff[l.to[0]] = true
			p.sink.mu.Unlock()
			if first {
				return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "seen " + canaries["code that the relay puts off and repeats"] + " too often"}
			}
		}
		return nil
	})
	spy := testkit.Listen(t, p.redis.Redis)
	// The relay asks for no login, so its password is not sent to anybody.
	secrets := []string{
		"SMTP_PASSWORD=" + canaries["password of the mail relay"], "DB_PASSWORD=" + canaries["password of the database"],
		"CONCURRENCY=2", "RETRY_DELAY=1", "MAX_RETRIES=2", "TASK_EVENTS=true",
	}
	service := p.startService(t, secrets...)
	f := startFlower(t, p.redis)
	name := node(t, "email-worker")
	eventually(t, time.Minute, "Flower shows the service online", func() bool { return f.online(name) })

	code := func(to, canary string, options map[string]any) string {
		t.Helper()
		var otp any = canaries[canary]
		if canary == "code that is no code" {
			otp = map[string]any{"value": otp}
		}
		args := []any{map[string]any{"email": to + "@canary.example", "otp": otp, "timestamp": nil, "user_data": map[string]any{"username": "kofi"}}}
		return flood(t, celeryNew, p.redis, queue, 1, prefix+"send_otp_verification_email", args, options)[0]
	}
	ids := map[string]string{
		"mailed":   code("mail", "code that is mailed", nil),
		"refused":  code("refused", "code that the relay refuses and repeats", nil),
		"put off":  code("later", "code that the relay puts off and repeats", nil),
		"no code":  code("mail", "code that is no code", nil),
		"too late": code("mail", "code that came too late", map[string]any{"expires": -5}),
		"list":     flood(t, celeryNew, p.redis, queue, 1, prefix+"send_otp_verification_email", []any{[]any{"mail@canary.example", canaries["code in a list"]}}, nil)[0],
		"argument": flood(t, celeryNew, p.redis, queue, 1, prefix+"send_otp_verification_email", []any{"mail@canary.example", canaries["code as an argument of its own"]}, nil)[0],
	}
	flood(t, celeryNew, p.redis, queue, 1, "somebody.elses.login", []any{}, map[string]any{
		"kwargs": map[string]any{"password": canaries["password in a task that nobody has"], "otp": canaries["code in a task that nobody has"]}})
	starmapped := map[string]any{"email": "mail@canary.example", "otp": canaries["code in a starmap"], "user_data": map[string]any{"username": "kofi"}}
	signature := map[string]any{"task": prefix + "send_otp_verification_email", "args": []any{}, "kwargs": map[string]any{}, "options": map[string]any{}, "subtask_type": nil, "immutable": false}
	ids["starmap"] = flood(t, celeryNew, p.redis, queue, 1, "celery.starmap", []any{}, map[string]any{
		"kwargs": map[string]any{"task": signature, "it": []any{[]any{starmapped}, []any{"mail@canary.example", canaries["code in a starmap"]}}}})[0]
	p.redis.do("LPUSH", queue, fmt.Sprintf(`{"body": {"otp": %q}, "headers": `, canaries["code in a message that is none"]))

	var texts []string
	read := func(kind string, args ...string) { // what an operator reads of the worker
		texts = append(texts, celeryCommand(t, p.redis, append([]string{kind, "--timeout", "30", "-d", name, "--json"}, args...)...))
	}
	waiting := code("wait", "code that waits for its time", map[string]any{"countdown": 600})
	revoked := code("wait", "code that was revoked", map[string]any{"countdown": 600})
	eventually(t, 30*time.Second, "both are scheduled", func() bool {
		text := celeryCommand(t, p.redis, "inspect", "--timeout", "30", "-d", name, "--json", "scheduled")
		texts = append(texts, text)
		return strings.Contains(text, waiting) && strings.Contains(text, revoked)
	})
	read("control", "revoke", revoked)
	ids["slow"] = code("slow", "code of a mail on its way", nil)
	eventually(t, 30*time.Second, "a mail is on its way", func() bool {
		text := celeryCommand(t, p.redis, "inspect", "--timeout", "30", "-d", name, "--json", "active")
		texts = append(texts, text)
		return strings.Contains(text, ids["slow"])
	})
	for _, command := range [][]string{{"reserved"}, {"scheduled"}, {"revoked"}, {"stats"}, {"conf"}, {"report"}, {"registered"}, {"active_queues"}, {"query_task", waiting, ids["slow"]}} {
		read("inspect", command...)
	}
	close(release)
	for what, id := range ids {
		eventually(t, time.Minute, "the end of the task "+what, func() bool {
			s := p.redis.results([]string{id})[id].Status
			return s != "" && s != "STARTED" && s != "RETRY"
		})
	}
	eventually(t, 30*time.Second, "Flower knows how they ended", func() bool {
		for _, id := range ids {
			if task, ok := f.task(id); !ok || task.State == "RECEIVED" || task.State == "STARTED" || task.State == "RETRY" {
				return false
			}
		}
		return true
	})
	if n := len(p.sink.all("mail@canary.example")) + len(p.sink.all("later@canary.example")) + len(p.sink.all("slow@canary.example")); n != 4 {
		t.Errorf("%d mails, want 4", n)
	}

	places := map[string]string{"answers to celery inspect and control": strings.Join(texts, "\n")}
	tab := browser.Open(t, 5*time.Minute)
	paths := []string{"/workers", "/worker/" + name, "/tasks", "/api/tasks", "/api/workers?refresh=true", "/metrics", "/task/" + waiting}
	for _, id := range ids {
		paths = append(paths, "/task/"+id, "/api/task/info/"+id, "/api/task/result/"+id)
	}
	for _, path := range paths {
		places["Flower "+path] = fetchAny(t, f.base+path)
		if !strings.HasPrefix(path, "/api") && path != "/metrics" {
			if _, err := chromedp.Run(tab, chromedp.Navigate(f.base+path)); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			text, err := chromedp.Run(tab, chromedp.Evaluate[string]("document.documentElement.outerHTML"))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			places["Flower's page "+path] = text
		}
	}
	listens := regexp.MustCompile(`"health server listens","addr":"([^"]+)"`).FindStringSubmatch(service.out.String())
	if listens == nil {
		t.Fatalf("the service does not say where its health server listens:\n%s", clip(service.out.String(), 2000))
	}
	for _, path := range []string{"/health", "/health/mail", "/readyz", "/livez", "/metrics"} {
		places["health server "+path] = fetchAny(t, "http://"+listens[1]+path)
	}
	env := p.env(t, secrets...)
	for _, args := range [][]string{{"config"}, {"dead-letters", "list"}, {"dead-letters", "list", "--json"}} {
		places["evently-workers "+strings.Join(args, " ")] = serviceCommand(t, env, args...)
	}
	letters := deadLetters(t, p.redis)
	if len(letters) != 4 {
		t.Errorf("%d dead letters, want 4: the refused mail, the unknown task, the code that is no code and the unreadable message: %+v", len(letters), letters)
	}
	for _, l := range letters {
		places["evently-workers dead-letters show "+l.ID] = serviceCommand(t, env, "dead-letters", "show", l.ID)
	}
	service.signal(15)
	service.wait(30 * time.Second)
	places["log of the service"] = service.out.String()
	places["events, results and answers on their way"] = spy.Text()
	for _, key := range p.redis.strings("KEYS", "*") {
		switch {
		case key == "_goworker.1.dead": // the very messages, as they came
		case key == "_goworker.1.head.health" && p.redis.dump(key) == "": // a journal without an order
		case strings.HasPrefix(key, queue): // what waits for its time, given back as it came
		default:
			places["Redis key "+key] = testkit.Unfold(p.redis.dump(key))
		}
	}
	for place, text := range places {
		if len(text) == 0 {
			t.Errorf("%s: nothing to look at", place)
		}
		for what, canary := range canaries {
			if at := strings.Index(text, canary); at >= 0 {
				t.Errorf("%s holds the %s: … %s …", place, what, text[max(0, at-150):min(len(text), at+60)])
			}
		}
	}
	// The looking itself is looked at: what may be seen is there.
	for place, want := range map[string]string{
		"log of the service":                       ids["mailed"],
		"events, results and answers on their way": "task-received",
		"answers to celery inspect and control":    "[redacted]",
		"Flower's page /task/" + ids["mailed"]:     "[redacted]",
		"Flower /api/tasks":                        "m***@canary.example",
	} {
		if !strings.Contains(places[place], want) {
			t.Errorf("%s does not hold %q:\n%s", place, want, clip(places[place], 2000))
		}
	}
}

// runCelery runs the command line of Celery, and returns what it says.
func runCelery(t testing.TB, r *redisServer, args ...string) string {
	t.Helper()
	out, _ := celeryCommandLine(t, r, args...).CombinedOutput()
	return string(out)
}

func celeryCommandLine(t testing.TB, r *redisServer, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), python(t, celeryNew), append([]string{"-m", "celery", "--broker", r.url(), "--result-backend", r.url()}, args...)...)
	cmd.Env = pythonEnv()
	return cmd
}

// celeryCommand does the same for a command that must succeed.
func celeryCommand(t testing.TB, r *redisServer, args ...string) string {
	t.Helper()
	out, err := celeryCommandLine(t, r, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("celery %s: %v\n%s", strings.Join(args, " "), err, last(string(out), 3000))
	}
	return string(out)
}

// serviceCommand runs the service's program to its end.
func serviceCommand(t testing.TB, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin.service, args...)
	cmd.Env = append(slices.Clone(env), testkit.RaceOptions)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("evently-workers %s: %v\n%s", strings.Join(args, " "), err, last(string(out), 3000))
	}
	return string(out)
}

// fetchAny returns a page whatever its status is.
func fetchAny(t testing.TB, url string) string {
	t.Helper()
	reply, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
