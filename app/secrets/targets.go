package secrets

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/connurl"
)

// place is where a login is used, and the login.
type place struct {
	login  config.Login
	target string // server, without the login
	at     *config.Logins
}

// places returns the places with a password in cfg, by the names of [config.Config.SecretsInUse].
func places(cfg *config.Config) map[string]place {
	all := map[string]place{}
	for i := range cfg.Brokers {
		b := &cfg.Brokers[i]
		if !b.Password.IsSet() {
			continue
		}
		name := "REDIS_PASSWORD"
		if b.Name != "" {
			name = "REDIS_URLS[" + b.Name + "]"
		}
		all[name] = place{
			config.Login{Username: b.Username, Password: b.Password.Reveal()},
			fmt.Sprint(b.Network, b.Address, b.Sentinel.Addresses, b.Sentinel.Master, b.DB, b.UseTLS, b.TLS), &b.Logins,
		}
	}
	if s := &cfg.Redis.Sentinel; s.Password.IsSet() {
		all["REDIS_SENTINEL_PASSWORD"] = place{config.Login{Username: s.Username, Password: s.Password.Reveal()}, s.Master, &s.Logins}
	}
	if c := &cfg.Delivery.Codes; c.Password.IsSet() {
		all["OTP_CHECK_REDIS_URL"] = place{config.Login{Username: c.Username, Password: c.Password.Reveal()}, fmt.Sprint(c.Network, c.Address, c.DB, c.UseTLS, c.TLS), &c.Logins}
	}
	for name, d := range map[string]*config.Database{"DB_PASSWORD": &cfg.Database, "LEDGER_DATABASE_URL": &cfg.Ledger.Database} {
		if login, target := databaseLogin(*d); login.Password != "" && (name == "DB_PASSWORD" || !sharesDatabase(cfg)) {
			all[name] = place{login, target, &d.Logins}
		}
	}
	for i := range cfg.Relays {
		s := &cfg.Relays[i]
		if s.Username == "" || !s.Password.IsSet() {
			continue
		}
		name := "SMTP_PASSWORD"
		if s.URL > 0 {
			name = fmt.Sprintf("SMTP_URLS[%d]", s.URL)
		}
		target := fmt.Sprint(s.Host, s.Port, s.TLSMode, s.CAFile, s.HelloName, s.MaxConns)
		all[name] = place{config.Login{Username: s.Username, Password: s.Password.Reveal()}, target, &s.Logins}
	}
	return all
}

// sharesDatabase reports whether the history is in the database of the service.
func sharesDatabase(cfg *config.Config) bool { return cfg.Ledger.Database == cfg.Database }

// databaseLogin returns the login of a database, and the database without it.
func databaseLogin(d config.Database) (l config.Login, target string) {
	if !d.URL.IsSet() {
		return config.Login{Username: d.User, Password: d.Password.Reveal()}, fmt.Sprint(d.Host, d.Port, d.Name, d.SSLMode)
	}
	p, err := connurl.ParsePostgres(d.URL.Reveal())
	if err != nil {
		return config.Login{}, ""
	}
	l = config.Login{Username: p.User, Password: p.Password}
	p.User, p.Password = "", ""
	return l, p.URL()
}

// loginVariables are the variables whose change is one of a login or of a target.
var loginVariables = []string{
	"REDIS_URL", "REDIS_URLS", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "REDIS_SENTINEL_USERNAME", "DATABASE_URL", "DB_USER", "DB_PASSWORD",
	"LEDGER_DATABASE_URL", "OTP_CHECK_REDIS_URL", "SMTP_URLS", "SMTP_USERNAME", "SMTP_PASSWORD", "ZERO_TOKEN",
}

// inURL are the variables with a URL that hold the secret of another name.
var inURL = map[string]string{"REDIS_URL": "REDIS_PASSWORD", "DATABASE_URL": "DB_PASSWORD"}

// isIn reports whether the secret of a name is in the value of a variable.
func isIn(name, variable string) bool { return variableOf(name) == variable || inURL[variable] == name }

// variableOf returns the variable of a name of [config.Config.SecretsInUse].
func variableOf(name string) string {
	variable, _, _ := strings.Cut(name, "[")
	return cmp.Or(variable, name)
}
