// Package broker defines how a worker talks to its broker and result backend.
//
// A [Broker] is the core that each implementation must provide. All other
// interfaces are optional: package worker looks for them once, with
// [CapabilitiesOf], as net/http looks for a Flusher. Without an optional interface
// the worker does without the feature, or with more round trips.
//
// Without a [Backend] the worker runs and retries tasks and stores their results, but
// no client and no handler can send tasks or read results.
//
// Package worker/redis implements all of them. The suite
// [github.com/evently/workers/worker/workertest.TestBroker] tests an implementation:
// it calls every method of the core and of the optional interfaces that it has.
// [github.com/evently/workers/worker/workertest.Broker] is a short example in memory.
package broker
