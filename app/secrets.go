package app

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/worker/broker"
)

// secretAges finds out how old the secrets are. A file tells by the time of its last change.
// For a value, the board of the broker remembers when a worker has first seen it. nil does nothing.
type secretAges struct {
	secrets []config.SecretInUse
	board   broker.Board
	keeper  broker.SecretKeeper
	log     *slog.Logger

	seen atomic.Pointer[map[string]time.Time] // by variable
}

const (
	secretLook  = time.Minute
	secretLives = 2 * 365 * 24 * time.Hour
	// keptPrints is the number of values of one secret that are remembered. During a
	// rotation some workers have the old value.
	keptPrints = 4
)

// newSecretAges returns the ages of the secrets of the configuration. It does no I/O.
func newSecretAges(cfg config.Config, b any, log *slog.Logger) *secretAges {
	can := broker.CapabilitiesOf(b)
	return &secretAges{secrets: cfg.SecretsInUse(), board: can.Board, keeper: can.Secrets, log: log}
}

// Run looks at the secrets until ctx ends.
func (s *secretAges) Run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	tick := time.NewTicker(secretLook)
	defer tick.Stop()
	known := false
	for {
		seen := s.files()
		if !known {
			values, err := s.values(ctx)
			if known = err == nil; !known && ctx.Err() == nil {
				s.log.Debug("ages of secrets not known yet", "error", err)
			}
			maps.Copy(seen, values)
		} else if before := s.seen.Load(); before != nil {
			for name, at := range *before {
				if _, isFile := seen[name]; !isFile {
					seen[name] = at
				}
			}
		}
		s.seen.Store(&seen)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// files returns when the files of secrets were written.
func (s *secretAges) files() map[string]time.Time {
	seen := map[string]time.Time{}
	for _, one := range s.secrets {
		if one.File == "" {
			continue
		}
		if info, err := os.Stat(one.File); err == nil {
			seen[one.Variable] = info.ModTime()
		}
	}
	return seen
}

// values returns when the values of secrets were first seen, and remembers new ones.
func (s *secretAges) values(ctx context.Context) (map[string]time.Time, error) {
	seen := map[string]time.Time{}
	if s.board == nil || s.keeper == nil {
		return seen, nil
	}
	key, err := s.keeper.Secret(ctx)
	if err != nil {
		return seen, err
	}
	for _, one := range s.secrets {
		if one.File != "" {
			continue
		}
		at, err := s.value(ctx, key, one)
		if err != nil {
			return seen, err
		}
		seen[one.Variable] = at
	}
	return seen, nil
}

// value returns when the value of a secret was first seen.
func (s *secretAges) value(ctx context.Context, key []byte, one config.SecretInUse) (time.Time, error) {
	mark, err := fingerprint(key, one)
	if err != nil {
		return time.Time{}, err
	}
	name := "secret." + one.Variable
	notices, err := s.board.Posted(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	first := map[string]int64{} // Unix time by fingerprint
	if len(notices) > 0 && json.Unmarshal(notices[0], &first) != nil {
		first = map[string]int64{}
	}
	if at, ok := first[mark]; ok {
		return time.Unix(at, 0), nil
	}
	now := time.Now()
	for len(first) >= keptPrints {
		delete(first, slices.MinFunc(slices.Collect(maps.Keys(first)), func(a, b string) int { return int(first[a] - first[b]) }))
	}
	first[mark] = now.Unix()
	notice, err := json.Marshal(first)
	if err != nil {
		return time.Time{}, err
	}
	return now, s.board.Post(ctx, name, notice, secretLives)
}

// fingerprint tells values of a secret apart. It is so short that it helps little to guess a
// value.
func fingerprint(key []byte, one config.SecretInUse) (string, error) {
	const rounds, octets = 10_000, 3
	mark, err := pbkdf2.Key(sha256.New, one.Value.Reveal(), slices.Concat([]byte(one.Variable+"\x00"), key), rounds, octets)
	if err != nil {
		return "", fmt.Errorf("fingerprint of %s: %w", one.Variable, err)
	}
	return hex.EncodeToString(mark), nil
}

// list returns the secrets in use with the times since when they are known. It does no I/O.
func (s *secretAges) list() (all []monitor.SecretState) {
	seen := s.seen.Load()
	for _, one := range s.secrets {
		state := monitor.SecretState{Name: one.Variable}
		if seen != nil {
			state.Since = (*seen)[one.Variable]
		}
		if !slices.ContainsFunc(all, func(other monitor.SecretState) bool { return other.Name == state.Name }) {
			all = append(all, state)
		}
	}
	return all
}
