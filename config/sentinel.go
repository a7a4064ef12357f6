package config

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const sentinelForm = "write sentinel://host:26379;sentinel://host:26379/0, with :password@ before the first host if the master wants one"

// Sentinel says who knows where the master is.
type Sentinel struct {
	Addresses []string // host:port
	Master    string   // name that they know the master by
	Username  string   // login to the Sentinels themselves
	Password  Secret
}

// sentinels reads the URL with which kombu describes Sentinels. Login and
// database are those of the master, whichever of the parts has them.
func (c *Config) sentinels(v *variables) {
	s := &v.RedisURL.setting
	for part := range strings.SplitSeq(v.RedisURL.value.Reveal(), ";") {
		if !strings.Contains(part, "://") {
			part = "sentinel://" + part
		}
		u, err := url.Parse(part)
		switch {
		case err != nil, u.Hostname() == "":
			s.mistake("it does not name Sentinels", sentinelForm)
			return
		case u.Scheme != "sentinel":
			s.mistake("its parts differ in their scheme", sentinelForm)
			return
		}
		port := u.Port()
		if port == "" {
			port = "26379"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			s.mistake("a port in it is out of range", sentinelForm)
		}
		c.Redis.Sentinel.Addresses = append(c.Redis.Sentinel.Addresses, net.JoinHostPort(u.Hostname(), port))
		c.redisLogin(s, u.User)
		c.redisDB(v, strings.Trim(u.Path, "/"))
		for name := range u.Query() {
			c.warn(s.name, fmt.Sprintf("the parameter %q is not used", name))
		}
	}
	c.Redis.Network = "sentinel"
	c.Redis.Address = strings.Join(c.Redis.Sentinel.Addresses, ",")
	c.Redis.UseTLS = v.RedisUseTLS.value
	c.Redis.Sentinel.Master = v.SentinelMaster.text
	c.Redis.Sentinel.Username = v.SentinelUsername.text
	c.Redis.Sentinel.Password = v.SentinelPassword.value
	if c.Redis.Sentinel.Master == "" {
		v.SentinelMaster.mistake("it is not set, and REDIS_URL names Sentinels", "write the name of the master that they watch, such as mymaster; Celery calls it master_name")
	}
	if c.Redis.Sentinel.Username != "" && !c.Redis.Sentinel.Password.IsSet() {
		c.warn(v.SentinelUsername.name, "is not used, because REDIS_SENTINEL_PASSWORD is not set")
	}
}

// noSentinels warns of variables that only Sentinels have a use for.
func (c *Config) noSentinels(v *variables) {
	for _, s := range []*setting{&v.SentinelMaster.setting, &v.SentinelUsername.setting, &v.SentinelPassword.setting} {
		if s.given() {
			c.warn(s.name, "is not used, because REDIS_URL does not begin with sentinel://")
		}
	}
}

// url returns the address as kombu writes it; the login stands in the first
// part.
func (s Sentinel) url(user *url.Userinfo, db int) string {
	parts := make([]string, len(s.Addresses))
	for i, address := range s.Addresses {
		u := url.URL{Scheme: "sentinel", Host: address}
		if i == 0 {
			u.User = user
		}
		parts[i] = u.String()
	}
	return strings.Join(parts, ";") + "/" + strconv.Itoa(db)
}
