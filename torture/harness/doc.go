// Package harness runs the rows of the torture: each breaks something while a
// worker works, and counts afterwards what became of every task.
//
// A row runs inside of "go test", in its short form, and in the program torture,
// also against Celery's own worker. All chance in it comes from one seed.
package harness
