// Package keep keeps values for a few seconds, so that readers who have a page open do not ask
// the database for the same counts each second.
package keep

import (
	"sync"
	"time"
)

// Times and bounds of a [Cache].
const (
	Age  = 10 * time.Second
	most = 64
)

// Cache keeps values by their keys. It is safe for concurrent use.
type Cache struct {
	now     func() time.Time
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	value any
	until time.Time
}

// New returns an empty Cache.
func New(now func() time.Time) *Cache { return &Cache{now: now, entries: map[string]entry{}} }

// Get returns the value of a key, which load makes. An error is not kept.
func Get[T any](c *Cache, key string, load func() (T, error)) (T, error) {
	c.mu.Lock()
	e, ok := c.entries[key]
	c.mu.Unlock()
	if value, is := e.value.(T); ok && is && c.now().Before(e.until) {
		return value, nil
	}
	value, err := load()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= most {
		clear(c.entries)
	}
	c.entries[key] = entry{value, c.now().Add(Age)}
	return value, nil
}
