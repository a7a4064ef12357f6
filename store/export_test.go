package store

// Waiting returns the number of lookups that wait for a query.
func Waiting(s *Store) int {
	s.lookups.mu.Lock()
	defer s.lookups.mu.Unlock()
	return len(s.lookups.waiting)
}

// Running returns the number of queries in progress.
func Running(s *Store) int {
	s.lookups.mu.Lock()
	defer s.lookups.mu.Unlock()
	return s.lookups.running
}
