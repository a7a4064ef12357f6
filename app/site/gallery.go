package site

// makeGallery makes the pages of the templates.
func makeGallery(*Parts) (*Module, error) { return nil, nil }
