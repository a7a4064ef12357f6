package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// prefixes are the two settings that move keys, in the words of docs/operations.md.
type prefixes struct{ keys, results string }

// aclWorld is a server with a user of the recipe.
type aclWorld struct {
	prefixes
	c     redigo.Conn // of an administrator
	url   string      // of the user
	queue string
}

// recipe returns the words behind ACL SETUSER in the n-th example of
// docs/operations.md.
func recipe(t *testing.T, n int) (words []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```\nACL SETUSER ")
	if len(blocks) <= n+1 {
		t.Fatalf("docs/operations.md has %d recipes, want more than %d", len(blocks)-1, n)
	}
	block, _, _ := strings.Cut(blocks[n+1], "```")
	for _, w := range strings.Fields(block) {
		if strings.HasPrefix(w, `"`) { // as redis-cli reads it
			if w, err = strconv.Unquote(w); err != nil {
				t.Fatal(err)
			}
		}
		words = append(words, w)
	}
	return words
}

// apply puts prefixes where docs/operations.md says.
func (p prefixes) apply(words []string) []string {
	words = slices.Clone(words)
	for i, w := range words {
		for _, mark := range []string{"~", "&"} {
			name, ok := strings.CutPrefix(w, mark)
			switch {
			case !ok, strings.HasPrefix(name, "evently:"): // channels of the platform
			case strings.HasPrefix(name, "celery-task"):
				words[i] = mark + p.resultPrefix() + name
			default:
				words[i] = mark + p.keys + name
			}
		}
	}
	return words
}

func (p prefixes) resultPrefix() string {
	if p.results != "" && !strings.ContainsAny(p.results[len(p.results)-1:], ":_-.") {
		return p.results + "_"
	}
	return p.results
}

// The example with prefixes is the one without, changed as the text says.
func TestRecipeWithPrefixes(t *testing.T) {
	t.Parallel()
	got, want := recipe(t, 1), prefixes{"acme:", "team"}.apply(recipe(t, 0))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the example with prefixes (-want +got):\n%s", diff)
	}
}

// The recipe of docs/operations.md is enough for all that a worker and a client
// do, and has no right that they do not use, with and without prefixes.
func TestRightsOfAnACLUser(t *testing.T) {
	t.Parallel()
	for _, p := range []prefixes{{}, {keys: "acme:"}, {results: "team"}, {"acme:", "team"}} {
		t.Run(fmt.Sprintf("keys %q results %q", p.keys, p.results), func(t *testing.T) {
			t.Parallel()
			testRights(t, redistest.Start(t), p)
		})
	}
}

func testRights(t *testing.T, s *redistest.Server, p prefixes) {
	t.Helper()
	words := p.apply(recipe(t, 0))
	if p == (prefixes{"acme:", "team"}) {
		words = recipe(t, 1)
	}
	setuser := []any{"SETUSER"}
	for _, word := range words {
		setuser = append(setuser, strings.Replace(word, "/0.", "/3.", 1))
	}
	w := &aclWorld{prefixes: p, c: s.Conn(3), url: fmt.Sprintf("redis://%s:secret@%s/3", words[0], s.Addr), queue: "email_notifications"}
	c := w.c // of database 3, so that it has to be selected
	do(t, c, "ACL", setuser...)
	do(t, c, "CONFIG", "RESETSTAT")
	w.leaveBehind(t)

	tasks := aclTasks()
	for _, unordered := range []bool{false, true} {
		r := redis.Config{URL: w.url, KeyPrefix: p.keys, ResultKeyPrefix: p.results, ChordUnordered: unordered, StreamMax: aclStream, Logger: quiet()}
		client, b := aclClient(t, r, w.queue)
		r.OwnerTimeout = time.Second
		running, stop := runWorker(t, r, worker.Config{
			Queues: []string{w.queue}, TrackStarted: true, SharedRateLimits: true, DeduplicateSuccessful: true, Tasks: tasks,
			Publishing: worker.Publishing{DefaultQueue: w.queue},
		})
		useEverything(t, w, client, b)
		holdTasks(t, w, running)
		if f := running.Status().Fault; f != "" {
			t.Errorf("fault: %s", f)
		}
		for _, id := range []string{"python", "gone"} {
			eventually(t, "the message left behind is done: "+id, func() bool { return w.status(t, id) == "SUCCESS" })
		}
		stop()
		if n := count(t, c, "HLEN", p.keys+"unacked"); n != 0 {
			t.Errorf("%d unacknowledged, want none", n)
		}
	}
	w.checkRights(t, words)
}

