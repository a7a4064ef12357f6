package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger/audit"
	"github.com/evently/workers/worker/broker"
)

// secretAges finds out how old the secrets are. A file tells by the time of its last change.
// For a value, the board of the broker remembers when a worker has first seen it. nil does nothing.
type secretAges struct {
	replaced *secrets.Keeper // nil: the secrets stay as they were at the start
	board    broker.Board
	keeper   broker.SecretKeeper
	log      *slog.Logger

	secrets atomic.Pointer[[]config.SecretInUse]
	seen    atomic.Pointer[map[string]secretAge] // by variable
}

// secretAge is what a board tells of a value.
type secretAge struct {
	since time.Time
	mark  string // "": not known
}

const (
	secretLook  = time.Minute
	secretTick  = 5 * time.Second // between two looks for replaced secrets
	secretLives = 2 * 365 * 24 * time.Hour
	// keptPrints is the number of values of one secret that are remembered. During a
	// rotation some workers have the old value.
	keptPrints = 4
)

// newSecretAges returns the ages of the secrets of the configuration. It does no I/O.
func newSecretAges(cfg config.Config, replaced *secrets.Keeper, b any, log *slog.Logger) *secretAges {
	can := broker.CapabilitiesOf(b)
	s := &secretAges{replaced: replaced, board: can.Board, keeper: can.Secrets, log: log}
	all := cfg.SecretsInUse()
	s.secrets.Store(&all)
	return s
}

// update takes the present secrets. It reports whether they are others than before.
func (s *secretAges) update() (changed bool) {
	if s.replaced.Idle() {
		return false
	}
	cfg := s.replaced.Config()
	now, before := cfg.SecretsInUse(), *s.secrets.Load()
	same := func(a, b config.SecretInUse) bool {
		return a.Variable == b.Variable && a.File == b.File && a.Value.Equal(b.Value)
	}
	s.secrets.Store(&now)
	return !slices.EqualFunc(now, before, same)
}

// Run looks at the secrets until ctx ends.
func (s *secretAges) Run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	tick := time.NewTicker(secretTick)
	defer tick.Stop()
	known, looked := false, time.Time{}
	for {
		if s.update() {
			known, looked = false, time.Time{}
		}
		if time.Since(looked) < secretLook {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			continue
		}
		looked = time.Now()
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
	}
}

// files returns when the files of secrets were written.
func (s *secretAges) files() map[string]secretAge {
	seen := map[string]secretAge{}
	for _, one := range *s.secrets.Load() {
		if one.File == "" {
			continue
		}
		if info, err := os.Stat(one.File); err == nil {
			seen[one.Variable] = secretAge{since: info.ModTime()}
		}
	}
	return seen
}

// values returns when the values of secrets were first seen, and remembers new ones.
func (s *secretAges) values(ctx context.Context) (map[string]secretAge, error) {
	seen := map[string]secretAge{}
	if s.board == nil || s.keeper == nil {
		return seen, nil
	}
	key, err := s.keeper.Secret(ctx)
	if err != nil {
		return seen, err
	}
	for _, one := range *s.secrets.Load() {
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
func (s *secretAges) value(ctx context.Context, key []byte, one config.SecretInUse) (secretAge, error) {
	mark := one.Mark(key)
	if mark == "" {
		return secretAge{}, fmt.Errorf("no mark of %s", one.Variable)
	}
	name := "secret." + one.Variable
	notices, err := s.board.Posted(ctx, name)
	if err != nil {
		return secretAge{}, err
	}
	first := map[string]int64{} // Unix time by fingerprint
	if len(notices) > 0 && json.Unmarshal(notices[0], &first) != nil {
		first = map[string]int64{}
	}
	if at, ok := first[mark]; ok {
		return secretAge{time.Unix(at, 0), mark}, nil
	}
	now := time.Now()
	for len(first) >= keptPrints {
		delete(first, slices.MinFunc(slices.Collect(maps.Keys(first)), func(a, b string) int { return int(first[a] - first[b]) }))
	}
	first[mark] = now.Unix()
	notice, err := json.Marshal(first)
	if err != nil {
		return secretAge{}, err
	}
	return secretAge{now, mark}, s.board.Post(ctx, name, notice, secretLives)
}

// list returns the secrets in use with the times since when they are known, and what was found
// out about replaced ones. It does no I/O.
func (s *secretAges) list() (all []monitor.SecretState) {
	seen := s.seen.Load()
	replaced := s.replaced.States()
	for _, one := range *s.secrets.Load() {
		state := monitor.SecretState{Name: one.Variable, Source: one.Source}
		if seen != nil {
			age := (*seen)[one.Variable]
			state.Since, state.Mark = age.since, age.mark
		}
		if i := slices.IndexFunc(replaced, func(r secrets.State) bool { return r.Variable == one.Variable }); i >= 0 {
			addReplaced(&state, replaced[i])
			replaced = slices.Delete(replaced, i, i+1)
		}
		if !slices.ContainsFunc(all, func(other monitor.SecretState) bool { return other.Name == state.Name }) {
			all = append(all, state)
		}
	}
	for _, r := range replaced {
		state := monitor.SecretState{Name: r.Variable}
		addReplaced(&state, r)
		all = append(all, state)
	}
	return all
}

// listUnmarked is list for a fleet with another key.
func (s *secretAges) listUnmarked() []monitor.SecretState {
	all := s.list()
	for i := range all {
		all[i].Mark = ""
	}
	return all
}

// addReplaced adds what a keeper knows of a secret.
func addReplaced(state *monitor.SecretState, r secrets.State) {
	state.Source, state.Fingerprint = r.Source, r.Fingerprint
	state.Fault, state.Advice, state.Reloads = r.Fault, r.Advice, r.Results
	if r.Changed.After(state.Since) {
		state.Since = r.Changed
	}
}

// newKeeper returns a keeper of the secrets. changed is told of each change.
func newKeeper(cfg config.Config, log *slog.Logger, changed func(secrets.Event)) *secrets.Keeper {
	return secrets.New(secrets.Config{Initial: cfg, Load: loadFrom, Event: changed, Logger: log})
}

// entryOf returns the entry of the audit trail about a change of a secret.
func entryOf(e secrets.Event) audit.Entry {
	entry := audit.Entry{From: e.Source, Action: "secret." + e.Result, IDs: []string{e.Variable}, Outcome: audit.Done}
	if e.Result == secrets.Failed {
		entry.Outcome = audit.Failed
	}
	if e.Fingerprint != "" {
		entry.Details = jsonOf(map[string]string{"fingerprint": e.Fingerprint})
	}
	return entry
}
