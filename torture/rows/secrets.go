package rows

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
)

// secrets is S9.
var secrets = harness.Row{
	ID:     "S9",
	Goal:   "codes, passwords, tokens and addresses in arguments, while tasks fail, panic, crash, retry, run too long and are set aside, and the worker and Redis break",
	Mark:   "none in logs, keys, events, announcements and answers to remote control, but in the message itself and in what a handler answers",
	Celery: true,
	Run: func(r *harness.Run) {
		s := harness.NewStage(r)
		k := &keeper{Stage: s, spy: testkit.Listen(s, s.Redis), known: map[string]string{}, answers: map[string]bool{}, hits: map[string]int{}}
		k.start()
		s.Ready()
		s.Redis.Do("PUBLISH", "/0.celery.pidbox", request("enable_events", "", nil))
		k.ask("ping", nil) // answered when the one before it was heard
		faults := k.faults()
		if !r.Long && len(faults) > 4 { // others by another seed
			r.Chance.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
			faults = faults[:4]
		}
		rounds := harness.Size(r, 1, 4)
		var all []string
		for n := range rounds * len(faults) {
			ids := k.send(n)
			k.Logf("round %d: %d tasks", n, len(ids))
			testkit.Pause(s, between(r, 50*time.Millisecond, 250*time.Millisecond))
			k.ask("active", nil)
			k.ask("reserved", nil)
			k.ask("query_task", map[string]any{"ids": ids})
			faults[n%len(faults)]()
			k.await(ids)
			k.look()
			all = append(all, ids...)
		}
		k.ask("stats", nil)
		k.ask("scheduled", nil)
		k.report(all, rounds*len(faults))
	},
}

// keeper knows all secrets and where they have turned up.
type keeper struct {
	*harness.Stage
	spy     *testkit.Spy
	worker  *testkit.Process
	past    []*testkit.Process
	known   map[string]string // secrets, with what they are
	answers map[string]bool   // tasks whose handlers answer with secrets
	asked   int
	hits    map[string]int // by the kind of the place
	seen    int            // bytes that were looked at
	shown   bool           // that something was hidden
}

func (k *keeper) start() {
	k.Helper()
	o := harness.Options{Concurrency: 8, Visibility: time.Hour, OwnerTimeout: 2 * time.Second, Redeliveries: 2,
		TimeLimit: time.Second, Grace: 500 * time.Millisecond, Flags: []string{"-debug", "-events"}}
	k.worker = k.Start(o)
	k.past = append(k.past, k.worker)
}

// ways are those by which secrets may get out, with whether the handler's answer
// holds them.
func (k *keeper) ways() map[string]bool {
	if k.Kind.IsCelery() { // which stores what is raised
		return map[string]bool{"return": false, "fail": true, "raise": true, "again": true}
	}
	return map[string]bool{"return": false, "fail": false, "raise": true, "retry": false, "again": true, "panic": false,
		"panic with an error": false, "reject": true, "give up": false, "slow": false, "crash": false}
}

// send sends a task for each way, with secrets of its own, some that no handler
// can read, and one that is no message.
func (k *keeper) send(n int) (ids []string) {
	k.Helper()
	ways := k.ways()
	if n > 0 {
		delete(ways, "crash") // its three runs take longest, and the faults kill too
	}
	for _, way := range slices.Sorted(maps.Keys(ways)) {
		code, user := k.secret()
		args := []any{way, code, user}
		id := k.Send(1, harness.Task{Name: "e2e.secret", Args: args, Repr: fmt.Sprintf("['%s', '%s', %v]", way, code, user)})[0]
		k.answers[id], ids = ways[way], append(ids, id)
	}
	if k.Kind.IsCelery() {
		return ids // it loses the following ones
	}
	// A secret in a wrong place has no telling name: e2e.codes declares that
	// nothing of its arguments may be seen.
	code, user := k.secret()
	ids = append(ids, k.Send(1, harness.Task{Name: "e2e.codes", Args: []any{"return", map[string]any{"code": code}, user, code, 1}})...)
	code, user = k.secret()
	ids = append(ids, k.Send(1, harness.Task{Name: "e2e.codes", Args: []any{code, []any{user["password"]}, user["token"]}})...)
	code, user = k.secret()
	k.Send(1, harness.Task{Name: "another.service.login", Args: []any{map[string]any{"otp": code, "user": user}}})
	code, _ = k.secret()
	k.Redis.Do("LPUSH", harness.Queue, fmt.Sprintf(`{"body": {"otp": %q, "n": %d}, "headers": `, code, n))
	return ids
}

