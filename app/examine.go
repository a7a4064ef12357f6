package app

import (
	"context"
	"log/slog"

	"github.com/evently/workers/config"
	"github.com/evently/workers/worker/redis"
)

// ExamineBroker finds out what the server of a broker is, and which rights of a worker are
// missing.
func ExamineBroker(ctx context.Context, cfg config.Config) (redis.Examination, error) {
	r, err := redisConfig(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return redis.Examination{}, err
	}
	return redis.Examine(ctx, r, cfg.Worker.Queues)
}
