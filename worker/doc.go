// Package worker runs Go functions as the tasks of a Celery deployment.
//
// Producers stay as they are: they call delay, apply_async or send_task, and the messages
// wait in the broker. A [Worker] claims them, runs the handler that is registered for the
// task name, and stores the result that AsyncResult.get() returns. It can share its queues
// with Python workers.
//
// A message is moved from the queue to the unacked set atomically. It is acknowledged in
// the step that stores its result. Its lease is renewed while it is held, however long that
// is. Messages of a crashed worker are run again. A task can therefore run more than once,
// after a crash in its middle, and never less.
//
// Subpackages: protocol has the wire formats, broker the interfaces of brokers, redis a
// broker, workertest the tools for tests of handlers.
package worker
