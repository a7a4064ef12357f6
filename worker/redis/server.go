package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/internal/backoff"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/conn"
	"github.com/evently/workers/worker/redis/internal/examine"
	"github.com/evently/workers/worker/redis/internal/feed"
	"github.com/evently/workers/worker/redis/internal/fleet"
	"github.com/evently/workers/worker/redis/internal/letters"
	"github.com/evently/workers/worker/redis/internal/outbox"
	"github.com/evently/workers/worker/redis/internal/product"
	"github.com/evently/workers/worker/redis/internal/scripts"
)

// server is the Redis server with its connections, its scripts and the names of its keys.
// It does not change after newServer, so all types of this package share it.
type server struct {
	cfg     Config
	addr    Address
	log     *slog.Logger
	conns   *conn.Conns
	scripts *scripts.Scripts
	keys    keys
	outbox  *outbox.Outbox
	letters *letters.Keeper

	suspicion chan struct{}         // capacity 1: the types of keys should be checked
	unfit     atomic.Pointer[error] // the server is too old; nil: it is not, or not known yet
}

func newServer(cfg Config, addr Address) (*server, error) {
	loaded, err := scripts.Load(len(addr.Nodes) > 0)
	if err != nil {
		return nil, err
	}
	k := newKeys(cfg.KeyPrefix, cfg.ResultKeyPrefix)
	connect := conn.Config{
		Network: addr.Network, Host: addr.Host, Username: addr.Username, Password: addr.Password, DB: addr.DB, Name: addr.String(),
		Sentinels: addr.Sentinels, SentinelMaster: cfg.SentinelMaster,
		SentinelUsername: cfg.SentinelUsername, SentinelPassword: cfg.SentinelPassword,
		Logins: loginsOf(cfg.Credentials), SentinelLogins: loginsOf(cfg.SentinelCredentials),
		ClusterNodes: addr.Nodes, ClusterKey: k.none(),
		Logger: cfg.Logger,
	}
	if addr.TLS {
		connect.TLS = cfg.TLSConfig
	}
	s := &server{
		cfg: cfg, addr: addr, log: cfg.Logger, conns: conn.New(connect), scripts: loaded,
		keys:      k,
		suspicion: make(chan struct{}, 1),
	}
	s.outbox = outbox.New(outbox.Config{Do: s.do, Stream: s.keys.stream, Losses: s.keys.losses, Max: cfg.StreamMax})
	s.letters = newKeeper(s)
	return s, nil
}

// do calls fn with a connection of the pool.
func (s *server) do(ctx context.Context, fn func(redigo.Conn) error) error {
	err := s.conns.Do(ctx, fn)
	if conn.IsWrongType(err) {
		s.suspectKeys()
	}
	return err
}

// fit returns an error for a server that is too old to claim messages from.
func (s *server) fit() error {
	if err := s.unfit.Load(); err != nil {
		return *err
	}
	return nil
}

// suspectKeys asks for a check of the types of keys.
func (s *server) suspectKeys() {
	select {
	case s.suspicion <- struct{}{}:
	default:
	}
}

// movePause is the pause between two tries while the keys move to another node of a cluster,
// and movePatience the time after which the caller decides.
const (
	movePause    = 20 * time.Millisecond
	movePatience = 3 * time.Second
)

// script runs a script with keysAndArgs, of which the first n are keys. A script that a
// cluster has refused, because the keys move, has changed nothing and is tried again.
func (s *server) script(ctx context.Context, script scripts.Script, n int, keysAndArgs ...any) (reply any, err error) {
	begin := time.Now()
	for {
		err = s.do(ctx, func(c redigo.Conn) error {
			reply, err = script().Do(c, append([]any{n}, keysAndArgs...)...)
			return err
		})
		if !conn.IsMoving(err) || time.Since(begin) > movePatience || backoff.Sleep(ctx, movePause) != nil {
			return reply, err
		}
	}
}

func (s *server) scriptInt(ctx context.Context, script scripts.Script, n int, keysAndArgs ...any) (int, error) {
	return redigo.Int(s.script(ctx, script, n, keysAndArgs...))
}

