package redis

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"time"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/hashslot"
	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/redis/internal/order"
)

// Config describes a Broker. Zero fields mean Celery's and kombu's defaults.
type Config struct {
	// URL as kombu writes it: redis://[user[:password]@]host[:port][/db],
	// rediss:// for TLS, redis+socket:///path?virtual_host=db for a socket,
	// sentinel://host:26379;sentinel://host:26379/db for the master that these
	// Sentinels watch. Required, unless Address is set.
	//
	// valkey://, valkeys:// and unix:// are read as well, and so are the
	// parameters db, username, password, ssl_cert_reqs, ssl_check_hostname,
	// ssl_ca_certs, ssl_certfile and ssl_keyfile. Any other parameter has no
	// effect and is logged.
	URL string

	// SentinelMaster is the name of that master (master_name). Required for
	// sentinel://, where user and password are those of the master.
	SentinelMaster string

	// SentinelUsername and SentinelPassword log in to the Sentinels themselves
	// (sentinel_kwargs).
	SentinelUsername, SentinelPassword string

	// Credentials gives the login of each new connection to the server, instead of the one
	// in URL or Address, so that a password can be replaced without a restart. nil: the
	// login is fixed. SentinelCredentials is the same for the Sentinels themselves.
	Credentials, SentinelCredentials CredentialSource

	// Cluster says that URL names a node of a Redis Cluster, or several nodes:
	// redis://host:6379,host:6379. KeyPrefix must have a hash tag then, such as
	// "{celery}:", and ResultKeyPrefix one of the same slot. Connections lead to the node
	// that owns this slot, wherever it moves; there is no other sharding. Address has Nodes
	// instead. Celery has no such transport: its processes must connect to that node.
	Cluster bool

	// DB is the database when URL names none.
	DB int

	// Address is the address of the server for callers that have no URL. It is used when
	// URL is empty.
	Address Address

	// TLS is used for rediss://, instead of the ssl_ parameters of URL. Default:
	// certificates are verified against the roots of the system, TLS 1.2 or
	// newer. With sentinel:// there is TLS, to the Sentinels and to the master,
	// when it is set.
	TLS *tls.Config

	// TLSConfig returns the configuration of the next connection, and overrides TLS. A
	// program whose certificates are replaced while it runs reads them there. The files of
	// the ssl_ parameters of URL are read for each connection without it.
	TLSConfig func() *tls.Config

	// KeyPrefix is put before every key (global_keyprefix), with nothing between.
	KeyPrefix string

	// ResultKeyPrefix is put before the keys of results (global_keyprefix of the
	// result backend), followed by "_" unless it ends in one of : _ - .
	ResultKeyPrefix string

	// PrioritySteps are the priorities that have lists of their own
	// (priority_steps). Default: 0, 3, 6, 9. Must be equal on all peers.
	PrioritySteps []int

	// Separator stands between a queue and its step (sep). Default: bytes 06 16.
	Separator string

	// QueueOrder says which of several queues comes first (queue_order_strategy).
	// Default: RoundRobin.
	QueueOrder QueueOrder

	// QueueWeights, when set, shares the claims among the queues that have messages.
	// With the weights 6, 3 and 1, ten claims take six, three and one message, so that
	// no queue starves. A weight is 1 to 1000; a queue that is not named has 1.
	// Priorities then order the messages within each queue only. QueueWeights overrides
	// QueueOrder. Celery has no such option.
	QueueWeights map[string]int

	// VisibilityTimeout is the time after which an unacknowledged message is delivered
	// again, unless its worker renews the lease (visibility_timeout). Default: 3600 s.
	// It must not be longer than that of any peer, because the shortest one counts for
	// all.
	VisibilityTimeout time.Duration

	// ResultExpires is the life of a result (result_expires). Default: one
	// day; negative: results never expire.
	ResultExpires time.Duration

	// ChordUnordered keeps the members of chords in the order of their ends
	// instead of that of the header (result_chord_ordered off). Must be equal on
	// all peers.
	ChordUnordered bool

	// OwnerTimeout is the silence after which a worker of this kind counts as
	// dead, or frozen, and the others of this kind deliver its messages again;
	// Python workers go by the visibility timeout. A worker reports that it lives five
	// times within it. Between two workers with different times the longer one counts.
	// Default: 15 s, at least 1 s.
	OwnerTimeout time.Duration

	// MaxMessageSize in bytes; a larger message goes to the dead letters
	// unparsed. Default: that of [protocol.Limits], 16 MiB.
	MaxMessageSize int

	// DeadLettersMax bounds the number of dead letters that are open, and separately that of
	// the ones that were retried, replaced or dealt with. DeadLettersAge bounds their age. The
	// oldest are dropped, and the open ones among them are counted. Defaults: 10,000 and 30
	// days.
	DeadLettersMax int
	DeadLettersAge time.Duration

	// DeadLetterLives is the life of the dead letters of some tasks, by the names of the
	// tasks. After it the values of their arguments are wiped, and they cannot be retried. A
	// message that expires is wiped then at the latest. Other dead letters keep their
	// arguments.
	DeadLetterLives map[string]time.Duration

	// Sealer encrypts dead letters at rest. Their ids, queues, reasons, times and the names
	// and ids of their tasks stay readable. nil: they are not encrypted, and encrypted ones
	// cannot be read. Package worker/seal has one.
	Sealer broker.Sealer

	// StreamMax bounds the entries of a stream that wait for their reader; the oldest are
	// dropped and counted. Default: 1,000,000. Redis drops them in groups of some hundred.
	StreamMax int

	// PollInterval is the pause between looks into empty queues where the
	// server cannot tell of new messages without taking them (before Redis
	// 6.2). Default: 100 ms, at least 10 ms.
	PollInterval time.Duration

	// Logger gets what happens. Default: slog.Default().
	Logger *slog.Logger
}

