package guard

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Store keeps notes for a time, for all monitors. It is what a broker.Board is.
type Store interface {
	Post(ctx context.Context, name string, value []byte, d time.Duration) error
	// Posted returns nil for what is not there.
	Posted(ctx context.Context, names ...string) ([][]byte, error)
	Unpost(ctx context.Context, names ...string) error
}

// Times and bounds of sessions.
const (
	DefaultIdle     = 8 * time.Hour
	DefaultLifetime = 7 * 24 * time.Hour
	recheck         = 2 * time.Second // after which the store is asked again
	touchEvery      = time.Minute
	mostSessions    = 10_000 // in memory
	storePatience   = 2 * time.Second
	flushEvery      = 5 * time.Second
)

// record is a session as it is stored. It never changes: use is noted beside it, so that a
// session that was ended cannot come back.
type record struct {
	Name    string `json:"name"`
	By      string `json:"by"`
	Role    Role   `json:"role,omitempty"` // of OIDC; with a password it is that of the user
	Hash    []byte `json:"hash"`           // SHA-256 of the secret
	Created int64  `json:"created"`        // nanoseconds of Unix time
	Expires int64  `json:"expires"`
	MAC     []byte `json:"mac"`
}

// sum returns the MAC of a record. The key comes of the password's hash or the client's
// secret: a session ends with them, and write access to the store makes none.
func (r record) sum(id, key string) []byte {
	h := hmac.New(sha256.New, []byte("evently monitor session "+key))
	fmt.Fprintf(h, "%s %d:%s %s %d %x %d %d", id, len(r.Name), r.Name, r.By, r.Role, r.Hash, r.Created, r.Expires)
	return h.Sum(nil)
}

// session is what is known of a session here.
type session struct {
	record
	checked time.Time // when the store had it last
	used    time.Time
	touched time.Time // when its use was noted in the store
	stored  bool      // false while the store is unavailable
	ended   bool
	streams map[int]context.CancelFunc // requests in progress
}

// sessions are those of all monitors in the store, and those of this one in memory.
type sessions struct {
	store          Store // nil: memory alone
	idle, lifetime time.Duration
	now            func() time.Time
	log            *slog.Logger

	mu      sync.Mutex
	known   map[string]*session
	cutoffs map[string]int64 // by name: sessions made before have ended
	pending map[string]note  // to be posted when the store is there again
	flushed time.Time
	streams int
	down    bool
}

func newSessions(store Store, idle, lifetime time.Duration, now func() time.Time, log *slog.Logger) *sessions {
	return &sessions{
		store: store, idle: idle, lifetime: lifetime, now: now, log: log,
		known: map[string]*session{}, cutoffs: map[string]int64{}, pending: map[string]note{},
	}
}

// Names in the store.
func sessionNote(id string) string { return "monitor.session." + id }
func usedNote(id string) string    { return "monitor.used." + id }
func cutoffNote(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "monitor.cutoff." + hex.EncodeToString(sum[:16])
}

// begin makes a session and returns its cookie.
func (s *sessions) begin(ctx context.Context, r record, key string) (cookie string) {
	id, secret := rand.Text(), rand.Text()+rand.Text()
	now := s.now()
	sum := sha256.Sum256([]byte(secret))
	r.Hash, r.Created, r.Expires = sum[:], now.UnixNano(), now.Add(s.lifetime).UnixNano()
	r.MAC = r.sum(id, key)
	one := &session{record: r, checked: now, used: now, touched: now}
	one.stored = s.save(ctx, id, one)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrink(now)
	s.known[id] = one
	return id + "." + secret
}

// save writes a session to the store.
func (s *sessions) save(ctx context.Context, id string, one *session) bool {
	raw, err := json.Marshal(one.record)
	if err != nil || s.store == nil {
		return s.store == nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	if err = s.store.Post(ctx, sessionNote(id), raw, time.Unix(0, one.Expires).Sub(s.now())); err == nil {
		err = s.store.Post(ctx, usedNote(id), []byte("1"), s.idle)
	}
	s.heard(err)
	return err == nil
}

// heard logs when the store becomes unavailable and when it is back.
func (s *sessions) heard(err error) {
	s.mu.Lock()
	before := s.down
	s.down = err != nil
	s.mu.Unlock()
	switch {
	case err != nil && !before:
		s.log.Warn("sessions of the monitor are kept in memory: Redis is unavailable", "error", err)
	case err == nil && before:
		s.log.Info("sessions of the monitor are in Redis again")
	}
}

// find returns the session of a cookie, if it is still valid. keyOf returns the key of a
// record's MAC, or false when its user is gone.
func (s *sessions) find(ctx context.Context, cookie string, keyOf func(record) (string, bool)) (id string, r record, ok bool) {
	id, secret, _ := strings.Cut(cookie, ".")
	if len(id) != 26 || len(secret) != 52 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", record{}, false
	}
	s.flush(ctx)
	one := s.load(ctx, id)
	if one == nil {
		return "", record{}, false
	}
	sum := sha256.Sum256([]byte(secret))
	key, known := keyOf(one.record)
	if !known || subtle.ConstantTimeCompare(sum[:], one.Hash) != 1 || !hmac.Equal(one.sum(id, key), one.MAC) {
		return "", record{}, false
	}
	s.touch(ctx, id, one)
	return id, one.record, true
}

