package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config describes a Broker. Zero fields mean Celery's and kombu's defaults.
type Config struct {
	// URL as kombu writes it: redis://[user:password@]host[:port][/db],
	// rediss:// for TLS, redis+socket:///path?virtual_host=db for a socket,
	// sentinel://host:26379;sentinel://host:26379/db for the master that these
	// Sentinels watch. Required.
	URL string

	// SentinelMaster is the name of that master (master_name). Required for
	// sentinel://, where user and password are those of the master.
	SentinelMaster string

	// SentinelUsername and SentinelPassword log in to the Sentinels themselves
	// (sentinel_kwargs).
	SentinelUsername, SentinelPassword string

	// DB is the database when URL names none.
	DB int

	// TLS is used for rediss://. Default: certificates are verified against
	// the roots of the system, TLS 1.2 or newer. With sentinel:// there is TLS,
	// to the Sentinels and to the master, when it is set.
	TLS *tls.Config

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

	// QueueWeights, when set, divide what is taken among the queues that have
	// messages: of the weights 6, 3 and 1 out of ten messages six, three and one,
	// so that no queue waits for ever. A queue that is not named has the weight 1.
	// A weight is 1 to 1000. Priorities then order the messages within each queue
	// only. It takes the place of QueueOrder. Celery has nothing like it.
	QueueWeights map[string]int

	// VisibilityTimeout is the time after which an unacknowledged message that
	// nobody renews is delivered again (visibility_timeout). Default: 3600 s.
	// It must not be above that of any peer: the smallest one governs all.
	VisibilityTimeout time.Duration

	// ResultExpires is the life of a result (result_expires). Default: one
	// day; negative: results stay for ever.
	ResultExpires time.Duration

	// ChordUnordered keeps the members of chords in the order of their ends
	// instead of that of the header (result_chord_ordered off). Must be equal on
	// all peers.
	ChordUnordered bool

	// OwnerTimeout is the silence after which a worker of this kind counts as
	// dead, or frozen, and the others of this kind deliver its messages again;
	// Python workers go by the visibility timeout. A worker says that it lives five
	// times within it. Where two workers differ, the longer time counts between
	// them. Default: 15 s, at least 1 s.
	OwnerTimeout time.Duration

	// MaxMessageSize in bytes; a larger message goes to the dead letters
	// unparsed. Default: 1 MiB.
	MaxMessageSize int

	// DeadLettersMax bounds the number of dead letters, DeadLettersAge their
	// age; the oldest are dropped. Defaults: 10,000 and 30 days.
	DeadLettersMax int
	DeadLettersAge time.Duration

	// PollInterval is the pause between looks into empty queues where the
	// server cannot tell of new messages without taking them (before Redis
	// 6.2). Default: 100 ms, at least 10 ms.
	PollInterval time.Duration

	// Logger gets what happens. Default: slog.Default().
	Logger *slog.Logger
}

// Times of the connections. A command answers in microseconds; whoever takes
// seconds is gone, or will be asked again.
const (
	dialTimeout    = 3 * time.Second
	commandTimeout = 3 * time.Second
	blockTime      = 5 * time.Second // of one wait for messages in a list
	waitTime       = 4 * time.Second // of one for messages in any; then a claim shows that all is well
	blockMargin    = time.Second
)

// address is a parsed URL.
type address struct {
	network, host      string   // for net.Dial
	sentinels          []string // host:port of each; then host is not used
	tls                bool
	username, password string
	db                 int
}

// String leaves the password out.
func (a address) String() string {
	if len(a.sentinels) > 0 {
		return fmt.Sprintf("master of %s/%d", strings.Join(a.sentinels, ","), a.db)
	}
	return fmt.Sprintf("%s/%d", a.host, a.db)
}

