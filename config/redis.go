package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
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
	c.Redis.clusterPrefixes(v, c.warn)
	switch {
	case v.RedisURLs.given():
		c.brokers(v)
		return
	case v.RedisURL.given():
		c.redisURL(v)
	default:
		c.redisHost(v)
		c.noSentinels(v)
	}
	c.Redis.cluster(v, &v.RedisURL.setting, "")
	c.redisTLS(v, &v.RedisURL.setting, "")
	if v.RedisURL.given() {
		c.redisInForce(v, v.RedisURL.name)
	}
	c.Brokers = []Broker{{Redis: c.Redis}}
}

// brokers reads the brokers of REDIS_URLS. The other variables hold for each of them.
func (c *Config) brokers(v *variables) {
	s := &v.RedisURLs.setting
	c.notUsed(s.name, &v.RedisURL.setting, &v.RedisHost.setting, &v.RedisPort.setting, &v.RedisPassword.setting)
	all, seen, sentinels := c.Redis, map[string]string{}, false
	for _, u := range v.RedisURLs.value {
		c.Redis = all
		at, err := parseRedis(u.raw, v.RedisCluster.value)
		if bad, ok := errors.AsType[*connurl.Fault](err); ok {
			s.text = masked
			s.mistake("the URL of "+u.name+": "+bad.Wrong, bad.Right)
			continue
		}
		c.takeRedis(v, s, u.name+": ", at)
		c.Redis.cluster(v, s, u.name+": ")
		c.redisTLS(v, s, u.name+": ")
		sentinels = sentinels || len(at.Sentinels) > 0
		place := fmt.Sprint(c.Redis.Network, " ", strings.ToLower(c.Redis.Address), " ", c.Redis.Sentinel.Master, " ", c.Redis.DB)
		if first := seen[place]; first != "" {
			s.mistake(u.name+" and "+first+" are the same database", "name each Redis once")
		}
		seen[place] = u.name
		c.Brokers = append(c.Brokers, Broker{Name: u.name, Redis: c.Redis})
	}
	if !sentinels {
		c.noSentinels(v)
	}
	for _, rate := range []*setting{&v.MailRate.setting, &v.MailRatePerDomain.setting, &v.MailRatePerRecipient.setting} {
		if rate.given() && len(c.Brokers) > 1 {
			c.warn(rate.name, fmt.Sprintf("is counted in each of the %d brokers of REDIS_URLS: together they may send that many times as much", len(c.Brokers)))
		}
	}
	if v.EventChannels.given() && len(c.Brokers) > 1 {
		eventBrokers(c, &v.EventChannels.setting)
	}
	if len(c.Brokers) > 0 {
		c.Redis = c.Brokers[0].Redis
		c.redisInForce(v, s.name)
	}
}

// eventBrokers refuses several brokers on one Redis server if events become mails: a channel belongs
// to all databases of its server, so each of the brokers would mail the event.
func eventBrokers(c *Config, channels *setting) {
	seen := map[string]string{}
	for _, b := range c.Brokers {
		place := strings.Join([]string{b.Network, serverOf(b.Address), b.Sentinel.Master}, " ")
		if first := seen[place]; first != "" {
			channels.mistake(b.Name+" and "+first+" of REDIS_URLS are databases of one Redis server, whose channels are the same: each event would be mailed for both",
				"give each broker its own Redis server, or leave the variable out")
			return
		}
		seen[place] = b.Name
	}
	c.warn(channels.name, "is heard on each broker of REDIS_URLS: an event and its task must be on the same broker, or both are mailed")
}

