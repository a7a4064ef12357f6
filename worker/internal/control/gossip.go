package control

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// RevokesMax bounds the revocations that a worker remembers, and that one worker tells
// another (CELERY_WORKER_REVOKES_MAX).
const RevokesMax = 50_000

// ackPause is the time that the candidates of an election have before it is acknowledged.
// A Python worker decides when it has counted as many answers as it knows workers. It fails
// if it does not know a second candidate by then, because a worker that is no candidate has
// answered first.
const ackPause = 2 * time.Second

// pendingAck is an election that is to be acknowledged.
type pendingAck struct {
	id protocol.Raw
	at time.Time
}

// acknowledge answers the elections whose time has come, and returns the time until
// the next one; 0 is for none. It is called by attend alone.
func (s *Service) acknowledge() (next time.Duration) {
	for len(s.acks) > 0 {
		ack := s.acks[0]
		if wait := ack.at.Sub(s.Now()); wait > 0 {
			return wait
		}
		s.acks = s.acks[1:]
		s.Events.Worker("worker-elect-ack", protocol.Field{Name: "id", Value: ack.id})
	}
	return 0
}

// hear handles the event of a worker. Python workers elect one of them for a task by
// counting the answers of all workers that they know. So each election is acknowledged;
// this worker is never a candidate.
func (s *Service) hear(raw []byte) {
	e, err := s.decoder.DecodeEvent(raw)
	if err != nil {
		s.Log.Debug("event of a worker cannot be read", "error", err)
		return
	}
	if e.Hostname == s.Name {
		if s.Events.Own(e) {
			return
		}
		s.warnOfTwin(e)
	}
	s.Clock.Adjust(e.Clock)
	if e.Type == "worker-elect" {
		var id string
		if protocol.Unmarshal(e.Field("id"), &id) == nil && len(s.acks) < backlog {
			s.acks = append(s.acks, pendingAck{e.Field("id"), s.Now().Add(ackPause)})
		}
	}
}

// twinInterval is the time between two warnings of the same.
const twinInterval = time.Minute

// warnOfTwin tells that another process has our node name: what is said to one of
// them reaches both, and monitors take them for one. It is called by attend alone.
func (s *Service) warnOfTwin(e *protocol.Event) {
	if e.Type != "worker-heartbeat" || s.Now().Sub(s.twinAt) < twinInterval {
		return
	}
	s.twinAt = s.Now()
	s.Log.Warn("another worker has the same node name: give each process its own, such as name@%h", "node", e.Hostname, "pid", e.PID)
}

// minglePatience is how long a worker that starts waits for the revocations of others, as
// in Celery.
const minglePatience = time.Second

// AskRevoked asks the other workers for their revocations (celery.worker.consumer.mingle).
// Without other workers it takes no time. A worker need not answer.
func (s *Service) AskRevoked(ctx context.Context) {
	if s.Remote == nil || !s.Mingle || s.Mode == Off {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, minglePatience)
	defer cancel()
	arguments, err := protocol.Marshal(map[string]any{"from_node": s.Name, "revoked": map[string]any{}})
	if err != nil {
		s.Log.Error("cannot ask other workers", "error", err)
		return
	}
	request := &protocol.ControlRequest{
		Method: "hello", Arguments: arguments, Clock: s.Clock.Forward(),
		Ticket: uuid.NewString(), ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()},
	}
	raw, err := protocol.EncodeControl(request, uuid.NewString(), s.Now().Add(minglePatience))
	if err != nil {
		s.Log.Error("cannot ask other workers", "error", err)
		return
	}
	var nodes []string
	err = s.Remote.Ask(ctx, raw, request.ReplyTo.RoutingKey, func(raw []byte) {
		reply, err := s.decoder.DecodeReply(raw)
		if err != nil || reply.Ticket != request.Ticket || reply.Node == s.Name {
			return
		}
		s.Clock.Adjust(reply.Clock)
		var told struct {
			Revoked protocol.Raw `json:"revoked"`
			Clock   int64        `json:"clock"`
		}
		if protocol.Unmarshal(reply.Value, &told) != nil {
			return
		}
		s.Clock.Adjust(told.Clock)
		s.Node.LearnRevoked(revokedIDs(told.Revoked))
		nodes = append(nodes, reply.Node)
	})
	if err != nil {
		s.Log.Debug("other workers could not be asked", "error", err)
	}
	if len(nodes) > 0 {
		s.Log.Info("synchronised with other workers", "nodes", nodes)
	}
}

// revokedIDs reads what a worker says that was revoked: a list of ids, or before
// Celery 5.7 an object of them with the time of each on the clock of that host,
// which means nothing here.
func revokedIDs(raw protocol.Raw) (ids []string) {
	if protocol.Unmarshal(raw, &ids) == nil {
		return ids[:min(len(ids), RevokesMax)]
	}
	fields, err := raw.Fields()
	if err != nil {
		return nil
	}
	ids = ids[:0]
	for _, f := range fields[:min(len(fields), RevokesMax)] {
		ids = append(ids, f.Name)
	}
	return ids
}

// hello answers a worker that starts.
func (s *Service) hello(args arguments) (any, error) {
	var from string
	if err := args.required("hello", "from_node", &from); err != nil {
		return nil, err
	}
	if from == s.Name {
		return nil, nil // our own question
	}
	var revoked protocol.Raw
	if err := args.optional("hello", "revoked", &revoked); err != nil {
		return nil, err
	}
	if s.Mode != Harmless { // what a stranger calls revoked would not run
		s.Node.LearnRevoked(revokedIDs(revoked))
	}
	return struct {
		Revoked []string `json:"revoked"`
		Clock   int64    `json:"clock"`
	}{s.revokedIDs(), s.Clock.Forward()}, nil
}
