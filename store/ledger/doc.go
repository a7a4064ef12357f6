// Package ledger stores the history of every mail: each attempt, with the words of the
// server, and the present state.
//
// A producer makes an [Event] and encodes it with [Encode] for a stream of the broker. One
// [Writer] of the fleet drains the stream into a database, in batches. A [Reader] answers
// questions. The database is PostgreSQL, with a separate schema, or SQLite.
//
// The ledger never stores a code, a password or the body of a mail, and an Event has no
// field for one. An address is stored as a keyed hash and a masked form. With a key of the
// operator it is stored encrypted, too.
package ledger
