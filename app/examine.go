package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store"
	"github.com/evently/workers/store/ledger"
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

// ExamineDatabase looks up a user that does not exist, as the health of a worker does.
func ExamineDatabase(ctx context.Context, cfg config.Config) error {
	s, err := store.Open(storeConfig(cfg.Database))
	if err != nil {
		return err
	}
	return errors.Join(s.Ping(ctx), s.Close())
}

// ExamineHistory finds out whether a worker can keep the history of mails.
func ExamineHistory(ctx context.Context, cfg config.Config, timeout time.Duration) (ledger.Readiness, error) {
	db, err := openLedgerWith(cfg, 1, timeout)
	if err != nil {
		return ledger.Readiness{}, err
	}
	defer db.Close()
	return ledger.NewDB(db, timeout).Readiness(ctx)
}

// greetingPatience is the time that a relay has for its greeting when it is examined.
const greetingPatience = 6 * time.Second

// ExamineRelay connects to a mail relay up to EHLO, or with login up to the login, and sends NOOP.
// It sends no mail.
func ExamineRelay(ctx context.Context, cfg config.Config, relay int, login bool) error {
	configs, err := mailConfigs(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	c := configs[relay]
	c.Timeouts.Greeting = greetingPatience
	if !login {
		c.Username, c.Password, c.TokenFile, c.Credentials = "", "", "", nil
	}
	s, err := mail.New(c)
	if err != nil {
		return err
	}
	err = s.Ping(ctx)
	over, end := context.WithCancel(ctx)
	end()
	return errors.Join(err, s.Run(over)) // it closes the connection
}

// RelayAddress returns host and port of a relay.
func RelayAddress(s config.SMTP) string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }
