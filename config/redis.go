package config

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const redisForms = "write redis://[user]:[password]@host:6379/0, rediss:// for TLS, redis+socket:///path?virtual_host=0, or sentinel://host:26379;sentinel://host:26379/0"

func (c *Config) redis(v *variables) {
	c.Redis = Redis{
		DB:                v.RedisDB.value,
		KeyPrefix:         v.RedisKeyPrefix.text,
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
	case strings.ContainsAny(host, "/@ "):
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

// redisURL reads the URLs that kombu knows; see "Redis" and "Configuration" in
// Celery's chapter on brokers.
func (c *Config) redisURL(v *variables) {
	raw, s := v.RedisURL.value.Reveal(), &v.RedisURL.setting
	sentinels := strings.HasPrefix(raw, "sentinel://")
	for _, other := range []*setting{&v.RedisHost.setting, &v.RedisPort.setting, &v.RedisPassword.setting, &v.RedisUseTLS.setting} {
		// Whether there is TLS a sentinel:// URL does not say.
		if other.given() && (other != &v.RedisUseTLS.setting || !sentinels) {
			c.warn(other.name, "is not used, because REDIS_URL is set")
		}
	}
	if sentinels {
		c.sentinels(v)
		return
	}
	c.noSentinels(v)
	if strings.Contains(raw, ";") {
		s.mistake("it has more than one URL", "write one")
		return
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The error of url.Parse quotes the URL, password and all.
		s.mistake("it cannot be read as a URL", redisForms+"; special characters of the password are written as %XX")
		return
	}
	c.redisLogin(s, u.User)
	query := u.Query()
	switch u.Scheme {
	case "redis", "rediss":
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			s.mistake("its port is out of range", redisForms)
		}
		host := u.Hostname()
		if host == "" {
			host = "localhost" // as kombu does
		}
		c.Redis.Network, c.Redis.Address = "tcp", net.JoinHostPort(host, port)
		c.Redis.UseTLS = u.Scheme == "rediss"
		c.redisDB(v, strings.Trim(u.Path, "/"))
	case "redis+socket":
		if u.Host != "" || u.Path == "" {
			s.mistake("it has no path of a socket", "write three slashes: redis+socket:///run/redis/redis.sock?virtual_host=0")
		}
		c.Redis.Network, c.Redis.Address = "unix", u.Path
		c.redisDB(v, strings.Trim(query.Get("virtual_host"), "/"))
		query.Del("virtual_host")
	default:
		s.mistake("it does not begin with a scheme that is known", redisForms)
	}
	c.redisQuery(v, query)
}

func (c *Config) redisLogin(s *setting, user *url.Userinfo) {
	if password, _ := user.Password(); password != "" {
		c.Redis.Username, c.Redis.Password = user.Username(), NewSecret(password)
	} else if user.Username() != "" {
		c.warn(s.name, "has a user but no password, so there is no login; a password alone is written redis://:password@host")
	}
}

func (c *Config) redisDB(v *variables, text string) {
	if text == "" {
		return // REDIS_DB
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		v.RedisURL.mistake("its database is not a number", redisForms)
		return
	}
	if v.RedisDB.given() && v.RedisDB.value != int(n) {
		c.warn("REDIS_DB", "is not used, because REDIS_URL names a database")
	}
	c.Redis.DB = int(n)
}

// redisQuery reads the parameters with which Celery's URLs describe TLS. The
// variables win.
func (c *Config) redisQuery(v *variables, query url.Values) {
	for name, file := range map[string]*string{
		"ssl_ca_certs": &c.Redis.TLS.CA, "ssl_certfile": &c.Redis.TLS.Cert, "ssl_keyfile": &c.Redis.TLS.Key,
	} {
		if *file == "" {
			*file = query.Get(name)
		}
		query.Del(name)
	}
	switch reqs := strings.ToLower(strings.TrimPrefix(query.Get("ssl_cert_reqs"), "CERT_")); reqs {
	case "", "required":
	case "none":
		if !v.RedisTLSSkipVerify.given() {
			c.Redis.TLS.SkipVerify = true
		}
	case "optional":
		c.warn("REDIS_URL", "ssl_cert_reqs=optional is taken as required: a server always has a certificate")
	default:
		v.RedisURL.mistake("its ssl_cert_reqs is not known", "write required or none")
	}
	query.Del("ssl_cert_reqs")
	for name := range query {
		c.warn("REDIS_URL", fmt.Sprintf("the parameter %q is not used", name))
	}
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

// URL returns the whole address as kombu writes it. It is secret because the
// password is in it.
func (r Redis) URL() Secret { return NewSecret(r.url()) }

// String returns the address with "***" in the place of the password.
func (r Redis) String() string {
	if r.Network == "sentinel" { // whose URL is more than one
		return r.Sentinel.url(nil, r.DB)
	}
	return redactURL(r.url())
}

func (r Redis) url() string {
	u := url.URL{Scheme: "redis", Host: r.Address, Path: "/" + strconv.Itoa(r.DB)}
	if r.Password.IsSet() {
		u.User = url.UserPassword(r.Username, r.Password.Reveal())
	}
	switch {
	case r.Network == "sentinel":
		return r.Sentinel.url(u.User, r.DB)
	case r.Network == "unix":
		u = url.URL{Scheme: "redis+socket", User: u.User, Path: r.Address, RawQuery: "virtual_host=" + strconv.Itoa(r.DB)}
	case r.UseTLS:
		u.Scheme = "rediss"
	}
	return u.String()
}
