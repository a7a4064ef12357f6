package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/evently/workers/app/platform"
	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

// UsageError reports a fault of the command line or of the configuration: trying again
// will not help.
type UsageError struct {
	Err  error
	Hint string // remedy, or ""
}

func (e *UsageError) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + "\n" + e.Hint
}

func (e *UsageError) Unwrap() error { return e.Err }

// LoadConfig reads the configuration, with the secrets from Zero. The error lists every
// mistake, including the ones that only the parts know.
func LoadConfig(ctx context.Context) (config.Config, error) {
	sources, err := config.Secrets(ctx, nil)
	if err != nil {
		return config.Config{}, err
	}
	return loadFrom(sources...)
}

// loadFrom reads the configuration with the sources beside the environment.
func loadFrom(sources ...config.Source) (config.Config, error) {
	cfg, err := config.Load(nil, sources...)
	return cfg, checkParts(cfg, err)
}

// brokerKey is the key of the broker that a command is about.
type brokerKey struct{}

// WithBroker returns a context for a command about one of the brokers of REDIS_URLS.
func WithBroker(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, brokerKey{}, name)
}

// brokerOf returns the name of [WithBroker]; "": none was given.
func brokerOf(ctx context.Context) string {
	name, _ := ctx.Value(brokerKey{}).(string)
	return name
}

// OfBroker returns the configuration with the broker of [WithBroker] as its only one. With
// several brokers one must be named.
func OfBroker(ctx context.Context, cfg config.Config) (config.Config, error) {
	name := brokerOf(ctx)
	if name == "" && len(cfg.Brokers) > 1 {
		return cfg, &UsageError{Err: errors.New("REDIS_URLS has several brokers"), Hint: "say which one: --broker " + strings.Join(cfg.BrokerNames(), ", or --broker ")}
	}
	cfg, err := cfg.WithBroker(name)
	if err != nil {
		return cfg, &UsageError{Err: err}
	}
	return cfg, nil
}

// LoadBroker is [LoadConfig] for a command about one broker.
func LoadBroker(ctx context.Context) (config.Config, error) {
	cfg, err := LoadConfig(ctx)
	if err != nil {
		return cfg, err
	}
	return OfBroker(ctx, cfg)
}

// The parts check their own configuration and name its fields. Operators know the
// variables.

// mailVariables names the variables of the fields of mail.Config.
var mailVariables = map[string]string{
	"Host": "SMTP_HOST", "Port": "SMTP_PORT", "Username": "SMTP_USERNAME", "Password": "SMTP_PASSWORD", "TokenFile": "SMTP_TOKEN_FILE",
	"Security": "SMTP_TLS_MODE", "TLSCAFile": "SMTP_TLS_CA_FILE", "HelloName": "SMTP_HELLO_NAME", "MaxConns": "SMTP_MAX_CONNS",
	"FromName": "FROM_NAME", "FromAddress": "FROM_ADDRESS", "ReplyTo": "REPLY_TO",
	"DKIM": "DKIM_KEY_FILE", "BounceDomain": "BOUNCE_DOMAIN", "BounceKeys": "BOUNCE_KEY",
}

// templateVariables names the variables of the fields of templates.Options.
var templateVariables = map[string]string{
	"SiteURL": "SITE_URL", "SupportAddress": "SUPPORT_ADDRESS", "LinkHosts": "LINK_HOSTS",
	"Brand": "BRAND_NAME", "Color": "BRAND_COLOR", "LinkColor": "BRAND_LINK_COLOR", "ButtonTextColor": "BRAND_BUTTON_TEXT_COLOR",
	"Logo": "BRAND_LOGO", "LogoSize": "BRAND_LOGO_SIZE", "Address": "BRAND_ADDRESS", "Locale": "DEFAULT_LOCALE",
}

// checkParts adds to err, the error of reading cfg, what the parts would refuse. They are
// asked even after other mistakes, so that all are reported at once.
func checkParts(cfg config.Config, err error) error {
	if mistakes, ok := errors.AsType[*config.Error](err); ok {
		cfg = mistakes.Read()
	} else if err != nil {
		return err // nothing was read
	}
	senders, _ := mailConfigs(cfg, nil) // an unknown word is reported by package config
	var more []config.Problem
	for i, sender := range senders {
		for _, p := range problems(sender.Check()) {
			more = append(more, ofRelay(cfg.Relays[i], p))
		}
	}
	more = append(more, problems(templateOptions(cfg).Check())...)
	more = append(more, platform.Check(cfg)...)
	return config.Add(err, append(more, unknownKinds(cfg)...)...)
}

// unknownKinds finds rates of kinds of mails that do not exist.
func unknownKinds(cfg config.Config) (all []config.Problem) {
	kinds := tasks.Kinds()
	for _, name := range sorting.Keys(cfg.Delivery.Limits.Recipient) {
		if name != "" && !slices.Contains(kinds, name) {
			all = append(all, config.Problem{
				Variable: "MAIL_RATE_PER_RECIPIENT", Wrong: strconv.Quote(name) + " is no kind of mail",
				Right: "write kinds of " + strings.Join(kinds, ", "),
			})
		}
	}
	return all
}

// urlParts names the parts of a URL that set the variables for one relay.
var urlParts = map[string]string{
	"SMTP_HOST": "host", "SMTP_PORT": "port", "SMTP_USERNAME": "user", "SMTP_PASSWORD": "password", "SMTP_TOKEN_FILE": "token_file",
	"SMTP_TLS_MODE": "scheme", "SMTP_TLS_CA_FILE": "ca_file (or SMTP_TLS_CA_FILE)", "SMTP_HELLO_NAME": "hello (or SMTP_HELLO_NAME)",
	"SMTP_MAX_CONNS": "max_conns (or SMTP_MAX_CONNS)",
}

// ofRelay names SMTP_URLS and the part of the URL, if the relay is from there.
func ofRelay(s config.SMTP, p config.Problem) config.Problem {
	if part, ok := urlParts[p.Variable]; ok && s.URL > 0 {
		p.Variable, p.Wrong = "SMTP_URLS", fmt.Sprintf("URL %d: %s: %s", s.URL, part, p.Wrong)
	}
	return p
}

// problems translates the faults that parts found. It returns nil for an error of another
// kind.
func problems(err error) []config.Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []config.Problem
		for _, e := range joined.Unwrap() {
			all = append(all, problems(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*mail.ConfigError](err); ok {
		return []config.Problem{problem(mailVariables, "mail.Config.", e.Field, e.Reason, e.Want)}
	}
	if e, ok := errors.AsType[*templates.OptionError](err); ok {
		return []config.Problem{problem(templateVariables, "templates.Options.", e.Field, e.Reason, e.Want)}
	}
	return nil
}

func problem(variables map[string]string, owner, field, reason, want string) config.Problem {
	name, ok := variables[field]
	if !ok {
		name = owner + field // nothing that a variable could have spoilt
	}
	return config.Problem{Variable: name, Wrong: reason, Right: "write " + want}
}
