package e2e_test

import (
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/tasks"
)

// taskCase is one task, as a producer calls it and as its mail must look.
type taskCase struct {
	name   string
	params []string // keyword names
	args   func(to recipient) []any
	result func(to recipient) map[string]any // without timestamp
	// The mail; no subject means no mail.
	subject string
	says    []string // regular expressions, for both parts
	// sample says that the call has the samples of the table: the result may have other
	// keys as well, and the mail another subject.
	sample bool
}

// recipient is whom one call is about; each has an address of its own, so that
// every mail belongs to one call.
type recipient struct {
	id    int
	email string
	otp   string // no other text contains it
}

var taskCases = []taskCase{
	{
		name: "send_otp_verification_email", params: []string{"task_data"},
		args: func(to recipient) []any {
			return []any{map[string]any{
				"email": to.email, "otp": to.otp, "timestamp": nil,
				"user_data": map[string]any{"username": "kofi", "full_name": "Kofi Mensah"},
			}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "email": to.email, "otp_sent": true}
		},
		subject: "Verify Your Email - Evently",
		says:    []string{`10 minutes`, `never share|don.t share|do not share`, `ignore`},
	}, {
		name: "send_welcome_email", params: []string{"task_data"},
		args: func(to recipient) []any {
			return []any{map[string]any{"email": to.email, "user_data": map[string]any{"username": "kofi"}, "timestamp": nil}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "email": to.email, "welcome_sent": true}
		},
		subject: "Welcome to Evently!",
		says:    []string{`kofi`},
	}, {
		name: "send_booking_confirmation", params: []string{"user_id", "booking_data"},
		args: func(to recipient) []any {
			return []any{to.id, map[string]any{
				"event_name": "Jazz & Wine – Café", "booking_id": 1700417, "quantity": "3", "total_price": 59.9,
				"booking_date": "2026-11-30T18:30:00", "currency": "EUR", "unknown_key": []any{1},
			}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "user_id": to.id, "email": to.email, "booking_id": 1700417}
		},
		subject: "Booking Confirmation - Jazz & Wine – Café",
		says:    []string{`Jazz & Wine – Café`, `1700417`, `\b3\b`, `59\.90`, `30 .*2026|2026-11-30`},
	}, {
		name: "send_booking_cancellation", params: []string{"user_id", "cancellation_data"},
		args: func(to recipient) []any {
			return []any{fmt.Sprint(to.id), map[string]any{
				"event_name": "<b>Rock</b> Night", "booking_id": "BK-88", "refund_amount": "1234.5", "reason": "Rain is forecast",
			}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "user_id": fmt.Sprint(to.id), "email": to.email, "booking_id": "BK-88"}
		},
		subject: "Booking Cancelled - <b>Rock</b> Night",
		says:    []string{`<b>Rock</b> Night`, `BK-88`, `Rain is forecast`, `1,?234\.50`, `3.5 business days`},
	}, {
		name: "send_waitlist_notification", params: []string{"user_id", "waitlist_data"},
		args: func(to recipient) []any {
			return []any{to.id, map[string]any{
				"event_name": "Open Air", "position": 2, "expiry_minutes": 45, "waitlist_id": 5,
				"booking_url": "https://evently.example/book/5",
			}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "user_id": to.id, "email": to.email, "waitlist_position": 2}
		},
		subject: "Waitlist Spot Available - Open Air",
		says:    []string{`Open Air`, `\b2\b`, `45 min`, `next`},
	}, {
		name: "send_waitlist_joined", params: []string{"user_id", "waitlist_data"},
		args: func(to recipient) []any {
			return []any{to.id, map[string]any{"event_name": "Open Air", "position": "7", "joined_date": "2026-11-05", "waitlist_id": 5}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "user_id": to.id, "email": to.email, "position": "7"}
		},
		subject: "Added to Waitlist - Open Air",
		says:    []string{`Open Air`, `\b7\b`, `5 .*2026|2026-11-05`},
	}, {
		name: "send_waitlist_cancellation", params: []string{"user_id", "waitlist_data"},
		args: func(to recipient) []any {
			return []any{to.id, map[string]any{"event_name": "Open Air", "cancellation_date": "2026-11-06"}}
		},
		result: func(to recipient) map[string]any {
			return map[string]any{"success": true, "user_id": to.id, "email": to.email}
		},
		subject: "Removed from Waitlist - Open Air",
		says:    []string{`Open Air`, `6 .*2026|2026-11-06`, `join.* again|again`},
	}, {
		name: "health_check",
		args: func(recipient) []any { return nil },
		result: func(recipient) map[string]any {
			return map[string]any{"status": "healthy", "service": "email_workers", "config_loaded": true}
		},
	},
}

