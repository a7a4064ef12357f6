// Package events sends the events of a worker, by which Flower and other monitors
// follow it (celery.events). Events may get lost; nothing depends on them.
package events
