package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/evently/workers/worker"
)

type secretArgs struct {
	Mode string `celery:"mode"`
	OTP  string `celery:"otp"`
	User struct {
		Email    string `celery:"email"`
		Password string `celery:"password"`
		Token    string `celery:"token"`
	} `celery:"user"`
}

// secret is a task that gets secrets and cannot keep them: its mode says which way
// they try to get out.
func (n *notes) secret(ctx context.Context, in secretArgs) (any, error) {
	t, err := n.begun(ctx)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("cannot log in %s with %s, %s and %s", in.User.Email, in.OTP, in.User.Password, in.User.Token)
	switch in.Mode {
	case "fail":
		return nil, errors.New(t.Redact(text))
	case "raise": // its answer, which the caller gets as it is
		return nil, &worker.Exception{Type: "ValueError", Args: []any{text, map[string]string{"pin": in.OTP, "said": in.User.Password}}}
	case "retry":
		if t.Retries < 2 {
			return nil, worker.Retry(errors.New(t.Redact(text)))
		}
	case "again":
		if t.Retries < 2 {
			return nil, worker.Retry(errors.New(text))
		}
	case "panic":
		panic(text)
	case "panic with an error":
		panic(fmt.Errorf("wrapped: %w", errors.New(text)))
	case "reject":
		return nil, worker.Reject(text)
	case "give up":
		return nil, worker.GiveUp(map[string]any{"success": false}, text)
	case "slow":
		<-ctx.Done()
		return nil, fmt.Errorf("%s: %w", text, context.Cause(ctx))
	case "crash":
		return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	select {
	case <-time.After(300 * time.Millisecond):
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", text, context.Cause(ctx))
	}
	return map[string]any{"success": true, "note": t.Redact(text)}, n.ran(ctx)
}
