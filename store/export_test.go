package store

// Waiting returns the number of lookups that wait for a query.
func Waiting(s *Store) int { return s.lookups.Waiting() }

// Running returns the number of queries in progress.
func Running(s *Store) int { return s.lookups.Running() }
