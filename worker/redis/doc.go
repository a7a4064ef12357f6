// Package redis is the [broker.Broker] for Redis: the only place that knows
// Celery's keys and Redis commands.
//
// It shares everything with Python workers: the queues, the books of what is
// unacknowledged (the hash unacked and the sorted set unacked_index), and the
// results. A message is claimed by one script that pops and enters it, under an
// id of our own that no other worker's acknowledgement can hit.
//
// Keys that only this package knows begin with "_goworker.1.", after the
// prefix if there is one; the number is the version of their layout.
package redis
