package examine

import (
	"errors"
	"strings"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/redis/internal/conn"
)

// Faults of servers that are not the right ones.
const (
	faultReplica  = "it is a replica and refuses writes: give the address of the master, or those of Sentinels"
	faultSentinel = "it is a Sentinel and holds no queues: write sentinel:// instead of redis:// into REDIS_URL, and set REDIS_SENTINEL_MASTER"
	faultCluster  = "it is a node of a Redis Cluster: set REDIS_CLUSTER=true, and a REDIS_KEY_PREFIX with braces such as {evently}:"
)

// refusals are the answers of servers that can do nothing now, by their first word or by others.
var refusals = []struct{ words, fault string }{
	{"NOAUTH", "it wants a login: set REDIS_PASSWORD, or write user and password into REDIS_URL"},
	{"WRONGPASS", "it refuses the login: correct user and password"},
	{"invalid password", "it refuses the login: correct the password"},
	{"no password is set", "it has no password, and one is given: remove it, or set it at the server"},
	{"without any password configured", "it has no password, and one is given: remove it, or set it at the server"},
	{"DB index is out of range", "it has fewer databases: correct REDIS_DB, or the number at the end of REDIS_URL"},
	{"unknown command 'SENTINEL'", "it is no Sentinel: write redis:// instead of sentinel:// into REDIS_URL, or correct the port"},
	{"cluster support disabled", "it is no node of a Redis Cluster: leave out REDIS_CLUSTER, or correct host and port"},
	{"max number of clients", "it has no free connection: raise maxclients, or look which clients have so many"},
	{"DENIED", "it is in protected mode and serves its own machine only: give it a password"},
	{"LOADING", "it reads its data after a start: wait"},
	{"BUSY", "it runs a script that does not end: look at its log, SCRIPT KILL ends it"},
	{"OOM", "it is full and refuses writes: raise maxmemory, or delete what is not needed"},
	{"MISCONF", "it cannot save its data and refuses writes: look at its log, and whether its disk is full"},
	{"NOREPLICAS", "it refuses writes without replicas (min-replicas-to-write): start them"},
	{"READONLY", faultReplica},
	{"MASTERDOWN", faultReplica},
	{"MOVED", faultCluster},
	{"CROSSSLOT", faultCluster},
	{"CLUSTERDOWN", "the cluster does not serve all slots: look at CLUSTER INFO and its nodes"},
}

// Fault tells in a clause why a server that answers so cannot be used, and what to do. It is
// empty for other errors.
func Fault(err error) string {
	if errors.Is(err, conn.ErrForeign) {
		return conn.ErrForeign.Error()
	}
	e, ok := errors.AsType[redigo.Error](err)
	if !ok {
		return ""
	}
	for _, r := range refusals {
		if strings.HasPrefix(string(e), r.words+" ") || strings.Contains(string(e), r.words) && strings.ToUpper(r.words) != r.words {
			return r.fault
		}
	}
	return ""
}

// FaultOf tells the same by the answer to INFO. follows is true where Sentinels or nodes of a
// cluster have named the server.
func FaultOf(info map[string]string, follows bool) string {
	switch {
	case info["redis_mode"] == "sentinel":
		return faultSentinel
	case info["role"] == "slave":
		return faultReplica
	case info["cluster_enabled"] == "1" && !follows:
		return faultCluster
	}
	return ""
}
