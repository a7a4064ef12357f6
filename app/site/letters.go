package site

// makeLetters makes the pages of the dead letters.
func makeLetters(*Parts) (*Module, error) { return nil, nil }
