package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// queue is the one that all workers consume.
const queue = "bench"

// server is the Redis that the workers use. Its database is emptied.
type server struct {
	redigo.Conn
	url   string
	asked int64 // commands that the benchmark itself has sent
}

// startServer starts a Redis without persistence on a free port.
func startServer(ctx context.Context, dir string) (s *server, end func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	p, err := startProcess(ctx, nil, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	if err != nil {
		return nil, nil, err
	}
	s = &server{url: "redis://127.0.0.1:" + port + "/0"}
	for range 200 {
		if s.Conn, err = redigo.DialURLContext(ctx, s.url, redigo.DialReadTimeout(time.Minute), redigo.DialWriteTimeout(time.Minute)); err == nil {
			return s, func() { s.Close(); p.stop() }, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return nil, nil, fmt.Errorf("redis-server does not answer: %w\n%s", err, p.out.String())
}

// Do counts the commands, so that they can be taken out of what a worker sends.
func (s *server) Do(command string, args ...any) (any, error) {
	s.asked++
	return s.Conn.Do(command, args...)
}

// template makes messages that differ in their ids.
type template func() (raw []byte, id string)

// newTemplate makes messages of Celery's protocol 2 for a task, with size bytes in
// all, or as small as can be.
func newTemplate(task string, size int) (template, error) {
	id, tag := uuid.NewString(), uuid.NewString()
	m := &protocol.Message{
		ID: id, Task: task, RootID: id, CorrelationID: id, Args: protocol.Raw("[]"), Kwargs: protocol.Raw("{}"),
		ArgsRepr: "()", KwargsRepr: "{}", Origin: "gen1@bench", DeliveryTag: tag, RoutingKey: queue, ReplyTo: uuid.NewString(),
	}
	model, err := protocol.Encode(m)
	if more := (size-len(model))/4*3 - len(`""`); err == nil && more > 0 { // the body is base64
		m.Args = protocol.Raw(`["` + strings.Repeat("x", more) + `"]`)
		model, err = protocol.Encode(m)
	}
	if err != nil {
		return nil, err
	}
	return func() ([]byte, string) {
		fresh := uuid.NewString()
		raw := bytes.ReplaceAll(model, []byte(id), []byte(fresh))
		return bytes.ReplaceAll(raw, []byte(tag), []byte(uuid.NewString())), fresh
	}, nil
}

// oldTemplate makes messages of protocol 1, as gocelery reads them.
func oldTemplate() ([]byte, string) {
	id := uuid.NewString()
	body := fmt.Sprintf(`{"id": %q, "task": "bench.noop", "args": [], "kwargs": {}, "retries": 0, "eta": null, "expires": null}`, id)
	return fmt.Appendf(nil, `{"body": %q, "content-type": "application/json", "content-encoding": "utf-8", "headers": {}, "properties": {"body_encoding": "base64", `+
		`"correlation_id": %q, "reply_to": %q, "delivery_tag": %q, "delivery_mode": 2, "priority": 0, "delivery_info": {"exchange": "", "routing_key": %q}}}`,
		base64.StdEncoding.EncodeToString([]byte(body)), id, uuid.NewString(), uuid.NewString(), queue), id
}

// fill puts n messages into a list.
func (s *server) fill(list string, next template, n int) error {
	size := 0
	for i := range n {
		raw, _ := next()
		if err := s.Send("LPUSH", list, raw); err != nil {
			return err
		}
		if size += len(raw); size > 1<<20 || i == n-1 {
			if _, err := s.Conn.Do(""); err != nil {
				return fmt.Errorf("fill the queue: %w", err)
			}
			size = 0
		}
	}
	return nil
}

// left is what waits in the queue and what a worker holds.
func (s *server) left() (waiting, held int, err error) {
	waiting, err = redigo.Int(s.Do("LLEN", queue))
	if err == nil {
		held, err = redigo.Int(s.Do("HLEN", "unacked"))
	}
	return waiting, held, err
}

// results counts the results that are stored.
func (s *server) results() (n int, err error) {
	for cursor := "0"; ; {
		page, err := redigo.Values(s.Do("SCAN", cursor, "MATCH", "celery-task-meta-*", "COUNT", 10_000))
		if err != nil {
			return 0, err
		}
		var keys []string
		if _, err := redigo.Scan(page, &cursor, &keys); err != nil {
			return 0, err
		}
		if n += len(keys); cursor == "0" {
			return n, nil
		}
	}
}

// served is what Redis has done, without the commands of the benchmark itself.
type served struct {
	cpu      float64 // seconds; those of the benchmark's few commands are in it
	commands int64   // those of scripts count
}

func (s *server) served() (u served, err error) {
	info, err := redigo.String(s.Do("INFO"))
	if err != nil {
		return u, err
	}
	found := 0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "used_cpu_sys", "used_cpu_user", "total_commands_processed":
		default:
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return u, fmt.Errorf("INFO: %w", err)
		}
		if found++; name == "total_commands_processed" {
			u.commands = int64(n) - s.asked
		} else {
			u.cpu += n
		}
	}
	if found != 3 {
		return u, errors.New("INFO does not say what Redis has done")
	}
	return u, nil
}
