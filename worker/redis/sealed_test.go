package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
	"github.com/evently/workers/worker/seal"
)

const (
	firstSecret, secondSecret = "the first secret of sixteen", "the second secret of sixteen"
	canary                    = "739155"
)

func box(t testing.TB, secrets ...string) *seal.Box {
	t.Helper()
	return must(seal.New(seal.Config{Secrets: secrets, Setting: "DEAD_LETTER_KEY"}))(t)
}

func openLetters(t testing.TB, cfg redis.Config) *redis.Letters {
	t.Helper()
	cfg.Logger = quiet()
	b := must(redis.New(cfg))(t)
	t.Cleanup(func() { b.Close() })
	return b.Letters()
}

// dumpLetters returns all that rests in the keys of dead letters.
func dumpLetters(t *testing.T, c redigo.Conn) string {
	t.Helper()
	var all strings.Builder
	for _, key := range must(redigo.Strings(c.Do("KEYS", "_goworker.1.dead*")))(t) {
		if must(redigo.String(c.Do("TYPE", key)))(t) == "hash" {
			for _, text := range must(redigo.Strings(c.Do("HGETALL", key)))(t) {
				all.WriteString(text + "\n")
			}
		}
	}
	return all.String()
}

// all reads all dead letters.
func all(t testing.TB, letters *redis.Letters) (found []broker.DeadLetter) {
	t.Helper()
	if err := letters.Each(t.Context(), func(l broker.DeadLetter) error { found = append(found, l); return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

// With a key no argument of a dead letter rests in Redis in clear. The message may have
// been refused by its task, unreadable, too large, poison, or of another version.
func TestDeadLettersAreEncrypted(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Conn(0)
	_, old := letterRaw(t, nil)
	oldLetter(t, c, "0dd0dd0dd0dd", now()-5, old)
	cfg := redis.Config{URL: s.URL(0), Sealer: box(t, firstSecret), MaxMessageSize: 4096}
	w, _ := runWorker(t, cfg, worker.Config{MaxRedeliveries: 1, Tasks: map[string]worker.Definition{
		"refused": {Handler: worker.Func(func(context.Context, struct {
			A protocol.Raw `celery:"a"`
		}) (any, error) {
			return nil, worker.GiveUp("no", "refused")
		})},
	}})
	send(t, c, "q", "refused", `["`+canary+`"]`)
	send(t, c, "q", "unknown", `["`+canary+`"]`)
	send(t, c, "q", "refused", `["`+strings.Repeat("x", 5000)+canary+`"]`)
	do(t, c, "LPUSH", "q", `not a message `+canary)
	poison, raw := letterRaw(t, func(m *protocol.Message) { m.Task, m.Redelivered = "refused", true })
	do(t, c, "HSET", "_goworker.1.crashes."+poison+":tag", "n", 5)
	do(t, c, "LPUSH", "q", strings.Replace(raw, `"delivery_info": {`, `"delivery_info": {"redelivered": true, `, 1))
	letters := openLetters(t, cfg)
	eventually(t, "six dead letters", func() bool { return len(all(t, letters)) == 6 })
	eventually(t, "all are encrypted", func() bool {
		for _, l := range all(t, letters) {
			if !l.Encrypted {
				return false
			}
		}
		return true
	})
	if text := dumpLetters(t, c); strings.Contains(text, canary) || strings.Contains(text, "alice") {
		t.Errorf("an argument rests in clear:\n%s", text)
	}
	names := map[string]int{}
	for _, l := range all(t, letters) {
		names[l.TaskName]++
		if l.Locked != nil || !bytes.Contains(l.Raw, []byte("739155")) && !strings.Contains(decoded(l.Raw), canary) || l.Size != len(l.Raw) {
			t.Errorf("%s %s cannot be read: %v, %d bytes of %d", l.ID, l.Reason, l.Locked, len(l.Raw), l.Size)
		}
	}
	if names["refused"] != 3 || names["unknown"] != 1 || names["mail"] != 1 || names[""] != 1 {
		t.Errorf("names are %v", names)
	}
	if f := w.Status().Fault; f != "" {
		t.Errorf("fault %s", f)
	}
}

// decoded returns the arguments of a message, "" if it cannot be read.
func decoded(raw []byte) string {
	m, err := protocol.Decode(raw, protocol.Limits{})
	if err != nil {
		return ""
	}
	return string(m.Args) + string(m.Kwargs)
}

// Without the key, or with another, everything but the message can be read, the error says what to
// do, and nothing is lost. A retried message is in its queue in clear.
func TestKeysOfDeadLetters(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	_, stop := runWorker(t, redis.Config{URL: s.URL(0), Sealer: box(t, firstSecret)}, worker.Config{Tasks: nothing()})
	task := send(t, c, "q", "unknown", `["`+canary+`"]`)
	first := openLetters(t, redis.Config{URL: s.URL(0), Sealer: box(t, firstSecret)})
	eventually(t, "a dead letter", func() bool { return len(all(t, first)) == 1 })
	id := all(t, first)[0].ID
	stop()
	for name, test := range map[string]struct {
		sealer broker.Sealer
		is     error
		words  string
	}{
		"no sealer":   {nil, nil, "give it the key of the workers"},
		"no key":      {box(t), seal.ErrNoKey, "set DEAD_LETTER_KEY to the key of the workers"},
		"another key": {box(t, secondSecret), seal.ErrWrongKey, "DEAD_LETTER_KEY has another one; while a key is replaced, write new,old"},
	} {
		letters := openLetters(t, redis.Config{URL: s.URL(0), Sealer: test.sealer})
		before := dumpLetters(t, c)
		l := must(letters.Get(t.Context(), id))(t)
		if l.TaskName != "unknown" || l.TaskID != task || l.Queue != "q" || l.Reason == "" || l.At.IsZero() || !l.Encrypted || l.Raw != nil {
			t.Errorf("%s: %+v", name, l)
		}
		for what, err := range map[string]error{"read": l.Locked, "retry": letters.Retry(t.Context(), id)} {
			var locked *broker.LockedError
			if !errors.As(err, &locked) || locked.ID != id || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.words) || strings.Contains(err.Error(), "secret of") {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		if after := dumpLetters(t, c); after != before {
			t.Errorf("%s: changed\n%s\nto\n%s", name, before, after)
		}
	}
	both := openLetters(t, redis.Config{URL: s.URL(0), Sealer: box(t, secondSecret, firstSecret)})
	if l := must(both.Get(t.Context(), id))(t); l.Locked != nil || decoded(l.Raw) != `["`+canary+`"]{}` {
		t.Errorf("with both keys: %v, %s", l.Locked, l.Raw)
	}
	// Bytes under another id, or changed ones, are refused.
	raw := must(redigo.Bytes(c.Do("HGET", "_goworker.1.dead", id)))(t)
	entry := must(redigo.Bytes(c.Do("HGET", "_goworker.1.dead.meta", id)))(t)
	do(t, c, "HSET", "_goworker.1.dead", "moved", raw)
	do(t, c, "HSET", "_goworker.1.dead.meta", "moved", entry)
	if l := must(first.Get(t.Context(), "moved"))(t); !errors.Is(l.Locked, seal.ErrChanged) {
		t.Errorf("under another id: %v", l.Locked)
	}
	do(t, c, "HDEL", "_goworker.1.dead", "moved")
	// A worker with the new key encrypts the letter anew. Then the old one is not needed.
	_, stop = runWorker(t, redis.Config{URL: s.URL(0), Sealer: box(t, secondSecret, firstSecret)}, worker.Config{Tasks: nothing()})
	second := openLetters(t, redis.Config{URL: s.URL(0), Sealer: box(t, secondSecret)})
	eventually(t, "encrypted with the new key", func() bool { return must(second.Get(t.Context(), id))(t).Locked == nil })
	stop()
	if err := second.RetryMany(t.Context(), []string{id}, "ann", "")[0]; err != nil {
		t.Fatal(err)
	}
	m, err := protocol.Decode(must(redigo.Bytes(c.Do("LINDEX", "q", 0)))(t), protocol.Limits{})
	if err != nil || string(m.Args) != `["`+canary+`"]` || m.ID != task {
		t.Errorf("the message in the queue: %v, %+v", err, m)
	}
	if text := dumpLetters(t, c); strings.Contains(text, canary) {
		t.Errorf("an argument rests in clear:\n%s", text)
	}
}

// The arguments of a letter whose time has come are wiped, their shape stays, and it cannot go back.
func TestExpiredDeadLettersAreWiped(t *testing.T) {
	t.Parallel()
	for name, sealer := range map[string]broker.Sealer{"clear": nil, "encrypted": box(t, firstSecret)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			c := s.Conn(0)
			cfg := redis.Config{URL: s.URL(0), Sealer: sealer, DeadLetterLives: map[string]time.Duration{"code": 1500 * time.Millisecond}}
			_, old := letterRaw(t, func(m *protocol.Message) { m.Task = "code" })
			oldLetter(t, c, "0dd0dd0dd0dd", now()-100, old) // of an earlier version
			letters := openLetters(t, cfg)
			if l := must(letters.Get(t.Context(), "0dd0dd0dd0dd"))(t); !l.Wiped || strings.Contains(decoded(l.Raw), canary) {
				t.Errorf("an expired letter of an earlier version shows %s", l.Raw)
			}
			runWorker(t, cfg, worker.Config{Tasks: nothing()})
			code := send(t, c, "q", "code", `["`+canary+`", {"name": "Alice", "list": [1, 2], "alice@example.com": true}]`)
			kept := send(t, c, "q", "other", `["`+canary+`"]`)
			brief := send(t, c, "q", "other", `["`+canary+`"]`, func(m *protocol.Message) { m.Expires = time.Now().Add(1500 * time.Millisecond) })
			byTask := func() map[string]broker.DeadLetter {
				found := map[string]broker.DeadLetter{}
				for _, l := range all(t, letters) {
					found[l.TaskID] = l
				}
				return found
			}
			eventually(t, "four dead letters", func() bool { return len(byTask()) == 4 })
			if l := byTask()[code]; l.Wiped || l.ExpiresAt.IsZero() || !strings.Contains(decoded(l.Raw), canary) {
				t.Errorf("not expired yet: %+v", l)
			}
			eventually(t, "their time has come", func() bool { l := byTask(); return l[code].Wiped && l[brief].Wiped })
			eventually(t, "wiped in Redis", func() bool { return strings.Count(decodedDump(t, c), canary) <= 1 })
			found := byTask()
			if l := found[kept]; l.Wiped || !l.ExpiresAt.IsZero() || !strings.Contains(decoded(l.Raw), canary) {
				t.Errorf("a letter that does not expire: %+v", l)
			}
			if got := decoded(found[code].Raw); got != `["", {"name": "", "list": [0, 0], "(name)": false}]{}` {
				t.Errorf("the shape is %s", got)
			}
			var expired *broker.ExpiredError
			for _, task := range []string{code, brief} {
				id := found[task].ID
				_, raw := letterRaw(t, nil)
				for _, err := range []error{letters.Retry(t.Context(), id), replace(t, letters, id, raw)} {
					if !errors.As(err, &expired) || expired.ID != id || !strings.Contains(err.Error(), "new message") {
						t.Errorf("%s: %v", task, err)
					}
				}
				if err := letters.Resolve(t.Context(), id, "ann", ""); err != nil {
					t.Error(err)
				}
			}
			if n := count(t, c, "LLEN", "q"); n != 0 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// decodedDump returns what rests of dead letters, with the arguments of messages in clear.
func decodedDump(t *testing.T, c redigo.Conn) string {
	var all strings.Builder
	for _, text := range must(redigo.Strings(c.Do("HVALS", "_goworker.1.dead")))(t) {
		all.WriteString(decoded([]byte(strings.TrimPrefix(text, "wiped "))) + "\n")
	}
	return all.String() + dumpLetters(t, c)
}

// replyEater leads to a server, and drops the reply to requests with a word, so many times.
type replyEater struct {
	addr string
	word []byte
	left atomic.Int64
}

func startReplyEater(t *testing.T, to, word string, times int64) *replyEater {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	p := &replyEater{addr: l.Addr().String(), word: []byte(word)}
	p.left.Store(times)
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far := must(net.Dial("tcp", to))(t)
			var eats atomic.Bool
			all.Go(func() {
				defer far.Close()
				p.pipe(far, near, func(b []byte) bool {
					if bytes.Contains(b, p.word) && p.left.Add(-1) >= 0 {
						eats.Store(true)
					}
					return true
				})
			})
			all.Go(func() { defer near.Close(); p.pipe(near, far, func([]byte) bool { return !eats.Load() }) })
		}
	})
	return p
}

func (p *replyEater) pipe(to, from net.Conn, passes func([]byte) bool) {
	for b := make([]byte, 1<<20); ; {
		n, err := from.Read(b)
		if n > 0 {
			if !passes(b[:n]) {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A change whose reply got lost is made once, and reported as made, even if all replies to the script
// get lost.
func TestLostRepliesOfDeadLetters(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*redis.Letters, string) error{
		`"state":"retried"`: func(l *redis.Letters, _ string) error {
			return l.RetryMany(t.Context(), []string{"aaaa"}, "ann", "")[0]
		},
		`"state":"replaced"`: func(l *redis.Letters, raw string) error {
			_, err := l.Replace(t.Context(), "aaaa", []byte(raw), "ann", "")
			return err
		},
		`"state":"dealt_with"`: func(l *redis.Letters, _ string) error { return l.Resolve(t.Context(), "aaaa", "ann", "") },
	} {
		for _, times := range []int64{1, 2, 1000} {
			t.Run(fmt.Sprintf("%s %d", name, times), func(t *testing.T) {
				s := redistest.Start(t)
				c := s.Conn(0)
				_, raw := letterRaw(t, nil)
				oldLetter(t, c, "aaaa", now(), raw)
				oldLetter(t, c, "bbbb", now(), raw)
				if err := backend(t, s).Letters().Retry(t.Context(), "bbbb"); err != nil { // which loads the script
					t.Fatal(err)
				}
				do(t, c, "DEL", "q")
				eater := startReplyEater(t, s.Addr, name, times)
				letters := openLetters(t, redis.Config{URL: "redis://" + eater.addr + "/0"})
				if err := change(letters, raw); err != nil {
					t.Errorf("%v", err)
				}
				want := 1
				if strings.Contains(name, "dealt") {
					want = 0
				}
				if n := count(t, c, "LLEN", "q"); n != want {
					t.Errorf("%d messages", n)
				}
				eater.left.Store(0)
				var state *broker.LetterStateError
				if err := change(letters, raw); !errors.As(err, &state) || state.By != "ann" {
					t.Errorf("again: %v", err)
				}
				if n := count(t, c, "LLEN", "q"); n != want {
					t.Errorf("%d messages after another try", n)
				}
			})
		}
	}
}

// Two processes retry the same letters at once, and Redis is killed in between: each letter is one
// message, or still open.
func TestTwoProcessesRetryWhileRedisDies(t *testing.T) {
	t.Parallel()
	if url := os.Getenv("RETRY_LETTERS_OF"); url != "" {
		retryEverything(t, url)
		return
	}
	s := redistest.Start(t)
	c := s.Conn(0)
	const all = 600
	tasks := map[string]bool{}
	for i := range all {
		id, raw := letterRaw(t, nil)
		tasks[id] = true
		oldLetter(t, c, fmt.Sprintf("id%04d", i), now(), raw)
	}
	var processes []*exec.Cmd
	var outputs [2]bytes.Buffer
	for i := range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestTwoProcessesRetryWhileRedisDies$")
		cmd.Env = append(os.Environ(), "RETRY_LETTERS_OF="+s.URL(0))
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		processes = append(processes, cmd)
	}
	eventually(t, "some are back", func() bool { return count(t, c, "LLEN", "q") > all/10 })
	s.Kill()
	s.Up()
	for i, cmd := range processes {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &outputs[i])
		}
	}
	c = s.Conn(0)
	seen := map[string]int{}
	for _, raw := range must(redigo.ByteSlices(c.Do("LRANGE", "q", 0, -1)))(t) {
		seen[must(protocol.ParseEnvelope(raw))(t).ID]++
	}
	for id := range tasks {
		if seen[id] != 1 {
			t.Errorf("%s is there %d times", id, seen[id])
		}
	}
	if n := count(t, c, "ZCARD", "_goworker.1.dead.closed.index"); n != all || len(seen) != all {
		t.Errorf("%d closed letters and %d messages, want %d", n, len(seen), all)
	}
}

// retryEverything retries all letters until none is open.
func retryEverything(t *testing.T, url string) {
	letters := openLetters(t, redis.Config{URL: url})
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		var ids []string
		err := letters.Each(t.Context(), func(l broker.DeadLetter) error { ids = append(ids, l.ID); return nil }, broker.LetterOpen)
		if err == nil && len(ids) == 0 {
			return
		}
		letters.RetryMany(t.Context(), ids, "process", "")
	}
	t.Error("letters are still open")
}

// The number of letters that were lost to the bound is counted in Redis, and survives workers.
func TestDroppedDeadLettersAreCounted(t *testing.T) {
	s := redistest.Start(t)
	c := s.Conn(0)
	cfg := redis.Config{URL: s.URL(0), DeadLettersMax: 5, DeadLettersAge: time.Hour}
	_, stop := runWorker(t, cfg, worker.Config{Concurrency: 1, PrefetchMultiplier: 1, Tasks: nothing()})
	for range 12 {
		send(t, c, "q", "unknown", "[]")
	}
	letters := openLetters(t, cfg)
	counts := func() broker.LetterCounts { return must(letters.Counts(t.Context()))(t) }
	eventually(t, "seven are dropped", func() bool { n := counts(); return n.Dropped == 7 && n.Open == 5 })
	stop()
	if n := counts(); time.Since(n.LastDropped) > time.Minute || n.Aged != 0 || n.Closed != 0 {
		t.Errorf("counts are %+v", n)
	}
	// Closed ones have a bound of their own, and displace none.
	for _, l := range all(t, letters) {
		if err := letters.Resolve(t.Context(), l.ID, "ann", ""); err != nil {
			t.Fatal(err)
		}
	}
	oldLetter(t, c, "0dd0dd0dd0dd", now()-3601, "x")
	_, stop = runWorker(t, cfg, worker.Config{Tasks: nothing()})
	for range 3 {
		send(t, c, "q", "unknown", "[]")
	}
	eventually(t, "one is too old", func() bool {
		n := counts()
		return n == broker.LetterCounts{Open: 3, Closed: 5, Dropped: 7, Aged: 1, LastDropped: n.LastDropped}
	})
	stop()
}
