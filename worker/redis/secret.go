package redis

import (
	"context"
	"crypto/rand"
	"fmt"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis/internal/conn"
)

// Secret implements [broker.SecretKeeper]. Where the key holds something else, or may not
// be used, it makes one for this process, which costs the recognition of other workers'
// tasks and nothing else.
func (b *Broker) Secret(ctx context.Context) ([]byte, error) {
	mine := []byte(rand.Text())
	var secret []byte
	err := b.server.do(ctx, func(c redigo.Conn) (err error) {
		if _, err = c.Do("SET", b.server.keys.secret(), mine, "NX"); err == nil {
			secret, err = redigo.Bytes(c.Do("GET", b.server.keys.secret()))
		}
		return err
	})
	switch {
	case conn.HasCode(err, "WRONGTYPE"), conn.HasCode(err, "NOPERM"):
		b.server.log.Error("secret of the fingerprints cannot be used, tasks of other workers are not recognised", "key", b.server.keys.secret(), "error", err)
		return mine, nil
	case err != nil:
		return nil, fmt.Errorf("read the secret of the fingerprints: %w", err)
	}
	return secret, nil
}
