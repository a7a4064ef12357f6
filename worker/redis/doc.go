// Package redis is the [broker.Broker] for Redis: the only place that knows
// Celery's keys and Redis commands.
//
// It shares everything with Python workers: the queues, the unacked set (the
// hash unacked and the sorted set unacked_index), and the results. One script
// claims a message: it moves the message from its queue to the unacked set, under
// a new id, so that the acknowledgement of another worker cannot remove it.
//
// Keys that only this package knows begin with "_goworker.1.", after the
// prefix if there is one; the number is the version of their layout.
package redis
