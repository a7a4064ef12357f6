package redistest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/hashslot"
)

// Cluster is a Redis Cluster of one test.
type Cluster struct {
	Nodes []*Server // masters first, then their replicas in the same order

	t     testing.TB
	voted map[*Server]time.Time // the last planned failover of a master
}

// NodeTimeout is the time after which the nodes of a Cluster call a silent one down.
const NodeTimeout = time.Second

// ClusterConfig describes a Cluster.
type ClusterConfig struct {
	Masters  int
	Replicas bool     // each master has one
	Program  string   // default: redis-server
	Args     []string // added to the command line of each node

	// Authority has the nodes speak nothing but TLS, also to each other, and want certificates
	// of clients. nil: no TLS.
	Authority *Authority
}

// StartCluster starts a cluster of masters, each with a replica if that is wanted. It ends
// with the test. args are added to the command line of each node.
func StartCluster(t testing.TB, masters int, replicas bool, args ...string) *Cluster {
	t.Helper()
	return ClusterConfig{Masters: masters, Replicas: replicas, Args: args}.Start(t)
}

// Start starts the cluster. It ends with the test.
func (cfg ClusterConfig) Start(t testing.TB) *Cluster {
	t.Helper()
	n, masters := cfg.Masters, cfg.Masters
	if cfg.Replicas {
		n *= 2
	}
	if cfg.Program == "" {
		cfg.Program = "redis-server"
	}
	var secure *tls.Config
	var pair Pair
	if cfg.Authority != nil {
		pair = cfg.Authority.Issue("node", time.Now().Add(time.Hour), "127.0.0.1", "localhost")
		secure = cfg.Authority.client(pair)
	}
	c := &Cluster{t: t, Nodes: make([]*Server, n), voted: map[*Server]time.Time{}}
	bus := make([]int, n)
	for i := range c.Nodes {
		dir := t.TempDir()
		c.Nodes[i] = start(t, cfg.Program, func(s *Server) []string {
			bus[i] = freePort(t)
			ports := []string{"--port", strconv.Itoa(s.Port)}
			if s.tls = secure; secure != nil {
				ports = []string{
					"--port", "0", "--tls-port", strconv.Itoa(s.Port), "--tls-cluster", "yes", "--tls-replication", "yes",
					"--tls-cert-file", pair.Cert, "--tls-key-file", pair.Key, "--tls-ca-cert-file", cfg.Authority.File, "--tls-auth-clients", "yes",
				}
			}
			return slices.Concat([]string{
				"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--logfile", "redis.log",
				"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus[i]),
				"--cluster-node-timeout", strconv.Itoa(int(NodeTimeout.Milliseconds())),
				"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
			}, ports, cfg.Args)
		})
	}
	for i, node := range c.Nodes {
		c.ask(node, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < masters {
			c.ask(node, "CLUSTER", "ADDSLOTSRANGE", i*hashslot.Count/masters, (i+1)*hashslot.Count/masters-1)
		}
		for j := range i {
			c.ask(node, "CLUSTER", "MEET", "127.0.0.1", c.Nodes[j].Port, bus[j])
		}
	}
	c.wait("all nodes know each other", func(node *Server) bool { return c.info(node, "cluster")["cluster_known_nodes"] == strconv.Itoa(n) })
	for i := masters; i < n; i++ {
		c.ask(c.Nodes[i], "CLUSTER", "REPLICATE", c.id(c.Nodes[i-masters]))
	}
	c.WaitWhole()
	return c
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// WaitWhole waits until all slots are served and all replicas are in step.
func (c *Cluster) WaitWhole() {
	c.t.Helper()
	c.wait("all slots are served, and all replicas are in step", func(node *Server) bool {
		replication := c.info(node, "replication")
		return c.info(node, "cluster")["cluster_state"] == "ok" &&
			(replication["role"] == "master" || replication["master_link_status"] == "up") &&
			(replication["role"] != "master" || len(c.Nodes) == 2*c.masters() && replication["connected_slaves"] == "1" || len(c.Nodes) == c.masters())
	})
}

func (c *Cluster) masters() int {
	n := 0
	for _, node := range c.Nodes {
		if c.info(node, "replication")["role"] == "master" {
			n++
		}
	}
	return n
}

// wait polls all nodes.
func (c *Cluster) wait(what string, ok func(*Server) bool) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, node := range c.Nodes {
		for !ok(node) {
			if time.Now().After(deadline) {
				c.t.Fatalf("did not come to pass: %s", what)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// Owner returns the node that says that the slot of a key is its own; nil: there is none.
func (c *Cluster) Owner(key string) *Server {
	for _, node := range c.Nodes {
		_, err := node.try("EXISTS", key)
		if e, ok := errors.AsType[redigo.Error](err); err == nil || ok && len(e) > 4 && e[:4] == "ASK " {
			return node
		}
	}
	return nil
}

// Replica returns the replica of a master; nil: it has none.
func (c *Cluster) Replica(master *Server) *Server {
	for _, node := range c.Nodes {
		if i := c.info(node, "replication"); i["role"] == "slave" && i["master_port"] == strconv.Itoa(master.Port) {
			return node
		}
	}
	return nil
}

// Failover promotes the replica of the owner of a key, as planned, and waits until it serves
// the key.
func (c *Cluster) Failover(key string) {
	c.t.Helper()
	owner := c.Owner(key)
	replica := c.Replica(owner)
	// The others vote for replicas of the same master once in this time, and the election is
	// given up after five seconds.
	time.Sleep(2*NodeTimeout + 100*time.Millisecond - time.Since(c.voted[owner]))
	for try := range 5 {
		c.ask(replica, "CLUSTER", "FAILOVER")
		c.voted[owner] = time.Now()
		for time.Since(c.voted[owner]) < 6*time.Second {
			if _, err := replica.try("EXISTS", key); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		c.t.Logf("the replica was not promoted at try %d", try+1)
	}
	c.t.Fatal("the replica is not promoted")
}

// LoseSlot has no node own a slot. While cluster-require-full-coverage is set, which is the
// default, no node of the cluster takes commands then.
func (c *Cluster) LoseSlot(slot int) {
	c.t.Helper()
	c.wait("the slot is lost", func(node *Server) bool {
		for _, n := range c.Nodes { // a node may have heard of the owner again
			_, _ = n.try("CLUSTER", "DELSLOTS", slot) // it may be lost already
		}
		return c.info(node, "cluster")["cluster_state"] == "fail"
	})
}

// FindSlot gives a slot that was lost to a master.
func (c *Cluster) FindSlot(slot int, to *Server) {
	c.t.Helper()
	c.ask(to, "CLUSTER", "ADDSLOTS", slot)
	c.WaitWhole()
}

// BeginMove begins to move the slot of a key to another master, and moves those of its keys
// for which move is true.
func (c *Cluster) BeginMove(key string, to *Server, move func(key string) bool) {
	c.t.Helper()
	slot, from := hashslot.Of(key), c.Owner(key)
	c.ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.id(from))
	c.ask(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.id(to))
	keys, _ := redigo.Strings(c.ask(from, "CLUSTER", "GETKEYSINSLOT", slot, 100_000), nil)
	for _, key := range keys {
		if move(key) {
			c.ask(from, "MIGRATE", "127.0.0.1", to.Port, key, 0, 5000)
		}
	}
}

// EndMove moves the other keys, and gives the slot to the other master.
func (c *Cluster) EndMove(key string, to *Server) {
	c.t.Helper()
	slot, from := hashslot.Of(key), c.Owner(key)
	for {
		keys, _ := redigo.Strings(c.ask(from, "CLUSTER", "GETKEYSINSLOT", slot, 100_000), nil)
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			c.ask(from, "MIGRATE", "127.0.0.1", to.Port, key, 0, 5000)
		}
	}
	id := c.id(to)
	c.ask(to, "CLUSTER", "SETSLOT", slot, "NODE", id)
	c.ask(from, "CLUSTER", "SETSLOT", slot, "NODE", id)
}

func (c *Cluster) id(node *Server) string {
	c.t.Helper()
	id, err := redigo.String(c.ask(node, "CLUSTER", "MYID"), nil)
	if err != nil {
		c.t.Fatalf("CLUSTER MYID: %v", err)
	}
	return id
}

// info returns the fields of CLUSTER INFO, or of a section of INFO. A node that is down has
// none.
func (c *Cluster) info(node *Server, section string) map[string]string {
	command := []any{"INFO", section}
	if section == "cluster" {
		command = []any{"CLUSTER", "INFO"}
	}
	text, _ := redigo.String(node.try(command[0].(string), command[1]))
	return fields(text)
}

func (c *Cluster) ask(node *Server, command string, args ...any) any {
	c.t.Helper()
	if node == nil {
		c.t.Fatalf("%s %v: there is no such node", command, args)
	}
	reply, err := node.try(command, args...)
	if err != nil {
		c.t.Fatalf("%s: %v", fmt.Sprint(append([]any{command}, args...)...), err)
	}
	return reply
}

// try sends one command over a new connection. A frozen server is not asked.
func (s *Server) try(command string, args ...any) (any, error) {
	if s.frozen.Load() {
		return nil, errors.New("the server is frozen")
	}
	conn, err := s.Dial(10 * time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Do(command, args...)
}

// fields reads the lines of INFO.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all
}
