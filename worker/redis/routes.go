package redis

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/queuename"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis/internal/conn"
)

// list is one Redis list of a queue.
type list struct{ queue, key string }

// listKey returns the list of a queue for a priority, as kombu does: the largest step that
// is not above the priority. The first step has no suffix.
func (s *server) listKey(queue string, priority int) string {
	step := 0
	for _, one := range s.cfg.PrioritySteps {
		if one <= priority {
			step = one
		}
	}
	if step == 0 {
		return s.cfg.KeyPrefix + queue
	}
	return s.cfg.KeyPrefix + queue + s.cfg.Separator + strconv.Itoa(step)
}

// listsOf returns the lists of queues, sorted by step, then in the order of queues.
func (s *server) listsOf(queues []string) []list {
	lists := make([]list, 0, len(queues)*len(s.cfg.PrioritySteps))
	for _, step := range s.cfg.PrioritySteps {
		for _, q := range queues {
			lists = append(lists, list{queue: q, key: s.listKey(q, step)})
		}
	}
	return lists
}

// queueFault returns why queue is not the name of a queue, or "". The list of such a queue
// would have the key of something else.
func (s *server) queueFault(queue string) string {
	if fault := queuename.Fault(queue); fault != "" {
		return fault
	}
	key := s.cfg.KeyPrefix + queue
	for _, prefix := range []string{s.keys.result(""), s.keys.chordBase("")} {
		if strings.HasPrefix(key, prefix) {
			return "keys that begin with " + prefix + " are those of results"
		}
	}
	if _, step, ok := cutLast(queue, s.cfg.Separator); ok {
		if n, err := strconv.Atoi(step); err == nil && slices.Contains(s.cfg.PrioritySteps, n) {
			return "it contains the separator of priorities"
		}
	}
	return ""
}

// cutLast cuts text around the last separator.
func cutLast(text, separator string) (before, after string, ok bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// bindQueues enters queues into the routing tables of their exchanges, a thousand in one
// round trip. A table of another type only costs its routing.
func (s *server) bindQueues(c redigo.Conn, queues []string) error {
	for chunk := range slices.Chunk(queues, 1000) {
		for _, q := range chunk {
			if err := c.Send("SADD", s.keys.binding(q), q+s.cfg.Separator+s.cfg.Separator+q); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
		var fault error
		for range chunk {
			if _, err := c.Receive(); err != nil && !conn.IsWrongType(err) {
				fault = err
			}
			if c.Err() != nil {
				return fault
			}
		}
		if fault != nil {
			return fault
		}
	}
	return nil
}

// bound returns the queues that an exchange routes a key to, by the bindings that Python
// workers keep.
func (s *server) bound(ctx context.Context, exchange, key string) ([]string, error) {
	var members []string
	err := s.do(ctx, func(c redigo.Conn) (err error) {
		members, err = redigo.Strings(c.Do("SMEMBERS", s.keys.binding(exchange)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read bindings: %w", err)
	}
	sort.Strings(members)
	var queues []string
	for _, m := range members {
		parts := strings.Split(m, s.cfg.Separator)
		if len(parts) != 3 {
			continue
		}
		match := parts[0] == key
		if !match && parts[1] != "" {
			re, err := regexp.Compile(parts[1])
			match = err == nil && re.MatchString(key)
		}
		if match && !slices.Contains(queues, parts[2]) {
			queues = append(queues, parts[2])
		}
	}
	return queues, nil
}

// destinations returns the lists that a publication goes to. The error is a
// [broker.RouteError] when there is none.
func (s *server) destinations(ctx context.Context, p broker.Publication) ([]string, error) {
	queues := []string{p.Queue}
	if p.Queue == "" {
		var err error
		if queues, err = s.bound(ctx, p.Exchange, p.RoutingKey); err != nil && !conn.IsWrongType(err) {
			return nil, err
		}
		if len(queues) == 0 {
			// Celery would drop the message silently.
			return nil, &broker.RouteError{Exchange: p.Exchange, RoutingKey: p.RoutingKey}
		}
	}
	lists := make([]string, len(queues))
	for i, q := range queues {
		if fault := s.queueFault(q); fault != "" {
			return nil, &broker.RouteError{Queue: q, Fault: fault}
		}
		lists[i] = s.listKey(q, p.Priority)
	}
	return lists, nil
}

// eventPattern returns the pattern of the channels of events whose names begin with kind.
func (ctl *control) eventPattern(kind string) string {
	return literalPattern.Replace(ctl.channel(eventExchange, "")+"/"+kind) + "*"
}
