package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// revokesLife and revokesMax bound the stored revocations, as a Python worker bounds those
// in its memory (CELERY_WORKER_REVOKE_EXPIRES, CELERY_WORKER_REVOKES_MAX).
const (
	revokesLife = 3 * time.Hour
	revokesMax  = 50_000
)

// revocations stores revocations for all workers.
type revocations struct {
	*server
}

// revoke stores a revocation.
func (rv *revocations) revoke(ctx context.Context, r broker.Revocation) error {
	args := []any{int(revokesLife.Seconds()), revokesMax, rv.resultExpires(), len(r.IDs)}
	for _, id := range r.IDs {
		value, err := protocol.EncodeResult(&protocol.Result{
			TaskID: id, Status: protocol.StateRevoked, Children: protocol.Raw("null"), DateDone: time.Now(),
			Exception: &protocol.Exception{Type: "TaskRevokedError", Module: "celery.exceptions", Args: []any{"revoked"}},
		})
		if err != nil {
			return fmt.Errorf("revoke %s: %w", id, err)
		}
		args = append(args, id, rv.keys.result(id), value)
	}
	for name, values := range r.Stamps {
		for _, v := range values {
			text, err := protocol.Marshal([]any{name, v})
			if err != nil {
				return fmt.Errorf("revoke by the stamp %s: %w", name, err)
			}
			args = append(args, text)
		}
	}
	if _, err := rv.script(ctx, rv.scripts.Revoke, 2, append([]any{rv.keys.revoked, rv.keys.stamps}, args...)...); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// since returns the revocations after a moment. The moment is the greatest score seen of
// each set. Revocations with that very score are returned again.
func (rv *revocations) since(ctx context.Context, since string) (r broker.Revocation, next string, err error) {
	idsSince, stampsSince, _ := strings.Cut(since, " ")
	oldest := strconv.FormatFloat(float64(time.Now().Add(-revokesLife).Unix()), 'f', 0, 64)
	if idsSince == "" {
		idsSince = oldest
	}
	if stampsSince == "" {
		stampsSince = oldest
	}
	var ids, stamps []string
	err = rv.do(ctx, func(c redigo.Conn) error {
		// A key of another type only costs its purpose: a worker that starts revokes nothing.
		if ids, err = redigo.Strings(c.Do("ZRANGEBYSCORE", rv.keys.revoked, idsSince, "+inf", "WITHSCORES")); err != nil && !conn.IsWrongType(err) {
			return err
		}
		if stamps, err = redigo.Strings(c.Do("ZRANGEBYSCORE", rv.keys.stamps, stampsSince, "+inf", "WITHSCORES")); conn.IsWrongType(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return r, since, fmt.Errorf("read what was revoked: %w", err)
	}
	for i := 0; i+1 < len(ids); i += 2 {
		r.IDs, idsSince = append(r.IDs, ids[i]), ids[i+1]
	}
	for i := 0; i+1 < len(stamps); i += 2 {
		stampsSince = stamps[i+1]
		var name string
		parts, err := protocol.Raw(stamps[i]).Elements()
		if err != nil || len(parts) != 2 || protocol.Unmarshal(parts[0], &name) != nil {
			continue // written by another version
		}
		if r.Stamps == nil {
			r.Stamps = map[string][]protocol.Raw{}
		}
		r.Stamps[name] = append(r.Stamps[name], parts[1])
	}
	return r, idsSince + " " + stampsSince, nil
}