// serverOf returns the address of a server in one form, as far as its text tells.
func serverOf(address string) string {
	host, port, err := net.SplitHostPort(strings.ToLower(address))
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// notUsed warns of variables that another one overrides.
func (c *Config) notUsed(because string, others ...*setting) {
	for _, other := range others {
		if other.given() {
			c.warn(other.name, "is not used, because "+because+" is set")
		}
	}
}

// WithBroker returns the configuration with the broker of that name as its only one. "" is the
// first one.
func (c Config) WithBroker(name string) (Config, error) {
	i := slices.IndexFunc(c.Brokers, func(b Broker) bool { return b.Name == name })
	switch {
	case name == "" && len(c.Brokers) > 0:
		i = 0
	case i < 0 && len(c.BrokerNames()) == 0:
		return c, fmt.Errorf("there is no broker %q: REDIS_URLS is not set, so the only broker has no name", name)
	case i < 0:
		return c, fmt.Errorf("there is no broker %q: REDIS_URLS has %s", name, strings.Join(c.BrokerNames(), ", "))
	}
	if i >= 0 {
		c.Brokers = c.Brokers[i : i+1 : i+1]
		c.Redis = c.Brokers[0].Redis
	}
	return c, nil
}

// BrokerNames returns the names of the brokers; none without REDIS_URLS.
func (c Config) BrokerNames() (names []string) {
	for _, b := range c.Brokers {
		if b.Name != "" {
			names = append(names, b.Name)
		}
	}
	return names
}

// redisInForce shows in the report what the URL says.
func (c *Config) redisInForce(v *variables, url string) {
	host, port, err := net.SplitHostPort(c.Redis.Address)
	if c.Redis.Network != "tcp" || err != nil { // or it names several nodes
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
	case strings.ContainsAny(host, ",;"):
		v.RedisHost.mistake("it names several hosts", "write the nodes of a Redis Cluster into REDIS_URL, such as redis://a:6379,b:6379/0, and set REDIS_CLUSTER=true")
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
	r, err := parseRedis(v.RedisURL.value.Reveal(), v.RedisCluster.value)
	sentinels := err == nil && len(r.Sentinels) > 0
	for _, other := range []*setting{&v.RedisHost.setting, &v.RedisPort.setting, &v.RedisPassword.setting, &v.RedisUseTLS.setting} {
		// Whether there is TLS a sentinel:// URL does not say.
		if other.given() && (other != &v.RedisUseTLS.setting || !sentinels) {
			c.warn(other.name, "is not used, because REDIS_URL is set")
		}
	}
	if err != nil {
		v.RedisURL.fault(err)
		return
	}
	c.takeRedis(v, &v.RedisURL.setting, "", r)
	if !sentinels {
		c.noSentinels(v)
	}
}

// parseRedis reads the URL of a Redis, or of a Redis Cluster.
func parseRedis(raw string, cluster bool) (*connurl.Redis, error) {
	if cluster {
		return connurl.ParseCluster(raw)
	}
	return connurl.ParseRedis(raw)
}

// takeRedis takes what a URL says. prefix begins the warnings and mistakes about it, which
// are those of s.
func (c *Config) takeRedis(v *variables, s *setting, prefix string, r *connurl.Redis) {
	warn := func(text string) { c.warn(s.name, prefix+text) }
	for _, note := range r.Notes {
		warn(note)
	}
	c.Redis.Network, c.Redis.Address = r.Network, r.Address
	c.Redis.Username, c.Redis.Password = r.Username, NewSecret(r.Password)
	if r.Password == "" {
		c.Redis.Username, c.Redis.UserAlone = "", NewSecret(r.Username)
	}
	if c.Redis.UserAlone.IsSet() {
		warn("has a user but no password, so the login has an empty one; a password alone is written redis://:password@host")
	}
	c.Redis.UseTLS = r.TLS
	c.redisDB(v, s.name, r.DB)
	if len(r.Sentinels) > 0 {
		url := s.name
		if prefix != "" {
			url += " (" + strings.TrimSuffix(prefix, ": ") + ")"
		}
		c.sentinels(v, url, r)
		return
	}
	c.redisTLSParams(v, r.TLSParams)
}

// redisDB takes the database of the URL, unless that names none.
func (c *Config) redisDB(v *variables, url string, n int) {
	if n < 0 {
		return // REDIS_DB
	}
	if v.RedisDB.given() && v.RedisDB.value != n {
		c.warn("REDIS_DB", "is not used, because "+url+" names a database")
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

// redisTLS checks the files of TLS. A file that a URL names is reported where the URL is.
func (c *Config) redisTLS(v *variables, url *setting, prefix string) {
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
			name = url.name
		}
		c.warn(name, prefix+"the certificate of Redis is not verified: anybody on the way can read and change the queue")
	} else if t.IgnoreHostname {
		c.warn(url.name, prefix+"ssl_check_hostname=false: any server with a certificate of the authorities may pass for Redis")
	}
	blame := func(s *setting) *setting {
		if s.given() {
			return s
		}
		return url
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
	if len(r.Nodes) > 0 {
		return connurl.Redact(shown.URL()) + " (cluster)"
	}
	return connurl.Redact(shown.URL())
}
