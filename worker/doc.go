// Package worker runs Go functions as the tasks of a Celery deployment.
//
// Producers stay as they are: they call delay, apply_async or send_task, and
// the messages wait in the broker. A [Worker] claims them, runs the handler
// that is registered for the task name, and stores what AsyncResult.get()
// returns. It can share its queues with Python workers.
//
// What it promises: a message leaves the queue and enters the books of the
// unacknowledged in one step; it is acknowledged in the same step that stores
// its result; its lease is renewed while it is held, however long that is; what
// a crashed worker held is run again. A task can therefore run more than once,
// after a crash in its middle, and never less.
//
// Subpackages: protocol has the wire formats, redis the [Broker], workertest
// what tests of handlers need.
package worker
