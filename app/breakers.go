package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/app/shard"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
)

// fleet has what breakers share with those of other processes: the boards of the brokers that
// answer. Processes that see the same brokers answer ask the same one for a lease.
type fleet struct {
	live  func() []noticeBoard
	owner string // of leases
}

// noticeBoard is what breakers use of a broker.
type noticeBoard interface {
	Post(ctx context.Context, name string, notice []byte, ttl time.Duration) error
	Posted(ctx context.Context, names ...string) ([][]byte, error)
	Lease(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)
}

func newFleet(shards shard.Set) *fleet {
	return &fleet{owner: rand.Text(), live: func() (boards []noticeBoard) {
		for _, b := range shards.Live() {
			boards = append(boards, b)
		}
		return boards
	}}
}

// share returns the share of one breaker. The address tells servers apart that have the
// same name; it goes into keys as a hash.
func (f *fleet) share(name, kind string, address ...string) breaker.Share {
	if f == nil {
		return nil
	}
	hash := sha256.Sum256([]byte(strings.Join(address, "\x00")))
	return &fleetShare{fleet: f, name: name, key: "breaker." + kind + "." + hex.EncodeToString(hash[:8])}
}

// fleetShare implements [breaker.Share] with the brokers of the process.
type fleetShare struct {
	fleet     *fleet
	name, key string // of the breaker
}

// Post implements [breaker.Share]. One board that takes the notice is enough.
func (s *fleetShare) Post(ctx context.Context, _, notice string, ttl time.Duration) error {
	var errs []error
	posted := false
	for _, b := range s.fleet.live() {
		err := b.Post(ctx, s.key, []byte(notice), ttl)
		posted, errs = posted || err == nil, append(errs, err)
	}
	if posted {
		return nil
	}
	return errors.Join(errs...)
}

// Posted implements [breaker.Share].
func (s *fleetShare) Posted(ctx context.Context, _ string) (string, error) {
	var errs []error
	answered := false
	for _, b := range s.fleet.live() {
		notices, err := b.Posted(ctx, s.key)
		if err == nil && len(notices) > 0 && len(notices[0]) > 0 {
			return string(notices[0]), nil
		}
		answered, errs = answered || err == nil, append(errs, err)
	}
	if answered {
		return "", nil
	}
	return "", errors.Join(errs...)
}

// Lease implements [breaker.Share]. The name is that of the breaker, with an end or without one.
func (s *fleetShare) Lease(ctx context.Context, name string, ttl time.Duration) (bool, error) {
	return s.fleet.live()[0].Lease(ctx, s.key+strings.TrimPrefix(name, s.name), s.fleet.owner, ttl)
}

// newRelayBreaker returns the breaker of one relay.
func newRelayBreaker(name string, c mail.Config, sender *mail.Sender, f *fleet, log *slog.Logger) (*breaker.Breaker, error) {
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	return breaker.New(breaker.Config{
		Name:  name,
		Probe: probeRelay(sender.Ping), ProbeTimeout: relayProbeTimeout,
		Reach: probeRelay(sender.Reach), ReachTimeout: relayReachTimeout,
		First:  firstOfRelay(sender.Reach),
		Share:  f.share(name, "relay", address, c.Username),
		Logger: log,
	})
}

// relayProbeTimeout bounds a probe of a relay, whose steps have limits of their own. A
// relay may take its time for the greeting.
const relayProbeTimeout = 45 * time.Second

// relayReachTimeout leaves time for a greeting that is delayed on purpose, as many relays do for
// seconds.
const relayReachTimeout = 8 * time.Second

// newDatabaseBreaker returns the breaker of the database.
func newDatabaseBreaker(d config.Database, s *store.Store, f *fleet, log *slog.Logger) (*breaker.Breaker, error) {
	address := []string{d.Host, fmt.Sprint(d.Port), d.Name, d.User}
	if p, err := connurl.ParsePostgres(d.URL.Reveal()); d.URL.IsSet() && err == nil {
		address = []string{p.HostNames(), p.Ports(""), p.Database, p.User}
	}
	return breaker.New(breaker.Config{
		Name:   monitor.DatabaseBreaker,
		Probe:  probeDatabase(s),
		Reach:  probeDatabase(s),
		Share:  f.share(monitor.DatabaseBreaker, "database", address...),
		Logger: log,
	})
}