// checkRights looks for rights that were missing, or not used.
func (w *aclWorld) checkRights(t *testing.T, words []string) {
	t.Helper()
	for _, entry := range must(redigo.Values(w.c.Do("ACL", "LOG")))(t) {
		t.Errorf("denied: %s", entry)
	}
	stats := must(redigo.String(w.c.Do("INFO", "commandstats")))(t)
	elsewhere := []string{"role", "ping"} // with Sentinels, and in idle connections
	for _, word := range words {
		command, granted := strings.CutPrefix(word, "+")
		if granted && !slices.Contains(elsewhere, command) && !strings.Contains(stats, "cmdstat_"+command+":") {
			t.Errorf("%s is never used: the recipe grants too much, or the test does too little", word)
		}
	}
	if used := strings.Contains(stats, "cmdstat_role:"); used {
		t.Error("ROLE is asked without Sentinels")
	}
	for _, key := range must(redigo.Strings(w.c.Do("KEYS", "*")))(t) {
		prefix := w.keys
		if strings.Contains(key, "celery-task") {
			prefix = w.resultPrefix()
		}
		if !strings.HasPrefix(key, prefix) {
			t.Errorf("the key %q lacks the prefix %q", key, prefix)
		}
	}
}

// leaveBehind enters messages of a worker that is gone, and of a Python worker.
func (w *aclWorld) leaveBehind(t *testing.T) {
	t.Helper()
	raw := must(protocol.Encode(&protocol.Message{ID: "python", Task: "nothing", DeliveryTag: "python", Exchange: "named", RoutingKey: "k"}))(t)
	do(t, w.c, "SADD", w.keys+"_kombu.binding.named", "k\x06\x16\x06\x16"+w.queue)
	do(t, w.c, "HSET", w.keys+"unacked", "python", protocol.EncodeEntry(protocol.Entry{Raw: raw, Exchange: "named", RoutingKey: "k"}))
	do(t, w.c, "ZADD", w.keys+"unacked_index", 1, "python")
	gone := "00000000-0000-0000-0000-000000000000"
	raw = must(protocol.Encode(&protocol.Message{ID: "gone", Task: "nothing", DeliveryTag: "gone", RoutingKey: w.queue}))(t)
	do(t, w.c, "HSET", w.keys+"unacked", gone+":0000000000000000000000000001", protocol.EncodeEntry(protocol.Entry{Raw: raw, RoutingKey: w.queue}))
	// Its index was lost: that is made anew.
	do(t, w.c, "ZADD", w.keys+"_goworker.1.owners", 0, gone)
}

// status returns the state of a task.
func (w *aclWorld) status(t *testing.T, id string) string {
	t.Helper()
	b, err := redigo.Bytes(w.c.Do("GET", w.resultPrefix()+"celery-task-meta-"+id))
	if errors.Is(err, redigo.ErrNil) {
		return "PENDING"
	}
	var s stored
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatalf("read result: %v", err)
	}
	return s.Status
}

// aclStream is the bound of the stream, which is exceeded.
const aclStream = 100

func aclTasks() map[string]worker.Definition {
	return map[string]worker.Definition{
		"nothing": {Handler: nothing()["nothing"].Handler, RateLimit: "1000/s"},
		"sum":     {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) { return task.Message.Args, nil })},
		"requeue": {Handler: worker.HandlerFunc(func(_ context.Context, task *worker.Task) (any, error) {
			if task.Redelivered {
				return 1, nil
			}
			return nil, worker.Requeue("once")
		})},
		"retry": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			if err := task.Held(ctx); err != nil {
				return nil, err
			}
			if err := task.UpdateState(ctx, "PROGRESS", 1); err != nil {
				return nil, err
			}
			if task.Retries > 0 {
				return 1, nil
			}
			return nil, &worker.RetryError{Countdown: -1}
		})},
		"record": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			_, err := task.Mark(ctx, "sending")
			task.EndMark("")
			for range 4 * aclStream {
				task.Record("s", "what", "sent")
			}
			return nil, err
		})},
		"grow": {Handler: worker.HandlerFunc(func(ctx context.Context, task *worker.Task) (any, error) {
			_, err := task.AddToChord(ctx, canvas.New("nothing"))
			return 1, err
		})},
	}
}

func aclClient(t *testing.T, r redis.Config, queue string) (*worker.Client, *redis.Broker) {
	t.Helper()
	b, err := redis.New(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	client, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{DefaultQueue: queue}})
	if err != nil {
		t.Fatal(err)
	}
	return client, b
}

// holdTasks holds a task, and has another one run behind it.
func holdTasks(t *testing.T, w *aclWorld, running *worker.Worker) {
	t.Helper()
	running.Hold("nothing")
	for range 600 { // a long queue is searched in part
		send(t, w.c, w.keys+w.queue, "nothing", "[]", func(m *protocol.Message) { m.Expires = time.Now().Add(-time.Hour) })
	}
	held := send(t, w.c, w.keys+w.queue, "nothing", "[]")
	other := send(t, w.c, w.keys+w.queue, "sum", "[1]")
	eventually(t, "the other task has run", func() bool { return w.status(t, other) == "SUCCESS" })
	if got := w.status(t, held); got != "PENDING" {
		t.Errorf("the held task is %s", got)
	}
	running.Hold()
	eventually(t, "the held task has run", func() bool { return w.status(t, held) == "SUCCESS" })
}

