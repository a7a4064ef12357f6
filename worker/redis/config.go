package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/worker/protocol"
)

// Config describes a Broker. Zero fields mean Celery's and kombu's defaults.
type Config struct {
	// URL as kombu writes it: redis://[user[:password]@]host[:port][/db],
	// rediss:// for TLS, redis+socket:///path?virtual_host=db for a socket,
	// sentinel://host:26379;sentinel://host:26379/db for the master that these
	// Sentinels watch. Required.
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

	// DB is the database when URL names none.
	DB int

	// TLS is used for rediss://, instead of the ssl_ parameters of URL. Default:
	// certificates are verified against the roots of the system, TLS 1.2 or
	// newer. With sentinel:// there is TLS, to the Sentinels and to the master,
	// when it is set.
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
	// unparsed. Default: that of [protocol.Limits], 16 MiB.
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
	tlsParams          connurl.RedisTLS
	username, password string // a user may have no password
	db                 int
	notes              []string // about the URL, for a warning
}

// String leaves the password out.
func (a address) String() string {
	if len(a.sentinels) > 0 {
		return fmt.Sprintf("master of %s/%d", strings.Join(a.sentinels, ","), a.db)
	}
	return fmt.Sprintf("%s/%d", a.host, a.db)
}

// parseURL reads a URL by the rules of kombu and redis-py. Its errors hold no
// part of the URL.
func parseURL(raw string, db int) (address, error) {
	r, err := connurl.ParseRedis(raw)
	if errors.Is(err, connurl.ErrScheme) {
		scheme, _, _ := strings.Cut(raw, "://")
		return address{}, fmt.Errorf("redis URL has the scheme %q: %w", scheme, err)
	}
	if err != nil {
		return address{}, fmt.Errorf("redis URL: %w", err)
	}
	a := address{
		network: r.Network, host: r.Address, sentinels: r.Sentinels, tls: r.TLS, tlsParams: r.TLSParams,
		username: r.Username, password: r.Password, db: db, notes: r.Notes,
	}
	if len(r.Sentinels) > 0 {
		a.network, a.host = "tcp", ""
	}
	if r.DB >= 0 {
		a.db = r.DB
	}
	return a, nil
}

// tlsConfig reads the files that the parameters of a URL name.
func tlsConfig(p connurl.RedisTLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: p.SkipVerify}
	if p.CA != "" {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, fmt.Errorf("read ssl_ca_certs of the redis URL: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ssl_ca_certs of the redis URL: %s holds no certificate", p.CA)
		}
	}
	if (p.Cert == "") != (p.Key == "") {
		return nil, errors.New("redis URL names one of ssl_certfile and ssl_keyfile: want both")
	}
	if p.Cert != "" {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("read ssl_certfile and ssl_keyfile of the redis URL: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if p.IgnoreHostname && !p.SkipVerify {
		connurl.IgnoreHostname(c)
	}
	return c, nil
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
	if addr.tls && c.TLS == nil {
		var err error
		if c.TLS, err = tlsConfig(addr.tlsParams); err != nil {
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
		c.MaxMessageSize = protocol.DefaultSize
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
	for _, note := range addr.notes {
		c.Logger.Warn("redis URL: " + note)
	}
	return c, addr, nil
}
