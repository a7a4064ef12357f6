package guard

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Bounds of passwords and hashes.
const (
	LeastPassword = 10 // bytes of a password
	MostPassword  = 72 // bytes; bcrypt knows no more
	usualCost     = 12
	leastCost     = 10
	mostCost      = 14 // one check takes about a second
)

// Hash returns the bcrypt hash of a password.
func Hash(password string) (string, error) {
	switch {
	case len(password) < LeastPassword:
		return "", fmt.Errorf("the password has less than %d characters", LeastPassword)
	case len(password) > MostPassword:
		return "", fmt.Errorf("the password has more than %d bytes, the most that bcrypt takes", MostPassword)
	case strings.ContainsAny(password, "\r\n\x00"):
		return "", errors.New("the password has more than one line")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), usualCost)
	return string(hash), err
}

// checkHash refuses what is no bcrypt hash, or takes too much or too little time. Its errors
// do not repeat the text, which may be a password.
func checkHash(hash string) error {
	if !strings.HasPrefix(hash, "$2") {
		if strings.Count(hash, "$") < 3 && strings.Contains(hash, "2") {
			return errors.New("its hash is not one of bcrypt; in a compose file write $$ for each $, in a shell use single quotes")
		}
		return errors.New("its hash is not one of bcrypt; make one with the command monitor-user")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || len(hash) != 60:
		return errors.New("its hash is not a whole one of bcrypt; make one with the command monitor-user")
	case cost < leastCost || cost > mostCost:
		return fmt.Errorf("its hash has the cost %d, want %d to %d", cost, leastCost, mostCost)
	}
	return nil
}

// verifier compares passwords with hashes. A comparison takes long by intention: few run at
// once, and basic auth, which sends the password with each request, remembers the last ones.
type verifier struct {
	slots chan struct{}
	dummy func() (string, error) // hash that unknown names are compared with, which takes the same time
	key   []byte                 // of what is remembered
	now   func() time.Time

	mu     sync.Mutex
	proven map[[sha256.Size]byte]time.Time
}

// Bounds of a verifier.
const (
	parallelChecks = 2
	provenMax      = 1000
	provenFor      = 5 * time.Minute
)

// newVerifier returns a verifier. cost is that of the hashes of the users.
func newVerifier(cost func() int, now func() time.Time) (*verifier, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	dummy := sync.OnceValues(func() (string, error) {
		hash, err := bcrypt.GenerateFromPassword(key, cost())
		return string(hash), err
	})
	return &verifier{
		slots: make(chan struct{}, parallelChecks), dummy: dummy, key: key, now: now,
		proven: map[[sha256.Size]byte]time.Time{},
	}, nil
}

// check compares a password with the hash of u, or takes as long when u is not known.
func (v *verifier) check(ctx context.Context, u User, known bool, password string) (bool, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	hash := u.Hash
	if !known {
		var err error
		if hash, err = v.dummy(); err != nil {
			return false, err
		}
	}
	if len(password) > MostPassword {
		password, known = password[:MostPassword], false
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	right := err == nil && known
	if right {
		v.remember(v.mark(u, password))
	}
	return right, nil
}

// mark identifies a password and the hash that it fits. It is only ever in memory.
func (v *verifier) mark(u User, password string) (m [sha256.Size]byte) {
	h := hmac.New(sha256.New, v.key)
	fmt.Fprintf(h, "%d:%s%d:%s%s", len(u.Name), u.Name, len(u.Hash), u.Hash, password)
	return [sha256.Size]byte(h.Sum(nil))
}

// remembers reports whether check found the password right of late.
func (v *verifier) remembers(u User, password string) bool {
	m := v.mark(u, password)
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.proven[m]
	return ok && v.now().Before(until)
}

func (v *verifier) remember(m [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.proven) >= provenMax {
		clear(v.proven)
	}
	v.proven[m] = v.now().Add(provenFor)
}
