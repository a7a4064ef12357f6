package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// ceiling is how fast Redis itself can be emptied: by a client that claims up to
// batch messages in one script, stores a result for each, announces it, and
// acknowledges all of them with the next claim; and neither decodes nor runs
// anything, nor keeps any promise but that nothing is lost.
func (b *bench) ceiling(ctx context.Context, l load, batch int) (figures, error) {
	d := &drained{server: b.server, load: l}
	if err := d.fill(); err != nil {
		return nil, err
	}
	c, err := redigo.DialURLContext(ctx, b.url)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	before, err := b.served()
	if err != nil {
		return nil, err
	}
	began, cpu := time.Now(), ownCPU()
	done := 0
	for held, first := [][]byte(nil), true; (first || len(held) > 0) && time.Since(began) < b.window; first = false {
		if held, err = exchange(c, held, batch); err != nil {
			return nil, err
		}
		done += len(held)
	}
	took := time.Since(began).Seconds()
	after, err := b.served()
	if err != nil {
		return nil, err
	}
	if done == 0 {
		return nil, errors.New("nothing was there to take")
	}
	tasks := float64(done)
	return figures{
		"tasks/s": tasks / took, "CPU s/10k": (ownCPU() - cpu).Seconds() / tasks * 1e4,
		"Redis CPU s/10k":  (after.cpu - before.cpu) / tasks * 1e4,
		"Redis calls/task": float64(after.commands-before.commands) / tasks,
	}, nil
}

// claim enters messages as unacknowledged, in Celery's keys, in one step.
var claim = redigo.NewScript(3, `
local got = redis.call('RPOP', KEYS[1], ARGV[1])
if not got then return {} end
local h, z = {}, {}
for i, m in ipairs(got) do
  local a = string.find(m, '"delivery_tag": "', 1, true) + 17
  local tag = string.sub(m, a, string.find(m, '"', a, true) - 1)
  h[2*i-1], h[2*i] = tag, '[' .. m .. ', "", "' .. KEYS[1] .. '"]'
  z[2*i-1], z[2*i] = ARGV[2], tag
end
redis.call('ZADD', KEYS[3], unpack(z))
redis.call('HSET', KEYS[2], unpack(h))
return got`)

// exchange ends what is held and claims the next, in one round trip.
func exchange(c redigo.Conn, held [][]byte, batch int) ([][]byte, error) {
	replies := 0
	send := func(command string, args ...any) error {
		replies++
		return c.Send(command, args...)
	}
	index, hash := []any{"unacked_index"}, []any{"unacked"}
	for _, raw := range held {
		id, tag := field(raw, `"id": "`), field(raw, `"delivery_tag": "`)
		key := "celery-task-meta-" + id
		value := fmt.Appendf(nil, `{"status": "SUCCESS", "result": null, "traceback": null, "children": [], "date_done": "2026-01-01T00:00:00.000000+00:00", "task_id": %q}`, id)
		if err := send("SETEX", key, 3600, value); err != nil {
			return nil, err
		}
		if err := send("PUBLISH", key, value); err != nil {
			return nil, err
		}
		index, hash = append(index, tag), append(hash, tag)
	}
	if len(held) > 0 {
		if err := send("ZREM", index...); err != nil {
			return nil, err
		}
		if err := send("HDEL", hash...); err != nil {
			return nil, err
		}
	}
	if err := claim.Send(c, queue, "unacked", "unacked_index", batch, float64(time.Now().UnixMicro())/1e6); err != nil {
		return nil, err
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	for range replies {
		if _, err := c.Receive(); err != nil {
			return nil, err
		}
	}
	return redigo.ByteSlices(c.Receive())
}

func field(raw []byte, start string) string {
	_, rest, _ := bytes.Cut(raw, []byte(start))
	value, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(value)
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for a wrong argument only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
