package redis

import (
	"context"
	"strings"

	redigo "github.com/gomodule/redigo/redis"
)

// advise warns once of a server whose settings can lose messages. Managed
// servers often do not tell; nothing depends on it.
func (b *Broker) advise(ctx context.Context) error {
	var info map[string]string
	err := b.do(ctx, func(c redigo.Conn) error {
		text, err := redigo.String(c.Do("INFO"))
		if err != nil {
			return err
		}
		info = parseInfo(text)
		return nil
	})
	if err != nil {
		return err
	}
	for _, warning := range warnings(info) {
		b.log.Warn(warning, "redis", b.addr.String())
	}
	b.log.Info("connected to redis", "redis", b.addr.String(), "version", info["redis_version"])
	return nil
}

func warnings(info map[string]string) (ws []string) {
	if p := info["maxmemory_policy"]; p != "" && p != "noeviction" && info["maxmemory"] != "0" {
		ws = append(ws, "redis evicts keys when it is full ("+p+"), queues included: set maxmemory-policy noeviction")
	}
	if info["role"] == "slave" {
		ws = append(ws, "redis is a replica and refuses writes: give the address of the master")
	}
	if info["aof_enabled"] == "0" {
		ws = append(ws, "redis keeps no append-only file: what came since its last snapshot is lost when it restarts")
	}
	return ws
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}
