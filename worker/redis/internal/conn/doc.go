// Package conn holds the connections to one Redis server, or to the master that
// Sentinels name.
package conn