// storedSecret returns the secret of the fingerprints, or stores mine. A user that may only read gets
// the one that is there.
func (s *server) storedSecret(ctx context.Context, mine []byte) (secret []byte, err error) {
	err = s.do(ctx, func(c redigo.Conn) (err error) {
		if secret, err = redigo.Bytes(c.Do("GET", s.keys.secret())); err != redigo.ErrNil {
			return err
		}
		if _, err = c.Do("SET", s.keys.secret(), mine, "NX"); err == nil {
			secret, err = redigo.Bytes(c.Do("GET", s.keys.secret()))
		}
		return err
	})
	return secret, err
}

// orNone returns key, or for "" the key that stands for none in scripts. An empty key
// would need a permission of its own.
func (s *server) orNone(key string) string {
	if key == "" {
		return s.keys.unacked
	}
	return key
}

// resultExpires returns the life of a result in whole seconds, 0 for ever.
func (s *server) resultExpires() int {
	if s.cfg.ResultExpires < 0 {
		return 0
	}
	return max(1, int(math.Round(s.cfg.ResultExpires.Seconds())))
}

// deadLettersAge returns the life of a dead letter in whole seconds.
func (s *server) deadLettersAge() int { return int(s.cfg.DeadLettersAge.Seconds()) }

// flag returns a condition as scripts read it.
func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// keys are the names of all keys but the lists of queues.
type keys struct {
	prefix, results       string
	own                   string // beginning of our keys
	unacked, index, mutex string // Celery's
	dead, deadMeta        string // hashes by id
	deadIndex             string // ids by time
	spare                 string // dead letters while one of these keys has another type
	owners                string // owners by their last heartbeat
	revoked, stamps       string // revoked ids and stamps by the time of their revocation
}

// newKeys returns the keys for the prefix of the broker and that of the results. To the
// latter Celery adds an underscore unless it ends in a separator.
func newKeys(prefix, results string) keys {
	if results != "" && !strings.ContainsAny(results[len(results)-1:], ":_-.") {
		results += "_"
	}
	own := prefix + "_goworker.1."
	return keys{
		prefix: prefix, results: results, own: own,
		unacked: prefix + "unacked", index: prefix + "unacked_index", mutex: prefix + "unacked_mutex",
		dead: own + "dead", deadMeta: own + "dead.meta", deadIndex: own + "dead.index",
		spare:   own + "dead.spare",
		owners:  own + "owners",
		revoked: own + "revoked", stamps: own + "revoked.stamps",
	}
}

// none returns a key that never exists.
func (k keys) none() string { return k.own + "none" }

// owner returns the hash about one owner.
func (k keys) owner(id string) string { return k.own + "owner." + id }

// recovery returns the lock around the recovery from a dead owner.
func (k keys) recovery(id string) string { return k.own + "recovery." + id }

// crashes returns the count of the runs of a message that did not end. It is kept by task id
// and delivery tag, which a redelivery does not change, because producers may use an id for
// several messages. Without both there is no count.
func (k keys) crashes(e protocol.Envelope) string {
	if e.ID == "" && e.DeliveryTag == "" {
		return ""
	}
	return k.crashesPrefix() + e.ID + ":" + e.DeliveryTag
}

// secret returns the key of the secret that fingerprints are keyed with.
func (k keys) secret() string { return k.own + "secret" }

func (k keys) crashesPrefix() string { return k.own + "crashes." }

// step returns the key that keeps a settlement of several steps from being carried out
// twice.
func (k keys) step(token string) string { return k.own + "step." + token }

// mark returns the mark of a task.
func (k keys) mark(fingerprint string) string { return k.prefix + "_goworker.1.mark." + fingerprint }

// stream returns a stream of entries that tasks record.
func (k keys) stream(name string) string { return k.prefix + "_goworker.1.stream." + name }

// losses returns the hash about the entries that a stream has lost.
func (k keys) losses(stream string) string { return k.prefix + "_goworker.1.losses." + stream }

// recorded returns the key that shows that a run has recorded its entries.
func (k keys) recorded(claim string) string { return k.prefix + "_goworker.1.recorded." + claim }

// limit returns the state of a rate limit that all workers share.
func (k keys) limit(name string) string { return k.own + "limit." + name }

// result returns the key of a result. It is also the channel that announces it.
func (k keys) result(id string) string { return k.results + "celery-task-meta-" + id }