func parseURL(raw string, db int) (address, error) {
	if strings.HasPrefix(raw, "sentinel://") {
		return parseSentinels(raw, db)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The error of url.Parse quotes its input, password included.
		return address{}, errors.New("redis URL is not a URL: want redis://[user:password@]host[:port][/db]; a password with special characters must be percent-encoded")
	}
	a := address{network: "tcp", db: db}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis", "rediss":
		a.tls = u.Scheme == "rediss"
		host, port := u.Hostname(), u.Port()
		if host == "" {
			host = "localhost"
		}
		if port == "" {
			port = "6379"
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		a.host = host + ":" + port
	case "redis+socket", "socket", "unix":
		a.network, a.host = "unix", u.Path
		path = u.Query().Get("virtual_host")
		if a.host == "" {
			return address{}, errors.New("redis URL has no socket path: want redis+socket:///path/to/redis.sock")
		}
	default:
		return address{}, fmt.Errorf("redis URL has the scheme %q: want redis, rediss, redis+socket or sentinel", u.Scheme)
	}
	if err := a.selectDB(path); err != nil {
		return address{}, err
	}
	a.login(u.User)
	return a, nil
}

// parseSentinels reads sentinel://host:port;sentinel://host:port/db. Whichever
// of them has a login or a database, it is that of the master.
func parseSentinels(raw string, db int) (address, error) {
	a := address{network: "tcp", db: db}
	for part := range strings.SplitSeq(raw, ";") {
		if !strings.Contains(part, "://") {
			part = "sentinel://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Scheme != "sentinel" || u.Hostname() == "" {
			return address{}, errors.New("redis URL does not name Sentinels: want sentinel://host:26379;sentinel://host:26379/0")
		}
		port := u.Port()
		if port == "" {
			port = "26379"
		}
		a.sentinels = append(a.sentinels, net.JoinHostPort(u.Hostname(), port))
		if err := a.selectDB(strings.Trim(u.Path, "/")); err != nil {
			return address{}, err
		}
		if u.User != nil {
			a.login(u.User)
		}
	}
	return a, nil
}

func (a *address) selectDB(path string) error {
	if path == "" {
		return nil
	}
	n, err := strconv.Atoi(path)
	if err != nil || n < 0 {
		return errors.New("redis URL names a database that is no number: want redis://host:port/0")
	}
	a.db = n
	return nil
}

func (a *address) login(user *url.Userinfo) {
	password, ok := user.Password()
	if !ok {
		// redis://secret@host: kombu takes it for the user name, which without a
		// password is of no use.
		return
	}
	a.username, a.password = user.Username(), password
}

// normalise fills in defaults and reports everything that is wrong.
func (c Config) normalise() (Config, address, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	var addr address
	if c.URL == "" {
		fault("URL is missing: want redis://host:port/db")
	} else {
		var err error
		if addr, err = parseURL(c.URL, c.DB); err != nil {
			faults = append(faults, err)
		}
	}
	if len(addr.sentinels) > 0 {
		addr.tls = c.TLS != nil
		if c.SentinelMaster == "" {
			fault("SentinelMaster is missing: want the name of the master that the Sentinels of the URL watch, such as mymaster")
		}
	}
	if len(c.PrioritySteps) == 0 {
		c.PrioritySteps = []int{0, 3, 6, 9}
	}
	if !slices.IsSorted(c.PrioritySteps) || c.PrioritySteps[0] != 0 || c.PrioritySteps[len(c.PrioritySteps)-1] > 9 {
		fault("PrioritySteps is %v: want rising numbers from 0 to at most 9, the first one 0", c.PrioritySteps)
	}
	if c.Separator == "" {
		c.Separator = "\x06\x16"
	}
	faults = append(faults, c.checkOrder()...)
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
	if c.MaxMessageSize < 0 || c.DeadLettersMax < 0 {
		fault("MaxMessageSize and DeadLettersMax must not be negative")
	}
	if c.MaxMessageSize == 0 {
		c.MaxMessageSize = 1 << 20
	}
	if c.DeadLettersMax == 0 {
		c.DeadLettersMax = 10_000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := errors.Join(faults...); err != nil {
		return c, addr, fmt.Errorf("redis broker configuration: %w", err)
	}
	return c, addr, nil
}