// allCases returns the cases of all tasks: those above, and for each other mail of the
// table the call of its example.
func allCases() []taskCase {
	all := slices.Clone(taskCases)
	for _, m := range tasks.Mails() {
		if !slices.ContainsFunc(taskCases, func(c taskCase) bool { return c.name == m.Name }) {
			all = append(all, exampleCase(m))
		}
	}
	return all
}

func exampleCase(m tasks.MailTask) taskCase {
	return taskCase{
		name: m.Name, params: m.Params, subject: m.Title, sample: true,
		args: func(to recipient) []any {
			data := m.Example()
			for _, f := range m.Fields {
				switch f.Input {
				case tasks.Email:
					data[f.Key] = to.email
				case tasks.Code:
					data[f.Key] = to.otp
				}
			}
			if m.ToUser() {
				return []any{to.id, data}
			}
			return []any{data}
		},
		result: func(to recipient) map[string]any { return map[string]any{"success": true, "email": to.email} },
	}
}

// Each mail of the table can be sent by its example.
func TestExampleCases(t *testing.T) {
	for _, m := range tasks.Mails() {
		c := exampleCase(m)
		if args := c.args(recipient{id: 1, email: "a@mail.example", otp: "1"}); len(args) != len(c.params) {
			t.Errorf("%s: %d arguments for the parameters %q", m.Name, len(args), c.params)
		}
	}
}

// ways are the ways to send a task; each task is sent in each of them.
var ways = []struct {
	name, via string
	short     bool // the short name of the task
	keywords  bool
	options   map[string]any
	revoked   bool // must not run
	notBefore time.Duration
}{
	{name: "delay", via: "delay"},
	{name: "send_task", via: "send_task"},
	{name: "short", via: "send_task", short: true},
	{name: "kwargs", via: "apply_async", keywords: true},
	{name: "countdown", via: "apply_async", options: map[string]any{"countdown": 3}, notBefore: 3 * time.Second},
	{name: "eta", via: "apply_async", options: map[string]any{"eta_in": 3}, notBefore: 3 * time.Second},
	{name: "expires", via: "apply_async", options: map[string]any{"expires_in": 600}},
	{name: "expired", via: "apply_async", options: map[string]any{"expires_in": -5}, revoked: true},
	{name: "priority-0", via: "apply_async", options: map[string]any{"priority": 0}},
	{name: "priority-3", via: "apply_async", options: map[string]any{"priority": 3}},
	{name: "priority-9", via: "apply_async", options: map[string]any{"priority": 9}},
	{name: "zlib", via: "apply_async", options: map[string]any{"compression": "zlib"}},
}

// TestProducers sends every task in every way that producers have, by an old and
// the newest Celery, and compares what get() returns and what arrives.
func TestProducers(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	service := p.startService(t)
	var codes []string
	for v, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			var calls []call
			recipients := map[string]recipient{}
			for i, way := range ways {
				for j, task := range allCases() {
					id := 1000*(v+1) + 20*i + j
					label := way.name + "/" + task.name
					to := recipient{id: id, email: fmt.Sprintf("user%d@mail.example", id), otp: fmt.Sprintf("0%d", 7300000+id)}
					recipients[label] = to
					codes = append(codes, to.otp)
					p.addUser(t, to.id, to.email, true)
					c := call{Label: label, Via: way.via, Task: prefix + task.name, Args: task.args(to), Options: way.options}
					if way.short {
						c.Task = task.name
					}
					if way.keywords {
						c.Kwargs = map[string]any{}
						for k, param := range task.params {
							c.Kwargs[param] = c.Args[k]
						}
						c.Args = nil
					}
					calls = append(calls, c)
				}
			}
			begin := time.Now()
			answers := produce(t, celery, p.redis.url(), calls)
			for _, way := range ways {
				for _, task := range allCases() {
					label := way.name + "/" + task.name
					t.Run(label, func(t *testing.T) {
						to, got := recipients[label], answers[label]
						if way.revoked {
							if got.State != "REVOKED" || got.Error != "TaskRevokedError" || got.Message != "expired" {
								t.Errorf("state %s, %s(%q), want REVOKED, TaskRevokedError(expired)", got.State, got.Error, got.Message)
							}
							if n := len(p.sink.all(to.email)); n != 0 {
								t.Errorf("%d mails of a task that had expired", n)
							}
							return
						}
						if got.State != "SUCCESS" {
							t.Fatalf("state %s, %s(%q)", got.State, got.Error, got.Message)
						}
						value := got.Value
						if task.sample {
							value = onlyKeys(t, value, task.result(to))
						}
						checkResult(t, value, task.result(to), begin.Add(way.notBefore))
						checkMail(t, p.sink, task, to)
					})
				}
			}
		})
	}
	p.redis.settled(queue)
	checkSecrets(t, p, service, codes)
}

