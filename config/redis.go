package config

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/connurl"
)

func (c *Config) redis(v *variables) {
	c.Redis = Redis{
		DB:                v.RedisDB.value,
		KeyPrefix:         v.RedisKeyPrefix.text,
		ResultKeyPrefix:   v.ResultKeyPrefix.text,
		PrioritySteps:     v.PrioritySteps.value,
		VisibilityTimeout: v.VisibilityTimeout.value,
		OwnerTimeout:      v.OwnerTimeout.value,
		ResultExpires:     v.ResultExpires.value,
		DeadLettersMax:    v.DeadLettersMax.value,
		TLS: TLSFiles{
			CA:         v.RedisTLSCAFile.text,
			Cert:       v.RedisTLSCertFile.text,
			Key:        v.RedisTLSKeyFile.text,
			SkipVerify: v.RedisTLSSkipVerify.value,
		},
	}
	if v.DeadLetterKey.given() && v.DeadLetterKey.value.IsSet() {
		c.Redis.DeadLetterKeys = v.DeadLetterKey.keys(rightKey + " and commands")
	}
	if v.RedisURL.given() {
		c.redisURL(v)
	} else {
		c.redisHost(v)
		c.noSentinels(v)
	}
	c.redisTLS(v)
	if v.RedisURL.given() {
		c.redisInForce(v)
	}
}

// redisInForce shows in the report what the URL says.
func (c *Config) redisInForce(v *variables) {
	url := v.RedisURL.name
	host, port, _ := net.SplitHostPort(c.Redis.Address)
	if c.Redis.Network != "tcp" {
		host = c.Redis.Address
	}
	v.RedisHost.inForce(host, url)
	v.RedisPort.inForce(port, url)
	v.RedisPassword.inForce(c.Redis.Password.String(), url)
	v.RedisUseTLS.inForce(strconv.FormatBool(c.Redis.UseTLS), url)
	v.RedisTLSCAFile.derived(c.Redis.TLS.CA, url)
	v.RedisTLSCertFile.derived(c.Redis.TLS.Cert, url)
	v.RedisTLSKeyFile.derived(c.Redis.TLS.Key, url)
	if c.Redis.DB != v.RedisDB.value {
		v.RedisDB.inForce(strconv.Itoa(c.Redis.DB), url)
	}
	if c.Redis.TLS.SkipVerify && !v.RedisTLSSkipVerify.given() {
		v.RedisTLSSkipVerify.inForce("true", url)
	}
}

