package guard

import (
	"net/netip"
	"sync"
	"time"
)

// Bounds of failed logins: so many at once, then one each time.
const (
	perAddress, addressEvery = 10, 30 * time.Second
	perName, nameEvery       = 10, 30 * time.Second
	perAll, allEvery         = 200, time.Second
	mostTracked              = 10_000 // addresses, and names
)

// attempts limits logins by address, by name, and as a whole. An attempt counts when it
// begins, so that many at once count as well, and is given back when it succeeds. A name
// that strangers try stays open for the addresses that it last logged in from.
type attempts struct {
	now func() time.Time

	mu        sync.Mutex
	addresses rates
	names     rates
	all       time.Time
	good      map[string]time.Time // name and address of a successful login
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{now: now, addresses: rates{}, names: rates{}, good: map[string]time.Time{}}
}

// rates has the time at which each key has its whole burst again.
type rates map[string]time.Time

// wait returns how long key must wait for its next attempt.
func (r rates) wait(key string, now time.Time, burst int, every time.Duration) time.Duration {
	return waitFor(r[key], now, burst, every)
}

// waitFor returns how long to wait when the whole burst is there again at full.
func waitFor(full, now time.Time, burst int, every time.Duration) time.Duration {
	return max(0, full.Sub(now.Add(time.Duration(burst-1)*every)))
}

func (r rates) take(key string, now time.Time, every time.Duration) {
	if _, ok := r[key]; !ok && len(r) >= mostTracked {
		r.shrink(now)
	}
	from := r[key]
	if from.Before(now) {
		from = now
	}
	r[key] = from.Add(every)
}

// shrink drops what has its whole burst again, or else the half that is nearest to it.
func (r rates) shrink(now time.Time) {
	for key, full := range r {
		if !full.After(now) {
			delete(r, key)
		}
	}
	for within := 2 * time.Second; len(r) >= mostTracked; within *= 2 {
		for key, full := range r {
			if full.Sub(now) <= within {
				delete(r, key)
			}
		}
	}
}

// network returns what counts as one address: a network of /64 in IPv6.
func network(addr netip.Addr) string {
	addr = addr.Unmap()
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}

// goodFor is the time that a successful login counts.
const goodFor = 30 * 24 * time.Hour

// begin takes an attempt, or returns how long to wait for it.
func (a *attempts) begin(from netip.Addr, name string) (wait time.Duration) {
	key, now := network(from), a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = a.addresses.wait(key, now, perAddress, addressEvery)
	if a.good[name+" "+key].Before(now) {
		wait = max(wait, a.names.wait(name, now, perName, nameEvery), waitFor(a.all, now, perAll, allEvery))
	}
	if wait > 0 {
		return wait
	}
	a.addresses.take(key, now, addressEvery)
	a.names.take(name, now, nameEvery)
	if a.all.Before(now) {
		a.all = now
	}
	a.all = a.all.Add(allEvery)
	return 0
}

// succeeded gives an attempt back.
func (a *attempts) succeeded(from netip.Addr, name string) {
	key := network(from)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addresses[key] = a.addresses[key].Add(-addressEvery)
	a.names[name] = a.names[name].Add(-nameEvery)
	a.all = a.all.Add(-allEvery)
	if len(a.good) >= mostTracked {
		clear(a.good)
	}
	a.good[name+" "+key] = a.now().Add(goodFor)
}
