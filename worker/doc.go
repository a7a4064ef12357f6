// Package worker runs Go functions as the tasks of a Celery deployment.
//
// Producers stay as they are: they call delay, apply_async or send_task, and the messages
// wait in the broker. A [Worker] claims them, runs the handler that is registered for the
// task name, and stores the result that AsyncResult.get() returns. It can share its queues
// with Python workers.
//
// A message is moved from the queue to the unacked set atomically. It is acknowledged in
// the step that stores its result. Its lease is renewed while it is held, however long that
// is. Messages of a crashed worker are run again. A crash therefore loses no task, but a task
// that it interrupts runs again: see [Task.Held].
//
// Begin with [New], [Config], [Func] and [NewClient]. Subpackages: redis has the broker,
// canvas the workflows, inspect the list of live workers, workertest the tools for tests of
// handlers, protocol the wire formats, and broker the interfaces for other brokers.
// docs/library.md is the guide.
package worker
