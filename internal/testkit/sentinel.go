package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// MasterName is the name that Sentinels of StartSentinels know the master by.
const MasterName = "mymaster"

// Sentinels are Redis Sentinels that watch one master. Make them with
// StartSentinels.
type Sentinels struct {
	t     T
	addrs []string
}

// StartSentinels starts n of them, which call the master down after half a
// second.
func StartSentinels(t T, n int, master *Redis) *Sentinels {
	t.Helper()
	s := &Sentinels{t: t}
	for range n {
		// A Sentinel writes into its configuration file and cannot do without.
		dir, port := t.TempDir(), FreePort(t)
		file := filepath.Join(dir, "sentinel.conf")
		conf := fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s %d\nsentinel down-after-milliseconds %[1]s 500\n"+
			"sentinel failover-timeout %[1]s 1500\n", MasterName, master.Port, n/2+1)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatalf("configuration of a Sentinel: %v", err)
		}
		Start(t, "redis-sentinel", nil, "redis-server", file, "--sentinel", "--bind", "127.0.0.1", "--port", port, "--dir", dir)
		s.addrs = append(s.addrs, "127.0.0.1:"+port)
	}
	Eventually(t, 30*time.Second, "the Sentinels know each other", func() bool {
		for _, addr := range s.addrs {
			fields, err := redis.StringMap(ask(addr, "SENTINEL", "MASTER", MasterName))
			if err != nil || fields["num-other-sentinels"] != fmt.Sprint(n-1) {
				return false
			}
		}
		return true
	})
	return s
}

// Patience has the Sentinels call a master down after d without an answer. On a busy machine half a
// second is too short for long rows.
func (s *Sentinels) Patience(d time.Duration) {
	s.t.Helper()
	for _, addr := range s.addrs {
		if _, err := ask(addr, "SENTINEL", "SET", MasterName, "down-after-milliseconds", d.Milliseconds()); err != nil {
			s.t.Fatalf("configure a Sentinel: %v", err)
		}
	}
}

// URL is that of the master, as Celery writes it.
func (s *Sentinels) URL() string {
	return "sentinel://" + strings.Join(s.addrs, ";sentinel://") + "/0"
}

// Master is host:port of the master that the Sentinels name, "" when they do not
// agree.
func (s *Sentinels) Master() string {
	master := ""
	for _, addr := range s.addrs {
		parts, err := redis.Strings(ask(addr, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName))
		if err != nil || len(parts) != 2 || master != "" && master != parts[0]+":"+parts[1] {
			return ""
		}
		master = parts[0] + ":" + parts[1]
	}
	return master
}

// Replicas is the number of replicas in good order, as the least of the Sentinels
// knows it.
func (s *Sentinels) Replicas() int {
	least := -1
	for _, addr := range s.addrs {
		list, err := redis.Values(ask(addr, "SENTINEL", "REPLICAS", MasterName))
		if err != nil {
			return 0
		}
		good := 0
		for _, one := range list {
			fields, err := redis.StringMap(one, nil)
			if err == nil && fields["flags"] == "slave" && fields["master-link-status"] == "ok" {
				good++
			}
		}
		if least < 0 || good < least {
			least = good
		}
	}
	return least
}

// Failover asks for a planned one.
func (s *Sentinels) Failover() error {
	_, err := ask(s.addrs[0], "SENTINEL", "FAILOVER", MasterName)
	return err
}

func ask(addr, command string, args ...any) (any, error) {
	c, err := redis.Dial("tcp", addr, redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(2*time.Second), redis.DialWriteTimeout(2*time.Second))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(command, args...)
}
