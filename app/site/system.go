package site

// makeSystem makes the pages of health, configuration, audit and incidents.
func makeSystem(*Parts) (*Module, error) { return nil, nil }
