// Package control carries out remote control of a worker (celery.worker.control, kombu's
// pidbox) and takes part in the gossip of workers (celery.worker.consumer.gossip and
// mingle). It knows the worker as a [Node].
package control
