// Package fleet knows the workers and tasks of a deployment by their events, as Celery's
// celery.events.state does. It serves no page: pages and metrics read it.
//
// All workers count, those of this library and Python's. A monitor listens once, however
// many pages are open, and keeps a bounded number of tasks and workers in memory. Events may
// get lost, so counts are those of the events that arrived.
//
// Secrets are hidden before anything is stored.
package fleet
