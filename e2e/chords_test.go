package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// sentChord is a chord that real Celery has sent; see testdata/chords.py.
type sentChord struct {
	body    string
	group   string
	members []string
	sum     int // of the numbers of its members, which is the result of the body
}

// sendChords starts a producer of chords, and returns a function that waits for its end.
func sendChords(t testing.TB, r *redisServer, chords, members int, seconds string) (sent func() []sentChord) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chords")
	producer := start(t, "producer of chords", pythonEnv(), python(t, celeryNew), "testdata/chords.py",
		r.url(), queue, strconv.Itoa(chords), strconv.Itoa(members), seconds, file)
	return func() []sentChord {
		t.Helper()
		if code := producer.wait(2 * time.Minute); code != 0 {
			t.Fatalf("the producer of chords ended with %d: %s", code, last(producer.out.String(), 3000))
		}
		return parseChords(t, file, chords, members)
	}
}

// parseChords reads what testdata/chords.py wrote.
func parseChords(t testing.TB, file string, chords, members int) []sentChord {
	t.Helper()
	out, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []sentChord
	for line := range strings.Lines(string(out)) {
		ids := strings.Fields(line)
		if len(ids) != members+2 {
			t.Fatalf("the producer of chords wrote %q, want a body, a group and %d members", clip(line, 200), members)
		}
		first := len(all) * members
		all = append(all, sentChord{ids[0], ids[1], ids[2:], members*first + members*(members-1)/2})
	}
	if len(all) != chords {
		t.Fatalf("%d chords were sent, want %d", len(all), chords)
	}
	return all
}

func bodiesOf(chords []sentChord) (ids []string) {
	for _, c := range chords {
		ids = append(ids, c.body)
	}
	return ids
}

func membersOf(chords []sentChord) (ids []string) {
	for _, c := range chords {
		ids = append(ids, c.members...)
	}
	return ids
}

// long reports whether the tests are to run in their full size.
func long() bool { return os.Getenv("E2E_LONG") != "" }

// TestChordsKilled kills workers that share the members of chords, at random: no
// body may be lost, and none may be published twice.
func TestChordsKilled(t *testing.T) {
	t.Parallel()
	chords, members, kills := 60, 50, 15
	if long() {
		chords, kills = 200, 60
	}
	chance := seeded(t)
	r := startRedis(t)
	flags := []string{"-redeliveries", "100", "-owner-timeout", "3s"}
	workers := []*process{startWorker(t, r, "left", flags...), startWorker(t, r, "right", flags...)}
	begin := time.Now()
	sent := sendChords(t, r, chords, members, "0.02")
	hit := newSuspects(r)
	for range kills {
		victim := chance.IntN(2)
		pause(t, between(chance, 200*time.Millisecond, 800*time.Millisecond))
		workers[victim].signal(syscall.SIGSTOP) // so that what it holds can be read
		hit.claimed()
		workers[victim].kill()
		workers[victim] = startWorker(t, r, workers[victim].name, flags...)
	}
	all := sent()
	t.Logf("%d kills in %s, %d tasks still waiting", kills, time.Since(begin).Round(time.Millisecond), r.waiting(queue))
	c := awaitResults(r, bodiesOf(all), 3*time.Minute)
	t.Logf("bodies: %s", c)
	if members := countResults(r, membersOf(all)); members.succeeded != members.tasks {
		t.Errorf("members: %s", members)
	}
	checkSums(r, all)
	twice := checkTwice(r, all, hit)
	if len(twice.published) != 0 {
		t.Errorf("bodies %v were published more than once", twice.published)
	}
	r.settled(queue)
	if again := r.int("HLEN", "e2e:redelivered"); again == 0 {
		t.Error("no task was redelivered: the kills hit idle workers and prove nothing")
	}
	if dead := deadLetters(t, r); len(dead) != 0 {
		t.Errorf("%d dead letters, the first one: %+v", len(dead), dead[0])
	}
}

// TestChordsMixed lets Python workers and ours share the members of each chord,
// and kills them in turn. No body may be lost.
func TestChordsMixed(t *testing.T) {
	t.Parallel()
	for _, celery := range []string{celeryOld, celeryNew} {
		t.Run(celery, func(t *testing.T) {
			t.Parallel()
			chordsMixed(t, celery)
		})
	}
}

