// Package canvas carries out Celery's workflows: callbacks, chains, groups,
// chords and the replacement of tasks. See "Canvas: Designing Work-flows" in
// the Celery manual.
//
// A program that sends workflows needs only [New], [Chain], [Group], [Chord],
// [Options] and the methods of [Signature]; worker.Client sends the result. All
// other functions serve workers and brokers.
//
// After the success of a task a worker publishes its callbacks and the next
// element of its chain ([AfterSuccess]). After a failure it fails the rest of the
// chain and publishes the error callbacks ([AfterFailure]). After the last member
// of a chord it publishes the body ([Member], [ChordBody]). These functions,
// [Replace], [AddToChord] and [Apply] return a [Plan] of the changes.
//
// The package is pure: no I/O, no clock, no goroutine, and ids come from the
// caller. A Plan is meant to be carried out in one atomic step.
//
// # Fidelity
//
// Other workers read what we publish, so messages, signatures inside of them,
// group sizes and stored results are the same as those of Celery 5.7, including
// what is merely an accident there: that a group inside of the header of a chord
// runs in reverse order, or that a result passed to a group at the head of a
// chain is lost. Such accidents come from sharing: the body of a chord is one
// object that is referred to by every member and changes after it has been put
// there. Therefore a Signature shares and copies its parts exactly where Celery
// does.
//
// # Bounds
//
// A small signature can describe a large workflow, and one inside of another
// is copied many times. [Limits] bound depth, work and output; what exceeds them
// is a [LimitError]. No error holds a piece of a signature.
package canvas
