package control

import (
	"errors"
	"fmt"
	"strings"

	"github.com/evently/workers/worker/protocol"
)

// Change describes a command of remote control that changes what the worker does, after it
// was carried out or refused.
type Change struct {
	Command string
	TaskIDs []string
	// Arguments are those with a plain value that the command takes: numbers, and names of
	// tasks and queues. Stamps are left out, because they may hold anything.
	Arguments map[string]string
	Refused   bool   // by the configuration, or for its arguments
	Answer    string // why it was refused, in a few words
}

// plainArguments are the arguments that a Change shows.
var plainArguments = []string{
	"task_name", "rate_limit", "soft", "hard", "n", "max", "min", "queue", "terminate", "signal", "destination",
}

// longestArgument is the length of the longest value that a Change shows.
const longestArgument = 200

// changed tells about a command, if it changes something and there is a listener.
func (s *Service) changed(c command, q *protocol.ControlRequest, value any, err error) {
	if !c.changes || s.OnChange == nil {
		return
	}
	ch := Change{Command: q.Method, Arguments: map[string]string{}}
	if args, wrong := parseArguments(q.Arguments); wrong == nil {
		ch.TaskIDs, _ = args.oneOrMany(q.Method, "task_id")
		for _, name := range plainArguments {
			if raw := args[name]; !raw.IsNull() {
				ch.Arguments[name] = plain(raw)
			}
		}
	}
	switch o, _ := value.(outcome); {
	case err != nil:
		ch.Refused, ch.Answer = true, "an error"
		if e, ok := errors.AsType[*Error](err); ok {
			ch.Answer = e.Type
		}
	case o.Error != nil:
		ch.Refused, ch.Answer = true, fmt.Sprint(o.Error)
	}
	s.OnChange(ch)
}

// plain returns a text or number as text.
func plain(raw protocol.Raw) string {
	var text string
	if protocol.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	if len(text) > longestArgument {
		text = strings.ToValidUTF8(text[:longestArgument], "") + "…"
	}
	return text
}
