package site

// makeMails makes the pages of the mails: was it sent, and deliveries.
func makeMails(*Parts) (*Module, error) { return nil, nil }
