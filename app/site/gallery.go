package site

import "github.com/evently/workers/monitor/pages/gallery"

// makeGallery makes the pages of the templates.
func makeGallery(p *Parts) (*Module, error) {
	m := &Module{Group: gallery.New(p.Templates)}
	if p.Templates != nil && !p.TemplatesRun {
		m.Run = p.Templates.Run
	}
	return m, nil
}
