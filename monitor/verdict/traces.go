package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Traces is what Redis has of a task, for a mail that the history does not settle.
type Traces struct {
	Broker     string             `json:"broker,omitempty"` // that has them, of several
	Error      string             `json:"error,omitempty"`
	DeadLetter *broker.DeadLetter `json:"dead_letter,omitempty"`
	Status     string             `json:"status,omitempty"` // of the result; "": there is none
	Success    *bool              `json:"success,omitempty"`
	Reason     string             `json:"reason,omitempty"` // why Success is false
	At         *time.Time         `json:"at,omitempty"`
	Waiting    int                `json:"waiting,omitempty"`        // messages in the queues
	Unwritten  int                `json:"waiting_events,omitempty"` // events that are not in the history yet
	Oldest     *time.Time         `json:"oldest_event,omitempty"`   // of those
	Begun      bool               `json:"begun,omitempty"`          // the task was revoked while it ran

	unread   bool // Unwritten is not known
	withheld bool // a retry is not sent: the address is suppressed
}

// RedisPatience is how long Redis is asked.
const RedisPatience = 2 * time.Second

// Redis is what the traces of a task are looked for in. [redis.Broker] is one, but for its
// letters.
type Redis interface {
	// Depths returns the number of waiting messages in each queue.
	Depths(ctx context.Context) (map[string]int, error)

	// Backlog describes a stream of events.
	Backlog(ctx context.Context, stream string) (broker.Backlog, error)

	// Results returns the stored results of tasks, nil where there is none.
	Results(ctx context.Context, ids []string) ([]*protocol.Result, error)
}

// Look looks for the traces of a task, for at most [RedisPatience]. Without an id it looks only
// whether the history is behind, and how many messages wait.
func Look(ctx context.Context, r Redis, letters Letters, taskID string) (tr Traces) {
	ctx, cancel := context.WithTimeout(ctx, RedisPatience)
	defer cancel()
	results, err := tr.read(ctx, r, letters, taskID)
	if err != nil {
		return Traces{Error: PlainError(err)}
	}
	if len(results) == 0 || results[0] == nil {
		return tr
	}
	result := results[0]
	tr.Status = result.Status
	tr.Begun = result.Exception != nil && slices.Contains(result.Exception.Args, any("terminated")) // Celery's word
	if !result.DateDone.IsZero() {
		tr.At = &result.DateDone
	}
	var value tasks.Result
	if text, err := json.Marshal(result.Result); err == nil && result.Status == "SUCCESS" && json.Unmarshal(text, &value) == nil {
		tr.Success, tr.Reason = &value.Success, value.Error
	}
	return tr
}

// behind tells that the history lacks events, or is empty.
func (tr Traces) behind() string {
	if tr.Unwritten == 0 {
		return ""
	}
	return fmt.Sprintf(" The history is behind: %s of mails wait for its database, and this mail may be among them.", words.Count(int64(tr.Unwritten), "event"))
}

// usualLag is the age of events that the history lacks even when nothing is wrong.
const usualLag = 5 * time.Second

// newer tells that the history may lack a mail that is newer than the one it has.
func (tr Traces) newer(now time.Time) string {
	if tr.Unwritten == 0 || tr.Oldest == nil || now.Sub(*tr.Oldest) < usualLag {
		return ""
	}
	return fmt.Sprintf(" The history has been behind since %s: it may lack newer events and mails.", words.Clock(*tr.Oldest))
}

// Merge adds the traces in another broker: a task was in one of them.
func (tr Traces) Merge(other Traces) Traces {
	found := func(t *Traces) bool { return t.DeadLetter != nil || t.Status != "" }
	all, more := tr, other
	if !found(&all) && found(&more) {
		all, more = more, all
	}
	all.Waiting, all.Unwritten = all.Waiting+more.Waiting, all.Unwritten+more.Unwritten
	all.unread = all.unread || more.unread
	if all.Oldest == nil || more.Oldest != nil && more.Oldest.Before(*all.Oldest) {
		all.Oldest = more.Oldest
	}
	switch {
	case found(&all):
		return all
	case more.Error != "" && all.Error != "":
		all.Error += "; " + more.Broker + ": " + more.Error
	case more.Error != "":
		all.Error = more.Broker + ": " + more.Error
	}
	all.Broker = ""
	return all
}

// PlainError returns the text of an error of Redis without what was asked for.
func PlainError(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer"
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return err.Error()
}

