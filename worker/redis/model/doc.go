// Package model is a model of how messages are claimed, kept, finished and given
// back, by workers of this kind and by Python's, and an exhaustive search of it: for
// small numbers of workers, messages and faults every interleaving is looked at.
//
// A state is what is in Redis and what each process knows. A step is what happens as
// one: a script, a command, or something inside of a process; its name is that of
// the script, or says the commands. Between any two steps a worker may crash, freeze,
// be cut off from Redis, or stop; an answer may get lost after the script was carried
// out. Time is a clock that ticks: what has not been renewed for two ticks has run out,
// and a worker that is well renews between two ticks.
//
// A model proves nothing about code that it is not tied to: a test of package redis
// takes hundreds of these paths with the real scripts on a real server and compares
// the keys after every step.
//
// docs/model.md says what was found, and what is left out.
package model
