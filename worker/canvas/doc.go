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
// The package is pure: it has no I/O, no clock and no goroutine, and ids come from the
// caller. A Plan is meant to be carried out in one atomic step.
//
// # Fidelity
//
// Python workers read the published messages. So messages, the signatures in them, group
// sizes and stored results are the same as those of Celery 5.7. This includes accidents
// of Celery: a group inside the header of a chord runs in reverse order, and a result
// passed to a group at the head of a chain is lost. Such accidents come from sharing:
// every member of a chord refers to the same body, which changes afterwards. Therefore a
// Signature shares and copies its parts exactly where Celery does.
//
// # Bounds
//
// A small signature can describe a large workflow, and a signature inside another is
// copied many times. [Limits] bound depth, work and output; a signature that exceeds them
// is refused with a [LimitError]. No error holds a piece of a signature.
package canvas