// Times of waiting for messages.
const (
	blockTime   = 5 * time.Second // of one BLMOVE on one list
	blockMargin = time.Second
	waitTime    = 4 * time.Second // of one Wait; the claim that follows tests the connection
)

// normalise fills in defaults and reports all faults at once.
func (c Config) normalise() (Config, Address, error) {
	var faults []error
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	addr, notes, err := c.address()
	if err != nil {
		faults = append(faults, err)
	}
	if len(addr.Sentinels) > 0 {
		addr.TLS = c.TLSConfig != nil
		if c.SentinelMaster == "" {
			faults = append(faults, errors.New("SentinelMaster is missing: want the name of the master that the Sentinels of the URL watch, such as mymaster"))
		}
	}
	if c.Cluster = len(addr.Nodes) > 0; c.Cluster {
		faults = append(faults, c.checkCluster(addr)...)
	}
	faults = append(faults, c.fillIn()...)
	if err := errors.Join(faults...); err != nil {
		return c, addr, fmt.Errorf("redis broker configuration: %w", err)
	}
	for _, note := range notes {
		c.Logger.Warn("redis URL: " + note)
	}
	return c, addr, nil
}

// checkCluster returns the faults of what a cluster restricts. Steps change several keys at
// once, results among them, so all keys must be in one slot.
func (c *Config) checkCluster(addr Address) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(addr.Sentinels) > 0 || addr.Network == "unix" {
		fault("the address leads to Sentinels or to a socket: want that of a node of the Redis Cluster")
	}
	if addr.DB != 0 {
		fault("DB is %d: a Redis Cluster has the database 0 only", addr.DB)
	}
	if _, ok := hashslot.Tag(c.KeyPrefix); !ok {
		fault("KeyPrefix is %q: with a Redis Cluster it needs a hash tag, such as {celery}:, because one step changes several keys, which must be in one slot", c.KeyPrefix)
		return faults
	}
	if _, ok := hashslot.Tag(c.ResultKeyPrefix); !ok || hashslot.Of(c.ResultKeyPrefix) != hashslot.Of(c.KeyPrefix) {
		fault("ResultKeyPrefix is %q: with a Redis Cluster results must be in the slot of KeyPrefix, so give it the same hash tag, such as %q", c.ResultKeyPrefix, c.KeyPrefix)
	}
	return faults
}

// fillIn fills in defaults and returns the faults of what does not concern the address.
func (c *Config) fillIn() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if len(c.PrioritySteps) == 0 {
		c.PrioritySteps = []int{0, 3, 6, 9}
	}
	if !slices.IsSorted(c.PrioritySteps) || c.PrioritySteps[0] != 0 || c.PrioritySteps[len(c.PrioritySteps)-1] > 9 {
		fault("PrioritySteps is %v: want rising numbers from 0 to at most 9, the first one 0", c.PrioritySteps)
	}
	if c.Separator == "" {
		c.Separator = "\x06\x16"
	}
	for _, d := range []struct {
		name       string
		value      *time.Duration
		def, least time.Duration
	}{
		{"VisibilityTimeout", &c.VisibilityTimeout, time.Hour, time.Second},
		{"OwnerTimeout", &c.OwnerTimeout, 15 * time.Second, time.Second},
		{"DeadLettersAge", &c.DeadLettersAge, 30 * 24 * time.Hour, time.Second},
		{"PollInterval", &c.PollInterval, 100 * time.Millisecond, 10 * time.Millisecond},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if *d.value < d.least {
			fault("%s is %v: want at least %v, or 0 for the default of %v", d.name, *d.value, d.least, d.def)
		}
	}
	if c.ResultExpires == 0 {
		c.ResultExpires = 24 * time.Hour
	}
	if c.MaxMessageSize < 0 || c.DeadLettersMax < 0 || c.StreamMax < 0 {
		fault("MaxMessageSize, DeadLettersMax and StreamMax must not be negative")
	}
	if c.StreamMax == 0 {
		c.StreamMax = 1_000_000
	}
	if c.MaxMessageSize == 0 {
		c.MaxMessageSize = protocol.DefaultSize
	}
	if c.DeadLettersMax == 0 {
		c.DeadLettersMax = 10_000
	}
	return append(faults, c.checkOrder()...)
}

