package site

// makeSuppressions makes the pages of the suppressions.
func makeSuppressions(*Parts) (*Module, error) { return nil, nil }
