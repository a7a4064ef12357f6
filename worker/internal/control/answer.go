package control

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/internal/fnmatch"
	"github.com/evently/workers/worker/protocol"
)

// outcome is the answer of commands that do something.
type outcome struct {
	OK    any `json:"ok,omitempty"`
	Error any `json:"error,omitempty"`
}

func ok(text string) outcome  { return outcome{OK: text} }
func nok(text string) outcome { return outcome{Error: text} }

// answer carries out one request and answers it.
func (s *Service) answer(ctx context.Context, raw []byte) {
	q, err := s.decoder.DecodeControl(raw)
	if err != nil {
		s.Log.Debug("remote control request unreadable", "error", err)
		return
	}
	s.Clock.Adjust(q.Clock)
	if !s.addressed(q) {
		return
	}
	c, known := s.commands[q.Method]
	spent := q.Wanted() && !c.silent && s.budget.spent(s.Now(), q.Method == "ping")
	if spent && !c.changes {
		return // a flood: the work is saved, too
	}
	value, err := s.carryOut(ctx, c, known, q)
	s.changed(c, q, value, err)
	if err != nil {
		value = outcome{Error: s.Repr(err)}
	}
	if !q.Wanted() || c.silent || spent {
		return
	}
	if err := s.reply(ctx, q, value); err != nil {
		s.Log.Debug("remote control answer not sent", "command", commandName(q, known), "error", err)
	}
}

// commandName returns the name of a command for the log. Unknown names are not logged:
// they may hold anything.
func commandName(q *protocol.ControlRequest, known bool) string {
	if known {
		return q.Method
	}
	return "unknown"
}

// carryOut runs a command. A panic in it ends only the command.
func (s *Service) carryOut(ctx context.Context, c command, known bool, q *protocol.ControlRequest) (value any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.Log.Error("remote control command panicked", "command", commandName(q, known), "stack", string(debug.Stack()))
			err = &Error{"RuntimeError", "the command failed"}
		}
	}()
	switch {
	case !known:
		return nil, &Error{"KeyError", q.Method}
	case c.changes && s.Mode == Harmless:
		return nok("this worker answers inspect commands only: remote control is limited by its configuration"), nil
	case c.changes:
		s.Log.Info("remote control command", "command", q.Method)
	}
	args, err := parseArguments(q.Arguments)
	if err != nil {
		return nil, err
	}
	return c.run(ctx, s, args)
}

// reply sends the answer of this node.
func (s *Service) reply(ctx context.Context, q *protocol.ControlRequest, value any) error {
	raw, err := protocol.Marshal(value)
	if err == nil && len(raw) > answerMost {
		raw, err = protocol.Marshal(nok(fmt.Sprintf("the answer has %d bytes, more than %d", len(raw), answerMost)))
	}
	if err != nil {
		return err
	}
	if dropped := s.budget.take(len(raw)); dropped > 0 {
		s.Log.Warn("remote control requests not answered: there were too many", "requests", dropped)
	}
	reply := protocol.ControlReply{Node: s.Name, Value: raw, Clock: s.Clock.Forward()}
	message, err := protocol.EncodeReply(q, reply, uuid.NewString())
	if err != nil {
		return err
	}
	return s.Remote.Reply(ctx, q.ReplyTo, message)
}

// addressed reports whether a request is for this node.
func (s *Service) addressed(q *protocol.ControlRequest) bool {
	switch {
	case len(q.Destination) > 0:
		return slices.Contains(q.Destination, s.Name)
	case q.Pattern == "" || q.Matcher == "":
		return true
	}
	re, err := nodePattern(q.Matcher, q.Pattern)
	if err != nil {
		s.Log.Debug("remote control request has an invalid pattern", "error", err)
		return false
	}
	return re.MatchString(s.Name)
}

func nodePattern(matcher, pattern string) (*regexp.Regexp, error) {
	switch matcher {
	case "glob":
		return fnmatch.Compile(pattern)
	case "pcre":
		// Anchored at the beginning, as re.match is. Go knows less than PCRE, and
		// matches in linear time.
		return regexp.Compile(`\A(?:` + pattern + `)`)
	}
	return nil, errors.New("matcher is neither glob nor pcre")
}
