package worker

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/worker/protocol"
)

// ackPause is how long an election is left to those that stand for it, before it is
// acknowledged. A Python worker decides when it has counted as many answers as it
// knows workers, and fails when it has not heard of a second candidate by then: an
// answer that comes first, from one that is no candidate, would bring that about.
const ackPause = 500 * time.Millisecond

// pendingAck is an election that is to be acknowledged.
type pendingAck struct {
	id protocol.Raw
	at time.Time
}

// acknowledge answers the elections whose time has come, and returns the time until
// the next one; 0 is for none. It is called by attend alone.
func (w *Worker) acknowledge() (next time.Duration) {
	for len(w.remote.acks) > 0 {
		ack := w.remote.acks[0]
		if wait := ack.at.Sub(w.now()); wait > 0 {
			return wait
		}
		w.remote.acks = w.remote.acks[1:]
		w.events.Worker("worker-elect-ack", protocol.Field{Name: "id", Value: ack.id})
	}
	return 0
}

// heard looks at the event of a worker. Python workers elect one of them for a
// task by counting the answers of all that they know, so each call for an
// election is acknowledged; this worker stands for none.
func (w *Worker) heard(raw []byte) {
	e, err := w.remoteDecoder().DecodeEvent(raw)
	if err != nil {
		w.log.Debug("event of a worker cannot be read", "error", err)
		return
	}
	if e.Hostname == w.cfg.Name {
		if w.events.Own(e) {
			return
		}
		w.warnOfTwin(e)
	}
	w.remote.clock.Adjust(e.Clock)
	if e.Type == "worker-elect" {
		var id string
		if protocol.Unmarshal(e.Field("id"), &id) == nil && len(w.remote.acks) < backlog {
			w.remote.acks = append(w.remote.acks, pendingAck{e.Field("id"), w.now().Add(ackPause)})
		}
	}
}

// twinInterval is the time between two warnings of the same.
const twinInterval = time.Minute

// warnOfTwin tells that another process has our node name: what is said to one of
// them reaches both, and monitors take them for one. It is called by attend alone.
func (w *Worker) warnOfTwin(e *protocol.Event) {
	if e.Type != "worker-heartbeat" || w.now().Sub(w.remote.twinAt) < twinInterval {
		return
	}
	w.remote.twinAt = w.now()
	w.log.Warn("another worker has the same node name: give each process its own, such as name@%h", "node", e.Hostname, "pid", e.PID)
}

// minglePatience is how long a worker that starts waits for the others to tell
// what was revoked, as in Celery.
const minglePatience = time.Second

// mingle asks the other workers what was revoked (celery.worker.consumer.mingle).
// Nobody need answer; when nobody is there it takes no time.
func (w *Worker) mingle(ctx context.Context) {
	if w.can.Remote == nil || w.cfg.WithoutMingle || w.cfg.Control == ControlOff {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, minglePatience)
	defer cancel()
	arguments, err := protocol.Marshal(map[string]any{"from_node": w.cfg.Name, "revoked": map[string]any{}})
	if err != nil {
		w.log.Error("cannot ask other workers", "error", err)
		return
	}
	request := &protocol.ControlRequest{
		Method: "hello", Arguments: arguments, Clock: w.remote.clock.Forward(),
		Ticket: uuid.NewString(), ReplyTo: protocol.ReplyTo{Exchange: "reply.celery.pidbox", RoutingKey: uuid.NewString()},
	}
	raw, err := protocol.EncodeControl(request, uuid.NewString(), w.now().Add(minglePatience))
	if err != nil {
		w.log.Error("cannot ask other workers", "error", err)
		return
	}
	var nodes []string
	err = w.can.Remote.Ask(ctx, raw, request.ReplyTo.RoutingKey, func(raw []byte) {
		reply, err := w.remoteDecoder().DecodeReply(raw)
		if err != nil || reply.Ticket != request.Ticket || reply.Node == w.cfg.Name {
			return
		}
		w.remote.clock.Adjust(reply.Clock)
		var told struct {
			Revoked protocol.Raw `json:"revoked"`
			Clock   int64        `json:"clock"`
		}
		if protocol.Unmarshal(reply.Value, &told) != nil {
			return
		}
		w.remote.clock.Adjust(told.Clock)
		w.revoked.add(Revocation{IDs: revokedIDs(told.Revoked)})
		nodes = append(nodes, reply.Node)
	})
	if err != nil {
		w.log.Debug("other workers could not be asked", "error", err)
	}
	if len(nodes) > 0 {
		w.log.Info("synchronised with other workers", "nodes", nodes)
	}
}

// revokedIDs reads what a worker says that was revoked: a list of ids, or before
// Celery 5.7 an object of them with the time of each on the clock of that host,
// which means nothing here.
func revokedIDs(raw protocol.Raw) (ids []string) {
	if protocol.Unmarshal(raw, &ids) == nil {
		return ids[:min(len(ids), revokesMax)]
	}
	fields, err := raw.Fields()
	if err != nil {
		return nil
	}
	ids = ids[:0]
	for _, f := range fields[:min(len(fields), revokesMax)] {
		ids = append(ids, f.Name)
	}
	return ids
}

// hello answers a worker that starts.
func (w *Worker) hello(args arguments) (any, error) {
	var from string
	if err := args.required("hello", "from_node", &from); err != nil {
		return nil, err
	}
	if from == w.cfg.Name {
		return nil, nil // our own question
	}
	var revoked protocol.Raw
	if err := args.optional("hello", "revoked", &revoked); err != nil {
		return nil, err
	}
	if w.cfg.Control != ControlHarmless { // what a stranger calls revoked would not run
		w.revoked.add(Revocation{IDs: revokedIDs(revoked)})
	}
	ids := w.revoked.list()
	return struct {
		Revoked []string `json:"revoked"`
		Clock   int64    `json:"clock"`
	}{ids[max(0, len(ids)-revokesMax):], w.remote.clock.Forward()}, nil
}