// Marks of what is looked for: no other text has them.
const (
	codeMark = "730194"
	wordMark = "zq7x"
)

var codes = regexp.MustCompile(codeMark + `\d{6}`)

// secret draws a code, and a user with a password, a token and an address.
func (k *keeper) secret() (code string, user map[string]any) {
	n := len(k.known)
	code = fmt.Sprintf("%s%06d", codeMark, k.Chance.IntN(1_000_000))
	k.known[code] = "code"
	return code, map[string]any{
		"email":    fmt.Sprintf("%sann%d@canary.example", wordMark, n),
		"password": fmt.Sprintf("%s-pass%d \"it's\" \\ so", wordMark, n),
		"token":    fmt.Sprintf("%stok%x", wordMark, k.Chance.Uint64()),
	}
}

// faults are what breaks while the secrets are on their way. Celery gets the mild
// ones: others cost it minutes, and end it.
func (k *keeper) faults() []func() {
	all := []func(){
		func() {},
		func() { k.Redis.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") },
	}
	if k.Kind.IsCelery() {
		return all
	}
	refusing := func(begin, end []any) func() {
		return func() {
			k.Redis.Do(begin[0].(string), begin[1:]...)
			testkit.Pause(k, time.Second)
			k.Redis.Do(end[0].(string), end[1:]...)
		}
	}
	return append(all,
		func() { k.worker.Kill(); k.start() },
		func() { k.worker.SignalMain(syscall.SIGTERM); k.worker.Wait(time.Minute); k.start() },
		refusing([]any{"CONFIG", "SET", "maxmemory", 1}, []any{"CONFIG", "SET", "maxmemory", 0}),
		refusing([]any{"REPLICAOF", "127.0.0.1", "1"}, []any{"REPLICAOF", "NO", "ONE"}),
		refusing([]any{"ACL", "SETUSER", "default", "-evalsha", "-eval"}, []any{"ACL", "SETUSER", "default", "+@all"}),
		func() {
			k.Redis.Proc.Signal(syscall.SIGKILL)
			<-k.Redis.Proc.Done
			testkit.Pause(k, 500*time.Millisecond)
			k.Redis.Start()
		})
}

// await waits for the end of the tasks, and starts the worker anew when one of them
// has ended it.
func (k *keeper) await(ids []string) {
	k.Helper()
	ok := testkit.Poll(time.Minute, func() bool {
		if k.worker.Ended() {
			k.start()
		}
		results := k.Redis.Results(ids)
		return !slices.ContainsFunc(ids, func(id string) bool { return !results[id].Final() && !k.rejected(id) })
	})
	k.Want(ok, "an end of each task: %s", k.Account(ids))
}

// rejected reports whether a task has no end by its nature: Celery stores nothing
// for some.
func (k *keeper) rejected(id string) bool {
	return k.Kind.IsCelery() && k.Redis.Results([]string{id})[id].Status == "RETRY" && k.answers[id]
}

// request is a control message.
func request(method, reply string, arguments map[string]any) string {
	body := map[string]any{"method": method, "arguments": arguments, "destination": nil}
	if arguments == nil {
		body["arguments"] = map[string]any{}
	}
	if reply != "" {
		body["reply_to"] = map[string]any{"exchange": "reply.celery.pidbox", "routing_key": reply}
		body["ticket"] = reply
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of texts always have a form
	}
	return control(base64.StdEncoding.EncodeToString(text))
}

// ask asks the worker, which may have ended or be cut off just now: then there is
// no answer to look at.
func (k *keeper) ask(method string, arguments map[string]any) {
	k.Helper()
	k.asked++
	asker := fmt.Sprintf("asker%d", k.asked)
	k.Redis.Do("SADD", "_kombu.binding.reply.celery.pidbox", asker+"\x06\x16\x06\x16"+asker+".reply.celery.pidbox")
	k.Redis.Do("PUBLISH", "/0.celery.pidbox", request(method, asker, arguments))
	list := asker + ".reply.celery.pidbox"
	testkit.Poll(5*time.Second, func() bool { return k.worker.Ended() || k.Redis.Int("LLEN", list) > 0 })
	k.search("answers to "+method, k.Redis.Dump(list))
}

// look searches the keys, but for the messages themselves and answers of handlers.
func (k *keeper) look() {
	k.Helper()
	for _, key := range k.Redis.Strings("KEYS", "*") {
		id, result := strings.CutPrefix(key, "celery-task-meta-")
		switch {
		case strings.HasPrefix(key, harness.Queue), key == "unacked", key == harness.DeadKey:
		case result && k.answers[id]:
		case result:
			k.search("results", k.Redis.Dump(key))
		case strings.HasSuffix(key, ".reply.celery.pidbox"):
			k.search("answers", k.Redis.Dump(key))
		default:
			k.search("key "+key, k.Redis.Dump(key))
		}
	}
}

// search counts the secrets in a text.
func (k *keeper) search(place, text string) {
	k.Helper()
	text = testkit.Unfold(text)
	k.seen += len(text)
	k.shown = k.shown || strings.Contains(text, "[redacted]")
	found := strings.Count(text, wordMark)
	at := strings.Index(text, wordMark)
	for _, span := range codes.FindAllStringIndex(text, -1) {
		if _, ok := k.known[text[span[0]:span[1]]]; ok {
			found, at = found+1, span[0]
		}
	}
	if found > 0 {
		if k.hits[place] == 0 {
			k.Logf("%s: … %s …", place, testkit.Clip(text[max(0, at-200):], 300))
		}
		k.hits[place] += found
	}
}

// report searches what is complete at the end only, and says what was found.
func (k *keeper) report(ids []string, faults int) {
	k.Helper()
	k.look()
	events := 0
	for _, h := range k.spy.Heard() {
		id, result := strings.CutPrefix(h.Channel, "celery-task-meta-")
		switch {
		case result && k.answers[id]:
		case result:
			k.search("announcements", h.Text)
		default:
			events += strings.Count(h.Text, `"type": "task-`) // some are sent in one message
			k.search("events", h.Text)
		}
	}
	k.worker.SignalMain(syscall.SIGTERM)
	k.worker.Wait(time.Minute)
	lines := 0
	for _, p := range k.past {
		lines += strings.Count(p.Out.String(), "\n")
		k.search("log", p.Out.String())
	}
	sum, places := harness.Sum(k.hits), slices.Sorted(maps.Keys(k.hits))
	k.Figure("%d tasks with 4 secrets each, %d faults; %d events, %d lines of the log, %d kB looked at: %d hits%s",
		len(ids), faults, events, lines, k.seen>>10, sum, in(places))
	k.Want(sum == 0, "no secret anywhere, are %d%s", sum, in(places))
	// The looking itself is looked at.
	log := ""
	for _, p := range k.past {
		log += p.Out.String()
	}
	k.Want(events > len(ids), "events of each task, have %d", events)
	k.Want(strings.Contains(log, ids[0]), "the tasks in the log")
	if !k.Kind.IsCelery() {
		k.Want(k.shown, "something hidden to be seen")
		k.Want(k.Redis.Int("HLEN", harness.DeadKey) >= 5, "dead letters of what was refused, crashed, given up, unknown and unreadable, have %d", k.Redis.Int("HLEN", harness.DeadKey))
	}
}

func in(places []string) string {
	if len(places) == 0 {
		return ""
	}
	return ", in " + strings.Join(places, ", ")
}
