package site

import "github.com/evently/workers/monitor/pages/gallery"

// makeGallery makes the pages of the templates.
func makeGallery(p *Parts) (*Module, error) { return &Module{Group: gallery.New(p.Templates)}, nil }