// chordBase returns the beginning of the keys of a chord.
func (k keys) chordBase(group string) string { return k.results + "celery-taskset-meta-" + group }

// binding returns the routing table of an exchange.
func (k keys) binding(exchange string) string { return k.prefix + "_kombu.binding." + exchange }

// Lack is a right or a command that is missing.
type Lack = examine.Lack

// Examination tells what a server is and what it lacks. [Examine] returns it.
type Examination struct {
	Address  string   `json:"address"`          // without the login
	Server   string   `json:"server,omitempty"` // product and version; "": it has not answered
	Role     string   `json:"role,omitempty"`   // "master" or "replica"; "": not told
	TLS      bool     `json:"tls"`
	Fault    string   `json:"fault,omitempty"` // why the server cannot be used, and what to do
	Warnings []string `json:"warnings"`        // settings that can lose messages
	Lacks    []Lack   `json:"lacks"`           // commands and rights that are missing
}

// Examine connects to the server of a configuration and finds out what it is, and which
// commands and rights of a worker of queues are missing. It writes to a key that no other client
// uses, and removes it. The error is that of a connection.
func Examine(ctx context.Context, cfg Config, queues []string) (Examination, error) {
	cfg, addr, err := cfg.normalise()
	if err != nil {
		return Examination{}, err
	}
	e := Examination{Address: addr.String(), TLS: addr.TLS, Warnings: []string{}, Lacks: []Lack{}}
	s, err := newServer(cfg, addr)
	if err != nil {
		return e, err
	}
	defer s.conns.Close()
	if err = s.examine(ctx, queues, &e); errors.Is(err, conn.ErrForeign) && addr.Host != "" {
		if name := examine.Foreign(ctx, cmp.Or(addr.Network, "tcp"), addr.Host); name != "" {
			e.Fault = "it is " + name + ": look at host and port"
		}
	}
	e.Fault = cmp.Or(e.Fault, examine.Fault(err))
	if e.Fault != "" {
		return e, nil
	}
	return e, err
}

// examine fills in what the server tells and lacks.
func (s *server) examine(ctx context.Context, queues []string, e *Examination) error {
	c, err := s.conns.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	text, err := redigo.String(redigo.DoContext(c, ctx, "INFO"))
	if c.Err() != nil || examine.Fault(err) != "" {
		return err
	}
	info := parseInfo(text)
	server := product.Of(info)
	e.Server = server.String()
	e.Role = map[string]string{"master": "master", "slave": "replica"}[info["role"]]
	e.Fault = cmp.Or(server.Fault(), examine.FaultOf(info, s.conns.Follows()))
	if e.Fault != "" {
		return nil
	}
	e.Warnings = append(e.Warnings, warnings(info)...)
	lacks, err := examine.Run(c, examine.Config{
		Probe: s.keys.own + "probe." + rand.Text(), Own: s.keys.own + "*", DB: s.addr.DB, Follows: s.conns.Follows(),
		Keys: s.sampleKeys(queues), Pattern: (&control{server: s}).eventPattern("worker."),
	})
	e.Lacks = append(e.Lacks, lacks...)
	return err
}

// sampleKeys returns a key of each pattern that a worker of queues uses.
func (s *server) sampleKeys(queues []string) []string {
	k := s.keys
	keys := []string{k.unacked, k.index, k.mutex, k.dead, k.binding(controlExchange), k.result(noMember), k.chordBase(noMember),
		k.prefix + noMember + ".reply.celery.pidbox"}
	for _, q := range queues {
		for _, step := range s.cfg.PrioritySteps {
			keys = append(keys, s.listKey(q, step))
		}
		keys = append(keys, k.binding(q))
	}
	return keys
}

type (
	// Subscription describes what a Broker listens to; see Subscribe.
	Subscription = feed.Subscription
	// Heard tells of the periods in which no subscriber has listened.
	Heard = feed.Heard
	// Dictionary keeps texts by keys, for all users of the database; see Broker.Dictionary.
	Dictionary = feed.Dictionary
	// shared is the state that all workers of the database have in common.
	shared = fleet.Fleet
)

// ErrForbidden says that the user of the server may not subscribe to the channels.
var ErrForbidden = feed.ErrForbidden