func chordsMixed(t *testing.T, celery string) {
	const visibility = 5 * time.Second
	chords, members, kills := 30, 20, 4 // of each
	if long() {
		chords, members, kills = 200, 50, 40
	}
	chance := seeded(t)
	r := startRedis(t)
	flags := []string{"-visibility", visibility.String(), "-redeliveries", "100", "-concurrency", "2"}
	all := sendChords(t, r, chords, members, "0.05")()
	ours := startWorker(t, r, "ours", flags...)
	theirs := startPeer(t, celery, r, queue, "theirs", visibility)
	hit := newSuspects(r)
	begin := time.Now()
	holes := 0
	for range kills {
		awaitRuns(t, r, "python")
		pause(t, between(chance, 50*time.Millisecond, 300*time.Millisecond))
		checkPeer(t, theirs)
		holes += killPeer(t, r, theirs, func() []string { return nowhereChords(r, all) }, hit.claimed)
		theirs = startPeer(t, celery, r, queue, "theirs", visibility)

		awaitRuns(t, r, "go")
		pause(t, between(chance, 50*time.Millisecond, 300*time.Millisecond))
		ours.signal(syscall.SIGSTOP)
		hit.claimed()
		ours.kill()
		ours = startWorker(t, r, "ours", flags...)
	}
	t.Logf("%d kills of each in %s, %d tasks still waiting; %d kills put off, as Python would have lost a task by itself",
		kills, time.Since(begin).Round(time.Millisecond), r.waiting(queue), holes)
	c := awaitResults(r, bodiesOf(all), 5*time.Minute)
	t.Logf("bodies: %s; runs by %v", c, r.strings("HGETALL", "e2e:by"))
	checkSums(r, all)
	twice := checkTwice(r, all, hit)
	t.Logf("%d bodies ran again with the message they had, %d were published again, all after a redelivery", len(twice.ran), len(twice.published))
	r.settled(queue)
	checkPeer(t, theirs)
	if dead := deadLetters(t, r); len(dead) != 0 {
		t.Errorf("%d dead letters, the first one: %+v", len(dead), dead[0])
	}
}

// checkSums wants of each body the sum of its members.
func checkSums(r *redisServer, chords []sentChord) {
	r.t.Helper()
	results := r.results(bodiesOf(chords))
	for _, c := range chords {
		if got := string(results[c.body].Result); got != strconv.Itoa(c.sum) {
			r.t.Errorf("body %s returned %s, want %d", c.body, got, c.sum)
		}
	}
}

// nowhereChords lists members, and bodies of chords that have ended, that are
// neither waiting nor claimed nor done. A chord has ended when its size is gone:
// before that the worker that publishes the body still holds a member. Celery 5.7 has
// another hole: a worker that dies with a claim on a chord leaves a member that any
// Python worker acknowledges without publishing the body, as long as the claim lives.
// Its claims are the hexadecimal digits of a UUID.
func nowhereChords(r *redisServer, chords []sentChord) []string {
	r.t.Helper()
	ids := membersOf(chords)
	for _, c := range chords {
		if r.int("EXISTS", "celery-taskset-meta-"+c.group+".s") == 0 {
			ids = append(ids, c.body)
		}
	}
	lost := r.nowhere(queue, ids)
	for _, c := range chords {
		if claim, _ := redigo.String(r.do("GET", "celery-taskset-meta-"+c.group+".c"), nil); len(claim) == 32 {
			lost = append(lost, c.body)
		}
	}
	return lost
}

// twice are bodies with more than one run.
type twice struct {
	ran       []string // the same message again
	published []string // by more than one message
}

// checkTwice looks for bodies that ran more than once. That may happen only where
// a worker was killed that held the body, or a member of its chord: Celery's
// workers may die when they have published a body and not yet noted it.
func checkTwice(r *redisServer, chords []sentChord, hit *suspects) (found twice) {
	r.t.Helper()
	runs := r.runs()
	for _, c := range chords {
		if runs[c.body] < 2 {
			continue
		}
		explained := hit.has(c.body)
		if r.int("SCARD", "e2e:tags:"+c.body) > 1 {
			found.published = append(found.published, c.body)
			for _, id := range c.members {
				explained = explained || hit.has(id)
			}
		} else {
			found.ran = append(found.ran, c.body)
		}
		if !explained {
			r.t.Errorf("body %s ran %d times, and neither it nor a member was in the hands of a worker that was killed", c.body, runs[c.body])
		}
	}
	return found
}

// suspects are tasks that may run again: they were claimed when a worker was
// killed, or said themselves that they were redelivered.
type suspects struct {
	r   *redisServer
	ids map[string]bool
}

func newSuspects(r *redisServer) *suspects { return &suspects{r, map[string]bool{}} }

// claimed adds all that is claimed now.
func (s *suspects) claimed() {
	s.r.t.Helper()
	for _, raw := range s.r.strings("HVALS", "unacked") {
		var entry []json.RawMessage
		if err := json.Unmarshal([]byte(raw), &entry); err != nil || len(entry) != 3 {
			s.r.t.Fatalf("entry of unacked: %v, %d parts", err, len(entry))
		}
		s.ids[parseMessage(s.r.t, string(entry[0])).Headers.ID] = true
	}
}

func (s *suspects) has(id string) bool {
	return s.ids[id] || s.r.int("HEXISTS", "e2e:redelivered", id) == 1
}
