// Package secrets replaces secrets while the process runs.
//
// A [Keeper] looks at the files that name secrets (SMTP_PASSWORD_FILE and the like), at Zero, and
// at both when a server refuses a login. A new value is used by new connections. The previous one
// stays until a server has accepted the new one, and ten minutes longer: servers and workers never
// change at the same moment.
//
// Values are in memory only. Logs, events and pages have fingerprints of them, which are keyed by
// a key of the process.
package secrets