// read asks for what Redis has.
func (tr *Traces) read(ctx context.Context, r Redis, letters Letters, taskID string) ([]*protocol.Result, error) {
	depths, err := r.Depths(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range depths {
		tr.Waiting += n
	}
	backlog, err := r.Backlog(ctx, ledger.StreamName)
	tr.Unwritten, tr.unread = backlog.Length, err != nil
	if !backlog.Oldest.IsZero() {
		tr.Oldest = &backlog.Oldest
	}
	if taskID == "" {
		return nil, nil
	}
	if tr.DeadLetter, err = LetterOf(ctx, letters, taskID); err != nil {
		return nil, err
	}
	return r.Results(ctx, []string{taskID})
}

// Letters lists open dead letters, the newest first.
type Letters interface {
	List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error)
}

// LetterOf returns the newest open dead letter of a task, nil if there is none among the newest
// ten thousand.
func LetterOf(ctx context.Context, letters Letters, taskID string) (*broker.DeadLetter, error) {
	const page, most = 500, 10_000
	for offset := 0; offset < most; offset += page {
		found, total, err := letters.List(ctx, offset, page)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			if l.TaskID == taskID {
				return &l, nil
			}
		}
		if len(found) == 0 || offset+page >= total {
			break
		}
	}
	return nil, nil
}

// unsure begins the reasons of dead letters whose mail may have been delivered.
const unsure = "delivery unsure"

// judge decides by the traces alone, "" if they say nothing. The verdict ends with what is said of
// the history.
func (tr Traces) judge(history string) (Sent, string) {
	at := ""
	if tr.At != nil {
		at = " of " + words.Clock(*tr.At)
	}
	switch {
	case tr.Success != nil && *tr.Success:
		return Yes, fmt.Sprintf("Yes, by the result%s of the task: it says success. %s", at, history)
	case tr.Success != nil && tr.DeadLetter == nil && strings.HasPrefix(tr.Reason, unsure):
		return Unknown, fmt.Sprintf("Not known, by the result%s of the task: %s. %s", at, words.Line(tr.Reason), history)
	case tr.Success != nil && tr.DeadLetter == nil:
		return No, fmt.Sprintf("No, by the result%s of the task: %s. %s", at, words.Line(tr.Reason), history)
	case tr.DeadLetter != nil && strings.HasPrefix(tr.DeadLetter.Reason, unsure):
		return Unknown, fmt.Sprintf("Not known. The task became a dead letter at %s: %s. %s", words.Clock(tr.DeadLetter.At), words.Line(tr.DeadLetter.Reason), history)
	case tr.DeadLetter != nil:
		return No, fmt.Sprintf("No. The task became a dead letter at %s: %s. %s", words.Clock(tr.DeadLetter.At), words.Line(tr.DeadLetter.Reason), history)
	case tr.Status == "RETRY", tr.Status == "STARTED", tr.Status == "RECEIVED":
		return NotYet, fmt.Sprintf("Not yet, by the state %s of the task. %s", tr.Status, history)
	}
	return "", ""
}

// revoked decides about a revoked task of which the history has nothing. A worker of this kind would
// have written the beginning of its run, a Python worker writes nothing.
func (tr Traces) revoked(history string) (Sent, string) {
	if tr.Begun || tr.unread || tr.Unwritten > 0 {
		return Unknown, "Not known: the task was revoked, perhaps while it ran. " + history
	}
	return No, "No, by the result of the task: it was revoked. " + history + " A Python worker that runs it nevertheless will store another result."
}

// Lines returns the traces for people.
func (tr Traces) Lines() (all []string) {
	if tr.Error != "" {
		return []string{"Redis could not be asked for a dead letter or a result: " + words.Line(tr.Error)}
	}
	if l := tr.DeadLetter; l != nil {
		short := l.ID[:min(len(l.ID), 12)]
		again := "sends it again"
		if tr.withheld {
			again += " as soon as the address is released"
		}
		all = append(all, fmt.Sprintf("Dead letter %s since %s: %s", short, words.Clock(l.At), words.Line(l.Reason)),
			fmt.Sprintf("  the command dead-letters retry %s%s %s", short, ofBroker(tr.Broker), again))
	}
	if tr.Status != "" {
		text := "Result of the task: " + words.Line(tr.Status)
		if tr.Success != nil {
			text += fmt.Sprintf(", success %t", *tr.Success)
		}
		if tr.Reason != "" {
			text += ", " + words.Line(tr.Reason)
		}
		all = append(all, text)
	}
	if tr.Broker != "" && len(all) > 0 {
		all = append(all, "Broker of the task: "+tr.Broker)
	}
	if len(all) == 0 {
		all = append(all, fmt.Sprintf("Redis has neither a dead letter nor a result of the task; messages that wait in the queues: %d", tr.Waiting))
	}
	if tr.Unwritten > 0 {
		all = append(all, fmt.Sprintf("Events of mails that are not in the history yet: %d", tr.Unwritten))
	}
	return all
}

// ofBroker returns the flag of commands about one of several brokers.
func ofBroker(name string) string {
	if name == "" {
		return ""
	}
	return " --broker " + name
}
