// Package conn holds the connections to one Redis server, to the master that Sentinels name, or
// to the node of a cluster that owns the slot of our keys.
package conn
