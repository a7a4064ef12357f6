package config

import (
	"net/url"
	"slices"
	"strings"
)

const databaseForm = "write postgres://user:password@host:5432/name, with special characters of the password as %XX"

func (c *Config) database(v *variables) {
	c.Database = Database{
		Host:     v.DBHost.text,
		Port:     v.DBPort.value,
		Name:     v.DBName.text,
		User:     v.DBUser.text,
		Password: v.DBPassword.value,
		SSLMode:  v.DBSSLMode.text,
	}
	if strings.Contains(c.Database.Host, "://") {
		v.DBHost.mistake("it is a URL", "put URLs into DATABASE_URL, and the name of the host here")
	}
	if !v.DatabaseURL.given() {
		return
	}
	for _, other := range []*setting{&v.DBHost.setting, &v.DBPort.setting, &v.DBName.setting, &v.DBUser.setting, &v.DBPassword.setting} {
		if other.given() {
			c.warn(other.name, "is not used, because DATABASE_URL is set")
		}
	}
	u, err := url.Parse(v.DatabaseURL.value.Reveal())
	if err != nil {
		v.DatabaseURL.mistake("it cannot be read as a URL", databaseForm)
		return
	}
	// SQLAlchemy names its driver in the scheme: postgresql+psycopg2.
	scheme, _, _ := strings.Cut(u.Scheme, "+")
	if scheme != "postgres" && scheme != "postgresql" {
		v.DatabaseURL.mistake("it does not begin with postgres://", databaseForm)
		return
	}
	u.Scheme = "postgres"
	query := u.Query()
	if ssl := query.Get("ssl"); ssl != "" { // asyncpg's word; PostgreSQL would refuse it
		query.Del("ssl")
		if query.Get("sslmode") == "" {
			query.Set("sslmode", strings.Replace(strings.ToLower(ssl), "true", "require", 1))
		}
	}
	if mode := query.Get("sslmode"); mode != "" && !slices.Contains(strings.Split(v.DBSSLMode.options, ","), mode) {
		v.DatabaseURL.mistake("its sslmode is not known", "write "+oneOf(v.DBSSLMode.options))
	}
	if query.Get("sslmode") == "" {
		query.Set("sslmode", c.Database.SSLMode)
	} else if v.DBSSLMode.given() {
		c.warn("DB_SSLMODE", "is not used, because DATABASE_URL has an sslmode")
	}
	u.RawQuery = query.Encode()
	c.Database.URL = NewSecret(u.String())
	from := v.DatabaseURL.name
	v.DBHost.inForce(u.Hostname(), from)
	v.DBPort.inForce(u.Port(), from)
	v.DBName.inForce(strings.TrimPrefix(u.Path, "/"), from)
	v.DBUser.inForce(u.User.Username(), from)
	password, _ := u.User.Password()
	v.DBPassword.inForce(NewSecret(password).String(), from)
	if mode := query.Get("sslmode"); mode != v.DBSSLMode.text {
		v.DBSSLMode.inForce(mode, from)
	}
}
