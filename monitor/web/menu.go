package web

import (
	"slices"
	"strings"
)

// menuSection is a part of the menu.
type menuSection struct {
	Title string
	Items []menuItem
}

// menuItem is a line of the menu.
type menuItem struct {
	Text, Href, Icon, Key string
	Current               bool
	Badge                 int

	page *Page
}

// places are the lines of the menu in order, with their icons and the letters that lead to
// them after g. A page that is not here comes last.
var places = []struct{ section, pattern, icon, key string }{
	{"", "/", "overview", "o"},
	{"", "/was-it-sent", "sent", "s"},
	{"Try", "/inbox", "inbox", "n"},
	{"Try", "/chaos", "warn", "x"},
	{"Work", "/tasks", "tasks", "t"},
	{"Work", "/queues", "queues", "q"},
	{"Work", "/workers", "workers", "w"},
	{"Work", "/scheduled", "clock", "r"},
	{"Work", "/dead-letters", "dead", "d"},
	{"Mail", "/deliveries", "mail", "m"},
	{"Mail", "/suppressions", "blocked", "b"},
	{"Mail", "/bounces", "return", "u"},
	{"Mail", "/templates", "template", "p"},
	{"Service", "/health", "health", "h"},
	{"Service", "/configuration", "sliders", "c"},
	{"Service", "/audit", "audit", "a"},
	{"Service", "/incident", "bundle", "i"},
}

// lastSection holds the pages that have no place.
const lastSection = "Service"

// makeMenu returns the menu of all pages.
func (s *Site) makeMenu() []menuSection {
	var menu []menuSection
	add := func(section string, item menuItem) {
		i := slices.IndexFunc(menu, func(m menuSection) bool { return m.Title == section })
		if i < 0 {
			menu = append(menu, menuSection{Title: section})
			i = len(menu) - 1
		}
		menu[i].Items = append(menu[i].Items, item)
	}
	placed := map[*Page]bool{}
	for _, p := range places {
		if page := s.page(p.pattern); page != nil && page.Menu != "" {
			placed[page] = true
			add(p.section, menuItem{Text: page.Menu, Href: p.pattern, Icon: p.icon, Key: p.key, page: page})
		}
	}
	for _, page := range s.pages {
		if page.Menu != "" && !placed[page] && !strings.Contains(page.Pattern, "{") {
			add(lastSection, menuItem{Text: page.Menu, Href: page.Pattern, Icon: "page", page: page})
		}
	}
	return menu
}

// menuFor returns the menu of an actor who is on a path.
func (s *Site) menuFor(a Actor, path string) []menuSection {
	var menu []menuSection
	current := s.currentItem(path)
	for _, section := range s.menu {
		var items []menuItem
		for _, item := range section.Items {
			if a.Role < item.page.Role {
				continue
			}
			item.Current = item.Href == current
			if item.page.Badge != nil {
				item.Badge = item.page.Badge()
			}
			items = append(items, item)
		}
		if len(items) > 0 {
			menu = append(menu, menuSection{Title: section.Title, Items: items})
		}
	}
	return menu
}

// currentItem returns the line of the menu that is nearest above a path.
func (s *Site) currentItem(path string) (nearest string) {
	for _, section := range s.menu {
		for _, item := range section.Items {
			if (path == item.Href || strings.HasPrefix(path, item.Href+"/")) && len(item.Href) > len(nearest) {
				nearest = item.Href
			}
		}
	}
	return nearest
}