// load returns a session that has not ended, nil if there is none.
func (s *sessions) load(ctx context.Context, id string) *session {
	s.mu.Lock()
	one := s.known[id]
	valid := one != nil && s.valid(one)
	fresh := one != nil && (s.store == nil || s.now().Sub(one.checked) < recheck)
	s.mu.Unlock()
	switch {
	case one != nil && (!valid || fresh):
		if valid {
			return one
		}
		return nil
	case s.store == nil:
		return nil
	}
	return s.ask(ctx, id, one)
}

// valid reports whether a session is neither over nor ended. mu is held.
func (s *sessions) valid(one *session) bool {
	now := s.now()
	return !one.ended && now.UnixNano() < one.Expires && now.Sub(one.used) < s.idle && one.Created > s.cutoffs[one.Name]
}

// ask asks the store for a session. one is what is known of it, or nil.
func (s *sessions) ask(ctx context.Context, id string, one *session) *session {
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	found, err := s.store.Posted(ctx, sessionNote(id), usedNote(id))
	if ctx.Err() != context.Canceled {
		s.heard(err)
	}
	switch {
	case err != nil:
		return s.postpone(one) // nil for one of another monitor
	case found[0] == nil || found[1] == nil:
		if one != nil && !one.stored {
			return s.restore(ctx, id, one)
		}
		s.forget(id)
		return nil
	}
	var r record
	if json.Unmarshal(found[0], &r) != nil {
		return nil
	}
	cutoff, err := s.store.Posted(ctx, cutoffNote(r.Name))
	if err != nil {
		return s.postpone(one)
	}
	at, _ := strconv.ParseInt(string(cutoff[0]), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.cutoffs[r.Name] = max(s.cutoffs[r.Name], at)
	if s.cutoffs[r.Name] == 0 {
		delete(s.cutoffs, r.Name)
	}
	if current := s.known[id]; current != nil {
		one = current
	} else {
		s.shrink(now)
		one = &session{record: r, used: now, touched: now}
		s.known[id] = one
	}
	one.checked, one.stored = now, true
	if !s.valid(one) {
		return nil
	}
	return one
}

// postpone lets a session go on without the store for a while.
func (s *sessions) postpone(one *session) *session {
	if one != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.checked = s.now().Add(flushEvery)
	}
	return one
}

// restore writes a session to the store that was unavailable when the session began.
func (s *sessions) restore(ctx context.Context, id string, one *session) *session {
	stored := s.save(ctx, id, one)
	s.mu.Lock()
	defer s.mu.Unlock()
	one.stored, one.checked = stored, s.now()
	return one
}

// touch notes the use of a session.
func (s *sessions) touch(ctx context.Context, id string, one *session) {
	now := s.now()
	s.mu.Lock()
	one.used = now
	due := s.store != nil && one.stored && now.Sub(one.touched) >= min(touchEvery, s.idle/4)
	if due {
		one.touched = now
	}
	s.mu.Unlock()
	if due {
		ctx, cancel := context.WithTimeout(ctx, storePatience)
		defer cancel()
		_ = s.store.Post(ctx, usedNote(id), []byte("1"), s.idle) // noted again with a later request
	}
}

// end ends a session.
func (s *sessions) end(ctx context.Context, id string) {
	s.mu.Lock()
	if one := s.known[id]; one != nil {
		one.ended = true
		one.stop()
	}
	if s.store != nil {
		s.pending[sessionNote(id)] = note{until: s.now().Add(s.lifetime)}
	}
	s.flushed = time.Time{}
	s.mu.Unlock()
	s.flush(ctx)
}

// endAll ends all sessions of a name.
func (s *sessions) endAll(ctx context.Context, name string) {
	s.mu.Lock()
	now := s.now()
	s.cutoffs[name] = now.UnixNano()
	for _, one := range s.known {
		if one.Name == name {
			one.ended = true
			one.stop()
		}
	}
	if s.store != nil {
		s.pending[cutoffNote(name)] = note{value: strconv.AppendInt(nil, now.UnixNano(), 10), until: now.Add(s.lifetime)}
	}
	s.flushed = time.Time{}
	s.mu.Unlock()
	s.flush(ctx)
}

// stop ends the requests of a session that are in progress, such as streams. The lock of
// the sessions is held.
func (one *session) stop() {
	for _, cancel := range one.streams {
		cancel()
	}
}

// follow calls cancel when the session ends here. The returned function ends that.
func (s *sessions) follow(id string, cancel context.CancelFunc) (unfollow func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.known[id]
	if one == nil {
		return func() {}
	}
	s.streams++
	n := s.streams
	if one.streams == nil {
		one.streams = map[int]context.CancelFunc{}
	}
	one.streams[n] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(one.streams, n)
	}
}

func (s *sessions) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.known[id]; one != nil {
		one.stop()
		delete(s.known, id)
	}
}

// shrink keeps the memory bounded. mu is held.
func (s *sessions) shrink(now time.Time) {
	if len(s.known) < mostSessions {
		return
	}
	for id, one := range s.known {
		if now.UnixNano() >= one.Expires || now.Sub(one.used) >= s.idle {
			delete(s.known, id)
		}
	}
	for id, one := range s.known {
		if len(s.known) < mostSessions {
			return
		}
		if len(one.streams) == 0 {
			delete(s.known, id)
		}
	}
	if len(s.cutoffs) > mostSessions {
		clear(s.cutoffs)
	}
}
