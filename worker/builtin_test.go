package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

func TestBuiltinTasks(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	var got protocol.Raw
	if err := b.get(t, canvas.New("celery.accumulate", 1, "x"), &got); err != nil || string(got) != `[1, "x"]` {
		t.Errorf("accumulate gave %s, %v", got, err)
	}
	if err := b.get(t, canvas.New("celery.accumulate", 1, "x").Kwarg("index", -1), &got); err != nil || string(got) != `"x"` {
		t.Errorf("accumulate with an index gave %s, %v", got, err)
	}
	if err := b.get(t, canvas.New("celery.backend_cleanup"), nil); err != nil {
		t.Errorf("backend_cleanup: %v", err)
	}
	err := b.get(t, canvas.New("celery.chain"), nil)
	if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "NotImplementedError" {
		t.Errorf("chain: %v, want NotImplementedError", err)
	}
	err = b.get(t, canvas.Map(canvas.New("nobody's"), 1), nil)
	if e, ok := errors.AsType[*worker.Exception](err); !ok || e.Type != "NotRegistered" {
		t.Errorf("map of an unknown task: %v, want NotRegistered", err)
	}

	// The chord of a backend that cannot count.
	ctx := context.Background()
	one, err := b.client(t).Send(ctx, canvas.New("add", 1, 2).Set(canvas.Options{Countdown: 50 * time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	body := canvas.New("sum").Set(canvas.Options{TaskID: "body"})
	unlock := canvas.New("celery.chord_unlock", "group", body).Kwarg("result", []any{one}).Kwarg("interval", 0.01)
	if _, err := b.client(t).Send(ctx, unlock); err != nil {
		t.Fatal(err)
	}
	b.eventually(t, "the body has run", func() bool { return b.status("body") == "SUCCESS" })
}

// TestChordUnlockFails: the body fails as Celery fails it, when a member has failed and
// when the header is not complete after the last look.
func TestChordUnlockFails(t *testing.T) {
	b := start(t, worker.Config{Tasks: arithmetic(), Publishing: worker.Publishing{DefaultQueue: "q"}})
	handle := func(id string) []any { return []any{[]any{id, nil}, nil} }
	unlock := func(body string, more ...any) *canvas.Signature {
		return named(body+" unlock", canvas.New("celery.chord_unlock", "group", named(body, canvas.New("sum"))).Kwarg("result", more))
	}
	b.failed(t, named("member", canvas.New("fail")), "member")
	got := b.failed(t, unlock("body", handle("member")), "body")
	if want := "Dependency member raised ValueError('no')"; got.Exception.Type != "ChordError" || got.Exception.Args[0] != want {
		t.Errorf("failed with %+v, want %s", got.Exception, want)
	}
	got = b.failed(t, unlock("late", handle("nowhere")).Kwarg("max_retries", 0), "late")
	if want := "chord_unlock could not be retried: MaxRetriesExceededError("; got.Exception.Type != "ChordError" || !strings.HasPrefix(got.Exception.Args[0].(string), want) {
		t.Errorf("failed with %+v, want %s", got.Exception, want)
	}
}