// useEverything does all that leads to another command or key.
func useEverything(t *testing.T, w *aclWorld, client *worker.Client, b *redis.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	priority := 6
	link := canvas.New("sum")
	for name, s := range map[string]*canvas.Signature{
		"task": canvas.New("nothing").Set(canvas.Options{Priority: &priority}).Link(link), "requeue": canvas.New("requeue"), "retry": canvas.New("retry"), "record": canvas.New("record"),
		"chain": canvas.Chain(canvas.New("nothing"), canvas.New("sum")),
		"chord": canvas.Chord([]*canvas.Signature{canvas.New("grow"), canvas.Group(canvas.New("nothing"), canvas.New("nothing"))}, canvas.New("sum")),
	} {
		r, err := client.Send(ctx, s)
		if err == nil {
			err = r.Get(ctx, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	group, err := client.Send(ctx, canvas.Group(canvas.New("nothing"), canvas.New("nothing")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(group.Get(ctx, nil), group.Save(ctx)); err != nil {
		t.Error(err)
	}
	if saved, err := client.Group(ctx, group.ID); err != nil || saved == nil {
		t.Errorf("saved group is %v, %v", saved, err)
	}
	if err := errors.Join(group.Forget(ctx), client.Revoke(ctx, "unheard of"), client.RevokeByStamps(ctx, map[string][]any{"tenant": {"acme"}})); err != nil {
		t.Error(err)
	}
	if got := w.status(t, "unheard of"); got != "REVOKED" {
		t.Errorf("a revoked task is %s", got)
	}

	useOutbox(t, b)
	hear(t, w, b)

	do(t, w.c, "LPUSH", w.keys+w.queue, "garbage")
	id := send(t, w.c, w.keys+w.queue, "unknown", "[]")
	eventually(t, "the unknown task has failed", func() bool { return w.status(t, id) == "FAILURE" })
	var letters []broker.DeadLetter
	eventually(t, "two dead letters", func() bool {
		if letters, _, err = b.Letters().List(ctx, 0, 10); err != nil {
			t.Fatal(err)
		}
		return len(letters) == 2
	})
	i := slices.IndexFunc(letters, func(l broker.DeadLetter) bool { return l.TaskID == id })
	if err := b.Letters().Retry(ctx, letters[i].ID); err != nil {
		t.Error(err)
	}
	if err := b.Letters().Delete(ctx, letters[1-i].ID); err != nil {
		t.Error(err)
	}
	eventually(t, "it is back among the dead letters", func() bool { return count(t, w.c, "HLEN", w.keys+"_goworker.1.dead") == 1 })
	letters, _, err = b.Letters().List(ctx, 0, 1)
	if err == nil {
		err = b.Letters().Delete(ctx, letters[0].ID)
	}
	if err != nil {
		t.Error(err)
	}
}

// hear listens to the channels of the platform, whose names have no prefix, and keeps a name.
func hear(t *testing.T, w *aclWorld, b *redis.Broker) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard, proved, ended := make(chan string, 10), make(chan struct{}, 100), make(chan error, 1)
	channels := []string{"evently:bookings:confirmed", "evently:events:created"}
	go func() {
		ended <- b.Subscribe(ctx, redis.Subscription{
			Name: "acl", Channels: channels, Every: time.Second, Message: func(channel string, _ []byte) { heard <- channel },
			Joined: func() { proved <- struct{}{} }, Left: func(err error) { t.Errorf("listening: %v", err) }, Heard: func(redis.Heard) { proved <- struct{}{} },
		})
	}()
	<-proved // it has joined
	<-proved // and may write what it has heard
	for _, c := range channels {
		do(t, w.c, "PUBLISH", c, "{}")
		if got := <-heard; got != c {
			t.Errorf("heard %s, want %s", got, c)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	d := b.Dictionary("acl", 1)
	for _, key := range []string{"one", "two"} { // the first one makes room
		if err := d.Set(t.Context(), key, "text"); err != nil {
			t.Error(err)
		}
	}
	if text, err := d.Get(t.Context(), "two"); text != "text" || err != nil {
		t.Errorf("Get: %q, %v", text, err)
	}
}

// useOutbox reads the entries of the task "record" and removes one.
func useOutbox(t *testing.T, b *redis.Broker) {
	t.Helper()
	es := must(b.Oldest(t.Context(), "s", 1))(t)
	if len(es) != 1 {
		t.Fatalf("%d entries", len(es))
	}
	if err := b.Remove(t.Context(), "s", []string{es[0].ID}); err != nil {
		t.Error(err)
	}
	if l := must(b.Backlog(t.Context(), "s"))(t); l.Length == 0 || l.Dropped == 0 {
		t.Errorf("backlog %+v of a stream that was full", l)
	}
}
