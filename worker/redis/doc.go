// Package redis is the [broker.Broker] for Redis: the only place that knows Celery's keys and
// Redis commands.
//
// It shares everything with Python workers: the queues, the unacked set (the hash unacked and
// the sorted set unacked_index) and the results. One script moves a message to the unacked
// set, under a new id, so that the acknowledgement of another worker cannot remove it.
//
// Keys that only this package knows begin with "_goworker.1.", after the prefix if there is
// one. The number is the version of their layout.
//
// # Types and locks
//
// A [Broker] delegates to one type for each task. All share the server, which does not change
// after New: configuration, connections, scripts and names of keys.
//
//   - claimer claims messages and knows the consumed queues. Its lock is held during a claim.
//   - waiter waits for messages; its peekers have a lock.
//   - settler starts and settles deliveries, and publishes messages.
//   - pipeline, with a lock, passes claims from the claimer to round trips of the settler.
//   - holdings, with a lock, are the claims that this worker holds.
//   - leases renew them and send the heartbeat; recovery gives messages back to their queues.
//   - results reads results; its pubsub.Listener has a lock, as has the settler's
//     pubsub.Announcer.
//   - control carries remote control and events, revocations stores revocations.
//   - checks, with a lock, finds keys of another type.
//   - Letters are the dead letters.
//
// Two locks are held together in one order only: first the claimer's, then one of peekers,
// pipeline, holdings, or package conn. Package conn never holds two locks. The claimer
// also calls Session.Lost and Session.DeadLettered under its lock, so these must not claim.
package redis
