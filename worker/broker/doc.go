// Package broker defines how a worker talks to its broker and result backend.
//
// A [Broker] is the core that each implementation must provide. All other
// interfaces are optional: package worker looks for them once, with
// [CapabilitiesOf], as net/http looks for a Flusher. Without an optional interface
// the worker does without the feature, or with more round trips.
//
// Package worker/redis implements all of them. An implementation proves itself by
// [github.com/evently/workers/worker/workertest.TestBroker], which calls every
// method that it has.
package broker