// address returns the address of the server, with notes about the URL for a warning. It
// completes c.TLSConfig.
func (c *Config) address() (a Address, notes []string, err error) {
	if c.TLSConfig == nil && c.TLS != nil {
		fixed := c.TLS
		c.TLSConfig = func() *tls.Config { return fixed }
	}
	if c.URL == "" {
		if c.Address.Host == "" && len(c.Address.Sentinels) == 0 && len(c.Address.Nodes) == 0 {
			return a, nil, errors.New("URL is missing: want redis://host:port/db")
		}
		a = c.Address
		a.Network = cmp.Or(a.Network, "tcp")
		if len(a.Sentinels) > 0 {
			a.Network, a.Host = "tcp", ""
		}
		if c.Cluster && len(a.Nodes) == 0 {
			a.Nodes = []string{a.Host}
		}
		if a.TLS && c.TLSConfig == nil {
			c.TLSConfig, err = readTLS(connurl.RedisTLS{}, c.Logger)
		}
		return a, nil, err
	}
	a, parsed, err := parseURL(c.URL, c.DB, c.Cluster)
	if err != nil {
		return a, nil, err
	}
	if a.TLS && c.TLSConfig == nil {
		c.TLSConfig, err = readTLS(parsed.TLSParams, c.Logger)
	}
	return a, parsed.Notes, err
}

// QueueOrder selects the queue that gives the next message, of several queues with
// messages. The values are kombu's names (queue_order_strategy). Priorities precede every
// order: while one queue has a message of an earlier step, no queue gives one of a later
// step. Messages that a worker has claimed already run before messages that it claims
// later (see PrefetchMultiplier of worker.Config).
type QueueOrder string

const (
	// RoundRobin takes from the queues in turn: the queue that gave a message goes to the
	// end of the line.
	RoundRobin QueueOrder = "round_robin"
	// SortedQueues takes from the queue whose name comes first in the alphabet, as
	// long as it has messages.
	SortedQueues QueueOrder = "sorted"
	// DeclaredOrder takes from the first queue of worker.Config.Queues, as long as
	// it has messages, then from the second.
	DeclaredOrder QueueOrder = "priority"
)

// maxWeight bounds a weight: a round of all weights must not take for ever.
const maxWeight = 1000

// checkOrder returns the faults of QueueOrder and QueueWeights.
func (c Config) checkOrder() (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	switch c.QueueOrder {
	case "", RoundRobin, SortedQueues, DeclaredOrder:
	default:
		fault("QueueOrder is %q: want %q, %q or %q", c.QueueOrder, RoundRobin, SortedQueues, DeclaredOrder)
	}
	if c.QueueOrder != "" && len(c.QueueWeights) > 0 {
		fault("QueueOrder and QueueWeights are both set: want one of them")
	}
	for _, q := range sorting.Keys(c.QueueWeights) {
		if w := c.QueueWeights[q]; w < 1 || w > maxWeight {
			fault("QueueWeights[%q] is %d: want 1 to %d", q, w, maxWeight)
		}
	}
	return faults
}

// checkWeights returns an error for a weight of a queue that is not consumed, which is
// probably misspelt.
func (c Config) checkWeights(queues []string) error {
	for _, q := range sorting.Keys(c.QueueWeights) {
		if !slices.Contains(queues, q) {
			return fmt.Errorf("QueueWeights has the queue %q, which is not consumed: want names out of %q", q, queues)
		}
	}
	return nil
}

// choice returns the start of the choice between queues.
func (c Config) choice(queues []string) order.Choice {
	queues = slices.Clone(queues)
	switch {
	case len(c.QueueWeights) > 0:
		return order.New(order.Weights, queues, c.QueueWeights)
	case c.QueueOrder == SortedQueues:
		sort.Strings(queues)
		return order.New(order.Fixed, queues, nil)
	case c.QueueOrder == DeclaredOrder:
		return order.New(order.Fixed, queues, nil)
	}
	return order.New(order.Turns, queues, nil)
}
