package config

import (
	"cmp"
	"strings"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/hashslot"
)

// Sentinel says who knows where the master is.
type Sentinel struct {
	Addresses []string // host:port
	Master    string   // name that they know the master by
	Username  string   // login to the Sentinels themselves
	Password  Secret
	Logins    Logins // instead of both; nil: the login is fixed
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

// cluster takes the nodes of a Redis Cluster, and checks what it restricts. url is what names
// them, and prefix begins the mistakes about it.
func (r *Redis) cluster(v *variables, url *setting, prefix string) {
	switch {
	case !v.RedisCluster.value || r.Address == "":
		return
	case len(r.Sentinel.Addresses) > 0 || r.Network != "tcp":
		url.mistake(prefix+"it does not lead to a node of a Redis Cluster, and REDIS_CLUSTER is set", connurl.ClusterForm)
	case r.DB != 0 && v.RedisDB.given():
		v.RedisDB.mistake("a Redis Cluster has the database 0 only, and REDIS_CLUSTER is set", "write 0")
	case r.DB != 0:
		url.mistake(prefix+"a Redis Cluster has the database 0 only, and REDIS_CLUSTER is set", connurl.ClusterForm)
	}
	r.Nodes = strings.Split(r.Address, ",")
}

// clusterPrefixes checks the prefixes that keep all keys in one slot. warn is called with a
// warning about REDIS_KEY_PREFIX.
func (r *Redis) clusterPrefixes(v *variables, warn func(variable, text string)) {
	if !v.RedisCluster.value {
		return
	}
	tag, ok := hashslot.Tag(r.KeyPrefix)
	if !ok {
		v.RedisKeyPrefix.mistake("it has no hash tag, and REDIS_CLUSTER is set: one step changes several keys, and a cluster keeps only keys of the same tag on one node",
			"write {celery}: and give Celery the same global_keyprefix, in broker_transport_options and in result_backend_transport_options")
		return
	}
	_, rest, _ := strings.Cut(r.KeyPrefix, "{"+tag+"}")
	if _, second := hashslot.Tag(rest); second {
		warn(v.RedisKeyPrefix.name, "has more than one hash tag; a Redis Cluster counts the first one only, {"+tag+"}")
	}
	if !v.ResultKeyPrefix.given() {
		r.ResultKeyPrefix = r.KeyPrefix
		v.ResultKeyPrefix.derived(r.KeyPrefix, v.RedisKeyPrefix.name)
		return
	}
	if _, ok := hashslot.Tag(r.ResultKeyPrefix); !ok || hashslot.Of(r.ResultKeyPrefix) != hashslot.Of(r.KeyPrefix) {
		v.ResultKeyPrefix.mistake("it has another hash tag than REDIS_KEY_PREFIX, and REDIS_CLUSTER is set: a result and the end of its message are one step",
			"leave it out, or begin it with the tag of REDIS_KEY_PREFIX")
	}
}
