package config

import (
	"cmp"

	"github.com/evently/workers/internal/connurl"
)

// Sentinel says who knows where the master is.
type Sentinel struct {
	Addresses []string // host:port
	Master    string   // name that they know the master by
	Username  string   // login to the Sentinels themselves
	Password  Secret
}

// sentinels takes the Sentinels of a URL, and what else is said of them. url names the URL.
func (c *Config) sentinels(v *variables, url string, r *connurl.Redis) {
	c.Redis.Sentinel.Addresses = r.Sentinels
	c.Redis.UseTLS = v.RedisUseTLS.value
	c.Redis.Sentinel.Master = cmp.Or(r.Master, v.SentinelMaster.text)
	c.Redis.Sentinel.Username = v.SentinelUsername.text
	c.Redis.Sentinel.Password = v.SentinelPassword.value
	if c.Redis.Sentinel.Master == "" {
		v.SentinelMaster.mistake("it is not set, and "+url+" names Sentinels", "write the name of the master that they watch, such as mymaster; Celery calls it master_name")
	}
	if v.SentinelMaster.given() && r.Master != "" && r.Master != v.SentinelMaster.text {
		c.warn(v.SentinelMaster.name, "is not used for "+url+", because the URL has a master_name")
	}
	if c.Redis.Sentinel.Username != "" && !c.Redis.Sentinel.Password.IsSet() {
		c.warn(v.SentinelUsername.name, "is not used, because REDIS_SENTINEL_PASSWORD is not set")
	}
}

// noSentinels warns of variables that only Sentinels have a use for.
func (c *Config) noSentinels(v *variables) {
	for _, s := range []*setting{&v.SentinelMaster.setting, &v.SentinelUsername.setting, &v.SentinelPassword.setting} {
		if s.given() {
			c.warn(s.name, "is not used, because no URL of Redis begins with sentinel://")
		}
	}
}