// TestProducersOdd sends what is no everyday call, and compares what get()
// returns or raises.
func TestProducersOdd(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.addUser(t, 1, "one@mail.example", true)
	p.addUser(t, 2, "two@mail.example", false)
	p.startService(t)
	type m = map[string]any
	cases := []struct {
		label, task string
		args        []any
		want        m      // SUCCESS with this
		raises      string // or FAILURE with this
		mails       int
	}{
		{label: "no such user", task: "send_booking_confirmation", args: []any{404, m{}}, want: m{"success": false, "error": "User email not found", "user_id": 404}},
		{label: "inactive user", task: "send_waitlist_joined", args: []any{"2", m{}}, want: m{"success": false, "error": "User email not found", "user_id": "2"}},
		{label: "no address", task: "send_welcome_email", args: []any{m{"email": nil}}, want: m{"success": false, "error": "Missing required data"}},
		{label: "no code", task: "send_otp_verification_email", args: []any{m{"email": "x@mail.example"}}, want: m{"success": false, "error": "Missing required data"}},
		{label: "defaults", task: "send_booking_confirmation", args: []any{1, m{}}, want: m{"success": true, "user_id": 1, "email": "one@mail.example", "booking_id": "N/A"}, mails: 1},
		{label: "numeric code", task: "send_otp_verification_email", args: []any{m{"email": "code@mail.example", "otp": 481516}}, want: m{"success": true, "email": "code@mail.example", "otp_sent": true}, mails: 1},
		{label: "code as a Decimal", task: "send_otp_verification_email", args: []any{m{"email": "code@mail.example", "otp": m{"__type__": "decimal", "__value__": "481517"}}}, want: m{"success": true, "email": "code@mail.example", "otp_sent": true}, mails: 1},
		{label: "code with a line feed", task: "send_otp_verification_email", args: []any{m{"email": "\ufeffcode@mail.example\u200b", "otp": "481518\n"}}, want: m{"success": true, "email": "code@mail.example", "otp_sent": true}, mails: 1},
		{label: "code with a link", task: "send_otp_verification_email", args: []any{m{"email": "code@mail.example", "otp": "evil.example"}}, want: m{"success": false, "error": `otp is not a code of 1 to 32 printable characters without . : / \ @`}},
		{label: "minutes with a fraction", task: "send_waitlist_notification", args: []any{1, m{"expiry_minutes": 14.98, "position": 3.0}}, want: m{"success": true, "user_id": 1, "email": "one@mail.example", "waitlist_position": 3.0}, mails: 1},
		{label: "no refund", task: "send_booking_cancellation", args: []any{1, m{"refund_amount": "", "cancellation_date": "2026-11-23 20:15:00+00"}}, want: m{"success": true, "user_id": 1, "email": "one@mail.example", "booking_id": "N/A"}, mails: 1},
		{label: "quantity of words", task: "send_booking_confirmation", args: []any{1, m{"quantity": "many"}}, want: m{"success": true, "user_id": 1, "email": "one@mail.example", "booking_id": "N/A"}, mails: 1},
		{label: "event of a list", task: "send_booking_confirmation", args: []any{1, m{"event_name": []string{"Jazz"}}}, want: m{"success": false, "error": "event_name is not a text", "user_id": 1}},
		{label: "too few arguments", task: "send_booking_confirmation", args: []any{1}, raises: "TypeError"},
		{label: "too many arguments", task: "health_check", args: []any{1}, raises: "TypeError"},
		{label: "unknown task", task: "no_such_task", raises: "NotRegistered"},
	}
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			var calls []call
			for _, c := range cases {
				calls = append(calls, call{Label: c.label, Via: "send_task", Task: prefix + c.task, Args: c.args})
			}
			before := len(p.sink.all(""))
			begin := time.Now()
			answers := produce(t, celery, p.redis.url(), calls)
			mails := 0
			for _, c := range cases {
				mails += c.mails
				t.Run(c.label, func(t *testing.T) {
					got := answers[c.label]
					if c.raises != "" {
						if got.State != "FAILURE" || got.Error != c.raises {
							t.Errorf("state %s, %s(%q), want FAILURE with %s", got.State, got.Error, got.Message, c.raises)
						}
						return
					}
					if got.State != "SUCCESS" {
						t.Fatalf("state %s, %s(%q)", got.State, got.Error, got.Message)
					}
					checkResult(t, got.Value, c.want, begin)
				})
			}
			if n := len(p.sink.all("")) - before; n != mails {
				t.Errorf("%d mails, want %d", n, mails)
			}
		})
	}
	p.redis.settled(queue)
}

