package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/tlsfiles"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/inspect"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/seal"
)

// publishing sends callbacks of our tasks where the producers would.
func (a *App) publishing(cfg config.Config) worker.Publishing {
	return worker.Publishing{
		BeforePublish: a.tracing.BeforePublish(),
		Routes:        []worker.Route{{Task: tasks.Module + ".*", Queue: tasks.Queue}},
		DefaultQueue:  cfg.Worker.Queues[0],
	}
}

var (
	_ monitor.Letters = (*redis.Letters)(nil)
	_ monitor.Queues  = (*redis.Broker)(nil)
	_ monitor.Workers = (*inspect.Client)(nil)
)

// OpenBroker returns the broker of the configuration. It dials when it is used.
func OpenBroker(cfg config.Config, log *slog.Logger) (*redis.Broker, error) {
	r, err := redisConfig(cfg, log)
	if err != nil {
		return nil, err
	}
	b, err := redis.New(r)
	if err == nil {
		onChange(cfg.Redis.Logins, b.Renew)
	}
	return b, err
}

// redisConfig returns the configuration of the library.
func redisConfig(cfg config.Config, log *slog.Logger) (redis.Config, error) {
	r := redis.Config{
		Address: redis.Address{
			Network: cfg.Redis.Network, Host: cfg.Redis.Address, Sentinels: cfg.Redis.Sentinel.Addresses, Nodes: cfg.Redis.Nodes, DB: cfg.Redis.DB, TLS: cfg.Redis.UseTLS,
			Username: cmp.Or(cfg.Redis.Username, cfg.Redis.UserAlone.Reveal()), Password: cfg.Redis.Password.Reveal(),
		},
		SentinelMaster:    cfg.Redis.Sentinel.Master,
		SentinelUsername:  cfg.Redis.Sentinel.Username,
		SentinelPassword:  cfg.Redis.Sentinel.Password.Reveal(),
		KeyPrefix:         cfg.Redis.KeyPrefix,
		ResultKeyPrefix:   cfg.Redis.ResultKeyPrefix,
		PrioritySteps:     cfg.Redis.PrioritySteps,
		QueueOrder:        redis.QueueOrder(cfg.Worker.QueueOrder),
		QueueWeights:      cfg.Worker.QueueWeights,
		VisibilityTimeout: cfg.Redis.VisibilityTimeout,
		OwnerTimeout:      cfg.Redis.OwnerTimeout,
		ResultExpires:     cfg.Redis.ResultExpires,
		MaxMessageSize:    cfg.Worker.MaxBytes,
		DeadLettersMax:    cfg.Redis.DeadLettersMax,
		DeadLetterLives:   tasks.LetterLives(),
		Logger:            log,
	}
	if l := cfg.Redis.Logins; l != nil {
		r.Credentials = credentials[redis.Credentials]{l}
	}
	if l := cfg.Redis.Sentinel.Logins; l != nil {
		r.SentinelCredentials = credentials[redis.Credentials]{l}
	}
	var err error
	if r.Sealer, err = letterBox(cfg.Redis.DeadLetterKeys); err != nil {
		return r, err
	}
	if cfg.Redis.UseTLS {
		files, err := tlsfiles.NewReader(tlsfiles.Files(cfg.Redis.TLS), log)
		if err != nil {
			return r, fmt.Errorf("redis: %w", err)
		}
		r.TLSConfig = files.Config
	}
	return r, nil
}

// onChange has f called when connections should log in anew, unless the login is fixed.
func onChange(l config.Logins, f func()) {
	if l != nil {
		l.OnChange(f)
	}
}

// credentials hands logins to a part that has a type of its own for them.
type credentials[L ~struct{ Username, Password string }] struct{ logins config.Logins }

// Next returns the login to try.
func (c credentials[L]) Next(ctx context.Context, refused []L) (L, error) {
	var before []config.Login
	for _, r := range refused {
		before = append(before, config.Login(r))
	}
	l, err := c.logins.Next(ctx, before)
	return L(l), err
}

// Accepted is called with a login that the server has accepted.
func (c credentials[L]) Accepted(l L) { c.logins.Accepted(config.Login(l)) }

// letterBox returns what encrypts dead letters. Without keys it encrypts nothing, and its errors
// name the variable that is missing.
func letterBox(keys []config.Secret) (*seal.Box, error) {
	c := seal.Config{Setting: "DEAD_LETTER_KEY"}
	for _, key := range keys {
		c.Secrets = append(c.Secrets, key.Reveal())
	}
	return seal.New(c)
}

// templateOptions returns what the mails show, without the files of TEMPLATES_DIR. The brand is not
// the name of the sender: producers and readers know the subjects.
func templateOptions(cfg config.Config) templates.Options {
	brand := cfg.Templates.Brand
	o := templates.Options{
		Brand: brand.Name, Color: brand.Color, LinkColor: brand.LinkColor, ButtonTextColor: brand.ButtonTextColor,
		Address:        brand.Address,
		Locale:         cfg.Templates.Locale,
		SiteURL:        cfg.Mail.SiteURL,
		SupportAddress: cfg.Mail.SupportAddress,
		LinkHosts:      cfg.Mail.LinkHosts,
	}
	if brand.Logo != "" {
		o.Logo = &templates.Logo{URL: brand.Logo, Width: brand.LogoWidth, Height: brand.LogoHeight}
	}
	return o
}

