package site

// makeSchedule makes the page of scheduled tasks and retries.
func makeSchedule(*Parts) (*Module, error) { return nil, nil }
