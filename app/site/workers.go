package site

// makeWorkers makes the pages of the workers.
func makeWorkers(*Parts) (*Module, error) { return nil, nil }