// onlyKeys returns a dictionary without the keys that want and the time stamp do not name.
func onlyKeys(t *testing.T, got json.RawMessage, want map[string]any) json.RawMessage {
	t.Helper()
	var value map[string]json.RawMessage
	if err := json.Unmarshal(got, &value); err != nil {
		t.Fatalf("result %s: %v", got, err)
	}
	for key := range value {
		if _, ok := want[key]; !ok && key != "timestamp" {
			delete(value, key)
		}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// checkResult compares a dictionary with keys, values and types; the timestamp
// must be that of a naive Python datetime in UTC, not before begin.
func checkResult(t *testing.T, got json.RawMessage, want map[string]any, begin time.Time) {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal(got, &value); err != nil {
		t.Fatalf("result %s: %v", got, err)
	}
	stamp, _ := value["timestamp"].(string)
	const python = "2006-01-02T15:04:05.000000"
	at, err := time.Parse(python, stamp)
	switch {
	case err != nil:
		t.Errorf("timestamp %q is not one of datetime.isoformat(): %v", stamp, err)
	case at.Before(begin.UTC().Add(-time.Second)) || at.After(time.Now().Add(time.Second)):
		t.Errorf("timestamp %q, want one between %s and now", stamp, begin.UTC().Format(python))
	}
	delete(value, "timestamp")
	wanted, err := json.Marshal(want) // numbers become what Unmarshal makes of them
	if err != nil {
		t.Fatal(err)
	}
	var expect map[string]any
	if err := json.Unmarshal(wanted, &expect); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(expect, value); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// checkMail wants exactly one mail, to the right person and saying the right
// things, in both parts.
func checkMail(t *testing.T, s *sink, task taskCase, to recipient) {
	t.Helper()
	mails := s.all(to.email)
	if task.subject == "" {
		if len(mails) != 0 {
			t.Errorf("%d mails of a task that sends none", len(mails))
		}
		return
	}
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1", len(mails))
	}
	l := mails[0]
	if l.from != "noreply@evently.com" || len(l.to) != 1 {
		t.Errorf("envelope from %q to %q", l.from, l.to)
	}
	got := l.read(t)
	if got.subject != task.subject && !task.sample {
		t.Errorf("subject %q, want %q", got.subject, task.subject)
	}
	if got.from != `"Evently" <noreply@evently.com>` && got.from != `Evently <noreply@evently.com>` {
		t.Errorf("From: %s", got.from)
	}
	if strings.Trim(got.to, "<>") != to.email {
		t.Errorf("To: %s, want %s", got.to, to.email)
	}
	if diff := cmp.Diff([]string{"text/plain", "text/html"}, got.order); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	says := task.says
	if task.name == "send_otp_verification_email" {
		says = append([]string{regexp.QuoteMeta(to.otp)}, says...)
	}
	if task.name == "send_welcome_email" {
		says = append([]string{regexp.QuoteMeta(to.email)}, says...)
	}
	for part, text := range map[string]string{"text": plain(got.text), "html": visible(got.html)} {
		for _, want := range says {
			if !regexp.MustCompile(`(?i)` + want).MatchString(text) {
				t.Errorf("%s part does not say %s:\n%s", part, want, text)
			}
		}
	}
}

// visible is what a reader sees of HTML, roughly: without head, tags and
// comments, entities resolved.
func visible(source string) string {
	source = regexp.MustCompile(`</?span[^>]*>`).ReplaceAllString(source, "") // inline: no space in words
	for _, hidden := range []string{`(?s)<head.*?</head>`, `(?s)<!--.*?-->`, `(?s)<[^>]*>`} {
		source = regexp.MustCompile(hidden).ReplaceAllString(source, " ")
	}
	return plain(html.UnescapeString(source))
}

// plain evens out white space, visible or not.
func plain(text string) string {
	invisible := regexp.MustCompile(`[\x{200b}-\x{200d}\x{2060}\x{feff}\x{ad}\x{34f}]`)
	return strings.Join(strings.Fields(invisible.ReplaceAllString(text, "")), " ")
}

// checkSecrets looks for one-time codes where they have no business: in the log
// and, once the message is acknowledged, in Redis.
func checkSecrets(t *testing.T, p *platform, service *process, codes []string) {
	t.Helper()
	places := map[string]string{"log of the service": service.out.String()}
	for _, key := range p.redis.strings("KEYS", "*") {
		places["Redis key "+key] = fmt.Sprint(p.redis.dump(key))
	}
	for place, text := range places {
		for _, code := range codes {
			if strings.Contains(text, code) {
				t.Errorf("%s holds the code of a user", place)
				break
			}
		}
	}
}
