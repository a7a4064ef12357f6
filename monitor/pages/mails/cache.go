package mails

import (
	"sync"
	"time"
)

// cache keeps counts for a few seconds, so that readers who have a list open do not count the
// same mails again each second.
type cache struct {
	now     func() time.Time
	mu      sync.Mutex
	entries map[string]cached
}

type cached struct {
	value any
	until time.Time
}

// Times and bounds of the cache.
const (
	cacheAge  = 10 * time.Second
	cacheSize = 64
)

// get returns the value of a key, which load makes. An error is not kept.
func get[T any](c *cache, key string, load func() (T, error)) (T, error) {
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
	if len(c.entries) >= cacheSize {
		clear(c.entries)
	}
	c.entries[key] = cached{value, c.now().Add(cacheAge)}
	return value, nil
}