// OpenTemplates reads the templates of the configuration. Their faults are its Err.
func OpenTemplates(ctx context.Context, cfg config.Config, log *slog.Logger) *folder.Keeper {
	return OpenTemplatesEvery(ctx, cfg, 0, log)
}

// OpenTemplatesEvery is [OpenTemplates] with a time between two looks at the folder; 0: the usual
// one.
func OpenTemplatesEvery(ctx context.Context, cfg config.Config, every time.Duration, log *slog.Logger) *folder.Keeper {
	return folder.Open(ctx, folder.Config{Dir: cfg.Templates.Dir, Every: every, Settle: every / 2, Log: log, Build: func(files []templates.File) (*templates.Set, error) {
		o := templateOptions(cfg)
		o.Files = files
		set, err := tasks.NewTemplates(o)
		var faults templates.Faults
		for _, p := range problems(err) { // operators know the variables
			faults = append(faults, templates.Fault{Text: p.Variable + ": " + p.Wrong + "; " + p.Right})
		}
		if len(faults) > 0 {
			return nil, faults
		}
		return set, err
	}})
}

// WithoutFolder returns a configuration with the templates of the program alone.
func WithoutFolder() config.Config {
	return config.Config{Mail: config.Mail{SiteURL: "https://example.com", SupportAddress: "help@example.com"}}
}

// TemplatesConfig returns the configuration as far as the environment has it, for commands about
// templates. Faults of other variables do not matter to them, and Zero is not asked.
func TemplatesConfig() (config.Config, error) {
	cfg, err := config.Load(nil)
	if mistakes, ok := errors.AsType[*config.Error](err); ok {
		return mistakes.Read(), nil
	}
	return cfg, err
}

// databaseError names the variable of the database's settings.
func databaseError(d config.Database, err error) error {
	if d.URL.IsSet() {
		return config.Add(nil, config.Problem{Variable: "DATABASE_URL", Wrong: err.Error()})
	}
	return config.Add(nil, config.Problem{Variable: "DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD or DB_SSLMODE", Wrong: err.Error()})
}

func storeConfig(d config.Database) store.Config {
	c := store.Config{
		URL: d.URL.Reveal(), Host: d.Host, Port: d.Port, Name: d.Name,
		User: d.User, Password: d.Password.Reveal(), SSLMode: d.SSLMode,
	}
	if d.Logins != nil {
		c.Credentials = credentials[store.Credentials]{d.Logins}
	}
	return c
}

// unboundedConns is a number of connections beyond the slots of any worker: there are as many
// as tasks run, pool_grow included.
const unboundedConns = 1 << 16

// mailConfigs returns the configuration of each relay in the order of preference.
func mailConfigs(cfg config.Config, log *slog.Logger) (all []mail.Config, err error) {
	var bounceKeys []string
	for _, key := range cfg.Mail.BounceKeys {
		bounceKeys = append(bounceKeys, key.Reveal())
	}
	for _, s := range cfg.Relays {
		security, unknown := smtpSecurity(s.TLSMode)
		one := mail.Config{
			Host: s.Host, Port: s.Port, Username: s.Username, Password: s.Password.Reveal(), TokenFile: s.TokenFile,
			Security: security, TLSCAFile: s.CAFile,
			FromName: cfg.Mail.FromName, FromAddress: cfg.Mail.FromAddress, ReplyTo: cfg.Mail.ReplyTo,
			BounceDomain: cfg.Mail.BounceDomain, BounceKeys: bounceKeys,
			HelloName: s.HelloName, MaxConns: cmp.Or(s.MaxConns, unboundedConns), Secrets: cfg.Passwords(),
			DKIM: dkim(cfg.Mail.DKIM), NoPipelining: s.NoPipelining, NoChunking: s.NoChunking, Logger: log,
			Timeouts: mail.Timeouts{Final: cfg.Delivery.ReplyTimeout},
		}
		if s.Logins != nil {
			one.Credentials = credentials[mail.Credentials]{s.Logins}
		}
		all, err = append(all, one), errors.Join(err, unknown)
	}
	return all, err
}

func dkim(d config.DKIM) mail.DKIM {
	out := mail.DKIM{Domain: d.Domain}
	for i, file := range d.KeyFiles {
		out.Keys = append(out.Keys, mail.DKIMKey{File: file, Selector: d.Selectors[i]})
	}
	return out
}

// mailRelays returns the relays of the configuration in the order of preference. guard
// returns the breaker of a relay; nil: there are none.
func mailRelays(cfg config.Config, log *slog.Logger, guard func(mail.Config, *mail.Sender) (mail.Breaker, error)) (*mail.Relays, error) {
	configs, err := mailConfigs(cfg, log)
	if err != nil {
		return nil, err
	}
	relays := make([]mail.Relay, len(configs))
	for i, c := range configs {
		if relays[i].Sender, err = mail.New(c); err != nil {
			return nil, fmt.Errorf("prepare the mail relay: %w", err)
		}
		onChange(cfg.Relays[i].Logins, relays[i].Sender.Renew)
		if guard == nil {
			continue
		}
		if relays[i].Breaker, err = guard(c, relays[i].Sender); err != nil {
			return nil, err
		}
	}
	return mail.NewRelays(relays...)
}

// retries translates a number of retries into the library's, where 0 is the default.
func retries(n int) int {
	if n == 0 {
		return worker.NoRetries
	}
	return n
}
