package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/internal/deadletter"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/letters"
	"github.com/evently/workers/worker/redis/internal/queues"
)

// ErrNoDeadLetter is returned for an id without a dead letter.
var ErrNoDeadLetter = broker.ErrNoDeadLetter

// Letters are the dead letters of a Redis database. [Broker.Letters] returns them.
type Letters = letters.Letters

// Queues shows and changes what waits in the queues of a Redis database. [Broker.Queues] returns
// it.
type Queues = queues.Queues

// views are the parts of a Broker that need no Run of it.
type views struct{ of *server }

// Letters returns the dead letters.
func (v views) Letters() *Letters { return v.of.letters.Letters }

// LetterCounts returns the numbers of dead letters as the running broker counted them last, and
// when. known is false before it has counted them, and while Redis does not answer. It does no I/O.
func (v views) LetterCounts() (counts broker.LetterCounts, at time.Time, known bool) {
	return v.of.letters.Seen()
}

// IsReply reports whether an error of the broker is a reply of its server. Other errors leave open
// what it would say: it cannot be reached, answers too late or has cut the connection.
func (views) IsReply(err error) bool { return conn.IsReply(err) }

// Server tells which server Sentinels, or the nodes of a cluster, have named last. It is ""
// before they have, and for a fixed address. It does no I/O.
func (v views) Server() string {
	master := v.of.conns.Master()
	switch {
	case master == "":
		return ""
	case v.of.cfg.Cluster:
		return "Redis Cluster, the owner of the keys is " + master
	}
	return "Redis Sentinel, the master is " + master
}

// Queues returns a view of the queues, all that the database has.
func (v views) Queues() *Queues {
	s := v.of
	return queues.New(queues.Config{
		Do: s.do, Scripts: s.scripts, List: s.listKey, Steps: s.cfg.PrioritySteps, QueueFault: s.queueFault,
		Separator: s.cfg.Separator, Bindings: s.keys.binding(""), Unacked: s.keys.unacked, Index: s.keys.index,
		OwnerOf: ownerOf, Owner: s.keys.owner, Owners: s.keys.owners, Probe: s.keys.own + "probe",
		GiveBack: func(ctx context.Context, m broker.HeldMessage, raw []byte) (int, error) {
			r := returned{claim: m.Claim, queue: m.Queue, raw: raw}
			if env, err := protocol.ParseEnvelope(m.Raw); err == nil {
				r.priority, r.crashes, r.first = env.Priority, s.keys.crashes(env), !env.Redelivered
			}
			return (&recovery{server: s}).giveBack(ctx, []returned{r})
		},
	})
}

// newKeeper returns the keeper of the dead letters of a server.
func newKeeper(s *server) *letters.Keeper {
	return letters.NewKeeper(letters.New(letters.Config{
		Do: s.do, Scripts: s.scripts, Dead: s.keys.dead,
		List: s.listKey, Crashes: s.keys.crashes, Result: s.keys.result, QueueFault: s.queueFault,
		MaxMessageSize: s.cfg.MaxMessageSize,
		Max:            s.cfg.DeadLettersMax, Age: s.cfg.DeadLettersAge, Lives: s.cfg.DeadLetterLives, Sealer: s.cfg.Sealer, Logger: s.log,
	}))
}

// meta returns the entry of a dead letter of now whose message the caller does not look at. The
// letters complete it later.
func meta(queue, reason string, size int) []byte {
	b, err := json.Marshal(struct {
		Queue  string             `json:"queue"`
		Reason string             `json:"reason"`
		At     deadletter.Seconds `json:"at"`
		Size   int                `json:"size"`
	}{queue, reason, deadletter.SecondsOf(time.Now()), size})
	if err != nil {
		return []byte(`{}`) // texts and a finite number: cannot happen
	}
	return b
}

// letterID returns the id of the dead letter of a claim, as the function bury of undo.lua does.
func letterID(claim string) string {
	sum := sha1.Sum([]byte(claim))
	return hex.EncodeToString(sum[:])[:12]
}
