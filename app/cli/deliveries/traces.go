package deliveries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis"
)

// traces is what Redis has of a task, for a mail that the history does not settle.
type traces struct {
	Error      string             `json:"error,omitempty"`
	DeadLetter *broker.DeadLetter `json:"dead_letter,omitempty"`
	Status     string             `json:"status,omitempty"` // of the result; "": there is none
	Success    *bool              `json:"success,omitempty"`
	Reason     string             `json:"reason,omitempty"` // why Success is false
	At         *time.Time         `json:"at,omitempty"`
	Waiting    int                `json:"waiting,omitempty"`        // messages in the queues
	Unwritten  int                `json:"waiting_events,omitempty"` // events that are not in the history yet
}

// redisPatience is how long Redis is asked.
const redisPatience = 2 * time.Second

// lookInRedis looks for the traces of a task.
func lookInRedis(ctx context.Context, cfg config.Config, taskID string) (tr traces) {
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	b, err := app.OpenBroker(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return traces{Error: err.Error()}
	}
	defer b.Close()
	results, err := tr.read(ctx, b, taskID)
	if err != nil {
		return traces{Error: plainError(err)}
	}
	if len(results) == 0 || results[0] == nil {
		return tr
	}
	r := results[0]
	tr.Status = r.Status
	if !r.DateDone.IsZero() {
		tr.At = &r.DateDone
	}
	var value tasks.Result
	if text, err := json.Marshal(r.Result); err == nil && r.Status == "SUCCESS" && json.Unmarshal(text, &value) == nil {
		tr.Success, tr.Reason = &value.Success, value.Error
	}
	return tr
}

// plainError returns the text of an error of Redis without what was asked for.
func plainError(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer"
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return err.Error()
}

// read asks for what Redis has.
func (tr *traces) read(ctx context.Context, b *redis.Broker, taskID string) ([]*protocol.Result, error) {
	depths, err := b.Depths(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range depths {
		tr.Waiting += n
	}
	if backlog, err := b.Backlog(ctx, ledger.StreamName); err == nil {
		tr.Unwritten = backlog.Length
	}
	if tr.DeadLetter, err = letterOf(ctx, b.Letters(), taskID); err != nil {
		return nil, err
	}
	return b.Results(ctx, []string{taskID})
}

// letterOf returns the newest dead letter of a task, nil if there is none.
func letterOf(ctx context.Context, letters monitor.Letters, taskID string) (*broker.DeadLetter, error) {
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

// judge decides by the traces alone, "" if they say nothing.
func (tr traces) judge() (verdict, string) {
	at := ""
	if tr.At != nil {
		at = " of " + term.Clock(*tr.At)
	}
	switch {
	case tr.Success != nil && *tr.Success:
		return sentYes, fmt.Sprintf("Yes, by the result%s of the task: it says success. The history has nothing of it.", at)
	case tr.Success != nil && tr.DeadLetter == nil:
		return sentNo, fmt.Sprintf("No, by the result%s of the task: %s. The history has nothing of it.", at, term.Line(tr.Reason))
	case tr.DeadLetter != nil:
		return sentNo, fmt.Sprintf("No. The task became a dead letter at %s: %s. The history has nothing of it.", term.Clock(tr.DeadLetter.At), term.Line(tr.DeadLetter.Reason))
	case tr.Status == "RETRY", tr.Status == "STARTED", tr.Status == "RECEIVED":
		return sentNotYet, fmt.Sprintf("Not yet, by the state %s of the task. The history has nothing of it.", tr.Status)
	}
	return "", ""
}

// lines returns the traces for people.
func (tr traces) lines() (all []string) {
	if tr.Error != "" {
		return []string{"Redis could not be asked for a dead letter or a result: " + term.Line(tr.Error)}
	}
	if l := tr.DeadLetter; l != nil {
		short := l.ID[:min(len(l.ID), 12)]
		all = append(all, fmt.Sprintf("Dead letter %s since %s: %s", short, term.Clock(l.At), term.Line(l.Reason)),
			fmt.Sprintf("  %s dead-letters retry %s sends it again", term.ProgramName, short))
	}
	if tr.Status != "" {
		text := "Result of the task: " + term.Line(tr.Status)
		if tr.Success != nil {
			text += fmt.Sprintf(", success %t", *tr.Success)
		}
		if tr.Reason != "" {
			text += ", " + term.Line(tr.Reason)
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		all = append(all, fmt.Sprintf("Redis has neither a dead letter nor a result of the task; messages that wait in the queues: %d", tr.Waiting))
	}
	if tr.Unwritten > 0 {
		all = append(all, fmt.Sprintf("Events of mails that are not in the history yet: %d", tr.Unwritten))
	}
	return all
}
