package feed

import (
	"context"
	"errors"
	"fmt"

	redigo "github.com/gomodule/redigo/redis"
)

// Dictionary keeps texts by keys. It has a bound: a new entry replaces the oldest one then. Make
// one with Feed.Dictionary.
type Dictionary struct {
	feed *Feed
	name string
	max  int
}

// Dictionary returns the dictionary of a name with at most max entries.
func (f *Feed) Dictionary(name string, max int) *Dictionary {
	return &Dictionary{feed: f, name: name, max: max}
}

// Set enters a text, or replaces that of the key.
func (d *Dictionary) Set(ctx context.Context, key, text string) error { return d.learn(ctx, key, text) }

// Age makes an entry the oldest one. It stays until its place is needed.
func (d *Dictionary) Age(ctx context.Context, key string) error { return d.learn(ctx, key, "") }

func (d *Dictionary) learn(ctx context.Context, key, text string) error {
	err := d.feed.conns.Do(ctx, func(c redigo.Conn) error {
		_, err := d.feed.scripts.Learn().Do(c, 2, d.key(), d.key()+".order", key, text, d.max)
		return err
	})
	if err != nil {
		return fmt.Errorf("write the dictionary %s: %w", d.name, err)
	}
	return nil
}

// Get returns the text of a key, "" for none.
func (d *Dictionary) Get(ctx context.Context, key string) (text string, err error) {
	err = d.feed.conns.Do(ctx, func(c redigo.Conn) error {
		text, err = redigo.String(c.Do("HGET", d.key(), key))
		if errors.Is(err, redigo.ErrNil) {
			return nil
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the dictionary %s: %w", d.name, err)
	}
	return text, nil
}

func (d *Dictionary) key() string { return d.feed.prefix + "dictionary." + d.name }
