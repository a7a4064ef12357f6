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
)

// revokesLife and revokesMax bound what is remembered of revocations: as long,
// and as many, as a Python worker keeps in its memory
// (CELERY_WORKER_REVOKE_EXPIRES, CELERY_WORKER_REVOKES_MAX).
const (
	revokesLife = 3 * time.Hour
	revokesMax  = 50_000
)

// Revoke implements [broker.Revoker].
func (b *Broker) Revoke(ctx context.Context, r broker.Revocation) error {
	args := []any{int(revokesLife.Seconds()), revokesMax, b.resultExpires(), len(r.IDs)}
	for _, id := range r.IDs {
		value, err := protocol.EncodeResult(&protocol.Result{
			TaskID: id, Status: protocol.StateRevoked, Children: protocol.Raw("null"), DateDone: time.Now(),
			Exception: &protocol.Exception{Type: "TaskRevokedError", Module: "celery.exceptions", Args: []any{"revoked"}},
		})
		if err != nil {
			return fmt.Errorf("revoke %s: %w", id, err)
		}
		args = append(args, id, b.keys.result(id), value)
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
	if _, err := b.script(ctx, b.scripts.revoke, 2, append([]any{b.keys.revoked, b.keys.stamps}, args...)...); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// Revoked implements [broker.Revoker]. The moment is the greatest score seen of
// each set; what has that very score is told again.
func (b *Broker) Revoked(ctx context.Context, since string) (r broker.Revocation, next string, err error) {
	idsSince, stampsSince, _ := strings.Cut(since, " ")
	oldest := strconv.FormatFloat(float64(time.Now().Add(-revokesLife).Unix()), 'f', 0, 64)
	if idsSince == "" {
		idsSince = oldest
	}
	if stampsSince == "" {
		stampsSince = oldest
	}
	var ids, stamps []string
	err = b.do(ctx, func(c redigo.Conn) error {
		// A key of another type costs what it is for: a worker that starts runs all.
		if ids, err = redigo.Strings(c.Do("ZRANGEBYSCORE", b.keys.revoked, idsSince, "+inf", "WITHSCORES")); err != nil && !wrongType(err) {
			return err
		}
		if stamps, err = redigo.Strings(c.Do("ZRANGEBYSCORE", b.keys.stamps, stampsSince, "+inf", "WITHSCORES")); wrongType(err) {
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
			continue // of another version
		}
		if r.Stamps == nil {
			r.Stamps = map[string][]protocol.Raw{}
		}
		r.Stamps[name] = append(r.Stamps[name], parts[1])
	}
	return r, idsSince + " " + stampsSince, nil
}