func (c *Config) redisHost(v *variables) {
	host := v.RedisHost.text
	switch {
	case strings.Contains(host, "://"):
		v.RedisHost.mistake("it is a URL", "put URLs into REDIS_URL, and the name of the host here")
	case strings.ContainsAny(host, "/@ \"'"):
		v.RedisHost.mistake("it is not the name of a host", "write a name or an address, such as redis or 10.0.0.5")
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if h, p, err := net.SplitHostPort(v.RedisHost.text); err == nil && h != "" {
		v.RedisHost.mistake("it has a port", fmt.Sprintf("write REDIS_HOST=%s and REDIS_PORT=%s", h, p))
	}
	c.Redis.Network = "tcp"
	c.Redis.Address = net.JoinHostPort(host, strconv.Itoa(v.RedisPort.value))
	c.Redis.Password = v.RedisPassword.value
	c.Redis.UseTLS = v.RedisUseTLS.value
}

// redisURL reads the URLs that Celery and its clients know; see "Redis" and
// "Configuration" in Celery's chapter on brokers.
func (c *Config) redisURL(v *variables) {
	s := &v.RedisURL.setting
	r, err := connurl.ParseRedis(v.RedisURL.value.Reveal())
	sentinels := err == nil && len(r.Sentinels) > 0
	for _, other := range []*setting{&v.RedisHost.setting, &v.RedisPort.setting, &v.RedisPassword.setting, &v.RedisUseTLS.setting} {
		// Whether there is TLS a sentinel:// URL does not say.
		if other.given() && (other != &v.RedisUseTLS.setting || !sentinels) {
			c.warn(other.name, "is not used, because REDIS_URL is set")
		}
	}
	if err != nil {
		s.fault(err)
		return
	}
	for _, note := range r.Notes {
		c.warn(s.name, note)
	}
	c.Redis.Network, c.Redis.Address = r.Network, r.Address
	c.Redis.Username, c.Redis.Password = r.Username, NewSecret(r.Password)
	if r.Password == "" {
		c.Redis.Username, c.Redis.UserAlone = "", NewSecret(r.Username)
	}
	if c.Redis.UserAlone.IsSet() {
		c.warn(s.name, "has a user but no password, so the login has an empty one; a password alone is written redis://:password@host")
	}
	c.Redis.UseTLS = r.TLS
	c.redisDB(v, r.DB)
	if sentinels {
		c.sentinels(v, r.Sentinels)
		return
	}
	c.noSentinels(v)
	c.redisTLSParams(v, r.TLSParams)
}

// redisDB takes the database of the URL, unless that names none.
func (c *Config) redisDB(v *variables, n int) {
	if n < 0 {
		return // REDIS_DB
	}
	if v.RedisDB.given() && v.RedisDB.value != n {
		c.warn("REDIS_DB", "is not used, because REDIS_URL names a database")
	}
	c.Redis.DB = n
}

// redisTLSParams takes what the URL says of TLS. The variables win.
func (c *Config) redisTLSParams(v *variables, t connurl.RedisTLS) {
	c.Redis.TLS.CA = cmp.Or(c.Redis.TLS.CA, t.CA)
	c.Redis.TLS.Cert = cmp.Or(c.Redis.TLS.Cert, t.Cert)
	c.Redis.TLS.Key = cmp.Or(c.Redis.TLS.Key, t.Key)
	if !v.RedisTLSSkipVerify.given() {
		c.Redis.TLS.SkipVerify = t.SkipVerify
	}
	c.Redis.TLS.IgnoreHostname = t.IgnoreHostname
}

func (c *Config) redisTLS(v *variables) {
	t := c.Redis.TLS
	if !c.Redis.UseTLS {
		for _, s := range []*setting{&v.RedisTLSCAFile.setting, &v.RedisTLSCertFile.setting, &v.RedisTLSKeyFile.setting} {
			if s.given() {
				c.warn(s.name, "is not used, because the connection to Redis has no TLS")
			}
		}
		if v.RedisTLSSkipVerify.given() && t.SkipVerify {
			c.warn(v.RedisTLSSkipVerify.name, "is not used, because the connection to Redis has no TLS")
		}
		return
	}
	if t.SkipVerify {
		name := "REDIS_TLS_SKIP_VERIFY"
		if !v.RedisTLSSkipVerify.given() {
			name = "REDIS_URL"
		}
		c.warn(name, "the certificate of Redis is not verified: anybody on the way can read and change the queue")
	} else if t.IgnoreHostname {
		c.warn("REDIS_URL", "ssl_check_hostname=false: any server with a certificate of the authorities may pass for Redis")
	}
	// Files that the URL names are reported where the URL is.
	blame := func(s *setting) *setting {
		if s.given() {
			return s
		}
		return &v.RedisURL.setting
	}
	t.check(blame(&v.RedisTLSCAFile.setting), blame(&v.RedisTLSCertFile.setting), blame(&v.RedisTLSKeyFile.setting))
}

// String returns the address as a URL, with "***" instead of the password.
func (r Redis) String() string {
	shown := connurl.Redis{
		Network: r.Network, Address: r.Address, Sentinels: r.Sentinel.Addresses, TLS: r.UseTLS, DB: r.DB,
		Username: r.Username, Password: r.Password.Reveal(),
	}
	if r.UserAlone.IsSet() {
		shown.Username = r.UserAlone.Reveal()
	}
	if len(shown.Sentinels) > 0 { // Redact knows URLs of one part
		shown.Username, shown.Password = "", ""
		return shown.URL()
	}
	return connurl.Redact(shown.URL())
}
