package main

import (
	"context"
	"fmt"
	"time"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// limits holds the time limits of a task.
type limits struct {
	Hard any `json:"time_limit"`
	Soft any `json:"soft_time_limit"`
}

func seconds(d time.Duration) any {
	if d == 0 {
		return nil
	}
	return int(d.Seconds())
}

// requestTasks return parts of their message.
func requestTasks() map[string]worker.Definition {
	about := func(tell func(*worker.Task) (any, error)) worker.Handler {
		return worker.HandlerFunc(func(_ context.Context, t *worker.Task) (any, error) { return tell(t) })
	}
	timeLimits := about(func(t *worker.Task) (any, error) {
		return limits{seconds(t.TimeLimit), seconds(t.SoftTimeLimit)}, nil
	})
	return map[string]worker.Definition{
		"ids": {Handler: worker.Func(func(ctx context.Context, in struct{ I any }) ([]any, error) {
			t, _ := worker.TaskFrom(ctx)
			return idsOf(t, in.I), nil
		})},
		"collect_ids": {Handler: worker.Func(func(ctx context.Context, in struct{ Res, I any }) ([]any, error) {
			t, _ := worker.TaskFrom(ctx)
			return []any{in.Res, idsOf(t, in.I)}, nil
		})},
		"return_priority": {Handler: about(func(t *worker.Task) (any, error) {
			return fmt.Sprintf("Priority: %d", t.Message.Priority), nil
		})},
		"return_properties": {Handler: about(func(t *worker.Task) (any, error) {
			properties := map[string]any{
				"correlation_id": t.Message.CorrelationID, "reply_to": t.Message.ReplyTo,
				"priority": t.Message.Priority, "delivery_tag": t.Message.DeliveryTag,
			}
			for _, p := range t.Message.Properties {
				properties[p.Name] = p.Value
			}
			return properties, nil
		})},
		"return_request_eta": {Handler: about(func(t *worker.Task) (any, error) {
			if t.ETA.IsZero() {
				return nil, nil
			}
			return protocol.FormatTime(t.ETA), nil
		})},
		"return_request_time_limits":     {Handler: timeLimits},
		"task_with_declared_time_limits": {Handler: timeLimits, TimeLimit: time.Minute, SoftTimeLimit: 45 * time.Second},
	}
}

func idsOf(t *worker.Task, i any) []any {
	var parent any
	if t.ParentID != "" {
		parent = t.ParentID
	}
	return []any{t.RootID, parent, i}
}
