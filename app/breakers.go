package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/breaker"
	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
	"github.com/evently/workers/worker/broker"
)

// fleet has what breakers share with those of other processes.
type fleet struct {
	board  broker.Board
	leaser broker.Leaser
	owner  string // of leases
}

func newFleet(b any) *fleet {
	can := broker.CapabilitiesOf(b)
	return &fleet{board: can.Board, leaser: can.Leaser, owner: rand.Text()}
}

// share returns the share of one breaker. The address tells servers apart that have the
// same name; it goes into keys as a hash.
func (f *fleet) share(kind string, address ...string) breaker.Share {
	if f == nil || f.board == nil || f.leaser == nil {
		return nil
	}
	hash := sha256.Sum256([]byte(strings.Join(address, "\x00")))
	return &fleetShare{fleet: f, key: "breaker." + kind + "." + hex.EncodeToString(hash[:8])}
}

// fleetShare implements [breaker.Share] with a broker.
type fleetShare struct {
	fleet *fleet
	key   string
}

// Post implements [breaker.Share].
func (s *fleetShare) Post(ctx context.Context, _, notice string, ttl time.Duration) error {
	return s.fleet.board.Post(ctx, s.key, []byte(notice), ttl)
}

// Posted implements [breaker.Share].
func (s *fleetShare) Posted(ctx context.Context, _ string) (string, error) {
	notices, err := s.fleet.board.Posted(ctx, s.key)
	if err != nil || len(notices) == 0 {
		return "", err
	}
	return string(notices[0]), nil
}

// Lease implements [breaker.Share].
func (s *fleetShare) Lease(ctx context.Context, _ string, ttl time.Duration) (bool, error) {
	return s.fleet.leaser.Lease(ctx, s.key, s.fleet.owner, ttl)
}

// newRelayBreaker returns the breaker of one relay.
func newRelayBreaker(name string, c mail.Config, sender *mail.Sender, f *fleet, log *slog.Logger) (*breaker.Breaker, error) {
	address := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	return breaker.New(breaker.Config{
		Name:  name,
		Probe: probeRelay(sender), ProbeTimeout: relayProbeTimeout,
		Share:  f.share("relay", address, c.Username),
		Logger: log,
	})
}

// relayProbeTimeout bounds a probe of a relay, whose steps have limits of their own. A
// relay may take its time for the greeting.
const relayProbeTimeout = 45 * time.Second

// newDatabaseBreaker returns the breaker of the database.
func newDatabaseBreaker(d config.Database, s *store.Store, f *fleet, log *slog.Logger) (*breaker.Breaker, error) {
	address := []string{d.Host, fmt.Sprint(d.Port), d.Name, d.User}
	if p, err := connurl.ParsePostgres(d.URL.Reveal()); d.URL.IsSet() && err == nil {
		address = []string{p.HostNames(), p.Ports(""), p.Database, p.User}
	}
	return breaker.New(breaker.Config{
		Name:   monitor.DatabaseBreaker,
		Probe:  probeDatabase(s),
		Share:  f.share("database", address...),
		Logger: log,
	})
}
