package system

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/web"
)

// configuration is the page of the variables.
type configuration struct {
	Head     web.Head
	Hints    []hint
	Secrets  []secretRow
	Groups   []group
	NoDigest string // why there are no fingerprints; "": there are
	Facets   web.Facets
}

// hint is advice about the configuration.
type hint struct {
	Text string
	Tone web.Tone
}

// group is a group of variables.
type group struct {
	Title    string
	Settings []setting
}

// secretRow is a secret as a process has it.
type secretRow struct {
	vitals.Secret
	Node string
}

// setting is one variable.
type setting struct {
	Variable, Type, Value, Description string
	Source                             web.Chip
	Secret                             bool
	Fingerprint                        string
	Since                              time.Time // of the secret
	Workers                            []string  // that differ, each with its fingerprint
}

func (g *Group) loadConfiguration(ctx context.Context, r *web.Request) (web.View, error) {
	c := configuration{Head: web.Head{
		Title: "Configuration", Lead: "The variables of this monitor, and in what the workers differ from it. Values of secrets are not shown; equal fingerprints are equal values.",
	}}
	prints := map[string]config.Fingerprint{}
	if g.cfg.Fingerprints != nil {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		all, err := g.cfg.Fingerprints(ctx)
		if err != nil {
			c.NoDigest = "Redis does not answer, so that there are no fingerprints and no comparison with the workers."
		}
		for _, f := range all {
			prints[f.Variable] = f
		}
	}
	state := g.cfg.Vitals()
	show := r.URL.Query().Get("show")
	counts := map[string]int64{}
	for _, s := range g.cfg.Settings {
		one := settingOf(s, prints[s.Variable], state.Processes)
		set := s.Source != config.SourceDefault
		for word, is := range map[string]bool{"set": set, "secrets": one.Secret, "different": len(one.Workers) > 0, "": true} {
			if is {
				counts[word]++
			}
			if is && word == show {
				c.add(s.Group, one)
			}
		}
	}
	c.Hints = hints(g.cfg.Warnings, state.Processes)
	secrets := g.secrets(state.Processes)
	for _, s := range secrets {
		if s.Fault != "" {
			c.Hints = append(c.Hints, hint{s.Name + " of " + s.Node + ": " + s.Fault + ". Advice: " + s.Advice + ".", web.Bad})
		}
	}
	if show == "" || show == "secrets" {
		c.Secrets = secrets
	}
	c.Facets = chooser(show, counts)
	return web.View{Title: "Configuration", Data: c}, nil
}

// secrets returns the secrets of this process and of the workers, by their names.
func (g *Group) secrets(processes []vitals.Process) (all []secretRow) {
	add := func(node string, secrets []vitals.Secret) {
		for _, s := range secrets {
			all = append(all, secretRow{s, node})
		}
	}
	if g.cfg.Secrets != nil {
		add("this monitor", vitals.SecretsOf(g.cfg.Secrets()))
	}
	for _, p := range processes {
		add(p.Node, p.Secrets)
	}
	sorting.Stable(all, func(a, b secretRow) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (c *configuration) add(title string, s setting) {
	if n := len(c.Groups); n == 0 || c.Groups[n-1].Title != title {
		c.Groups = append(c.Groups, group{Title: title})
	}
	last := &c.Groups[len(c.Groups)-1]
	last.Settings = append(last.Settings, s)
}

func chooser(show string, counts map[string]int64) web.Facets {
	g := web.FacetGroup{}
	for _, f := range []struct {
		word, text string
		tone       web.Tone
	}{{"", "All", web.Calm}, {"set", "Set", web.Info}, {"secrets", "Secrets", web.Calm}, {"different", "Workers differ", web.Wait}} {
		href := "/configuration"
		if f.word != "" {
			href += "?show=" + f.word
		}
		g.Items = append(g.Items, web.Facet{Text: f.text, Href: href, Count: counts[f.word], Tone: f.tone, Chosen: show == f.word})
	}
	return web.Facets{Label: "Variables", Groups: []web.FacetGroup{g}}
}

func settingOf(s config.Setting, f config.Fingerprint, processes []vitals.Process) setting {
	one := setting{
		Variable: s.Variable, Type: s.Type, Value: s.Value, Description: s.Description, Fingerprint: f.Digest,
		Source: web.Chip{Text: s.Source, Tone: web.Info}, Secret: f.Secret || s.Type == "secret",
	}
	if s.Source == config.SourceDefault {
		one.Source.Tone = web.Calm
	}
	if !f.Secret {
		one.Fingerprint = ""
	}
	if f.Secret && f.Digest == "" {
		one.Value = "set"
	}
	if one.Secret && f.Digest != "" && s.Type == "secret" {
		one.Value = "set"
	}
	if s.Type == "secret" && !f.Secret && s.Source == config.SourceDefault {
		one.Value = "not set"
	}
	for _, p := range processes {
		i := slices.IndexFunc(p.Settings, func(o vitals.Setting) bool { return o.Variable == s.Variable })
		if i < 0 {
			continue
		}
		other := p.Settings[i]
		if other.Since.After(one.Since) {
			one.Since = other.Since
		}
		if f.Digest != "" && !vitals.SameDigest(other.Digest, f.Digest) {
			text := p.Node + " has another value"
			if other.Digest == "" {
				text = p.Node + " has none"
			}
			if other.Source != "" {
				text += " (" + other.Source + ")"
			}
			one.Workers = append(one.Workers, text)
		}
	}
	return one
}

// hints are what a doctor would say.
func hints(warnings []config.Warning, processes []vitals.Process) (all []hint) {
	for _, w := range warnings {
		all = append(all, hint{w.String(), web.Wait})
	}
	if names := vitals.Differences(processes); len(names) > 0 {
		all = append(all, hint{"The workers differ in " + strings.Join(names, ", ") + ". Give all of them the same values.", web.Wait})
	}
	versions := map[string][]string{}
	for _, p := range processes {
		versions[p.Version] = append(versions[p.Version], p.Node)
	}
	if len(versions) > 1 {
		var texts []string
		for v, nodes := range versions {
			texts = append(texts, fmt.Sprintf("%s (%s)", v, strings.Join(nodes, ", ")))
		}
		sort.Strings(texts)
		all = append(all, hint{"Workers of several versions run: " + strings.Join(texts, "; ") + ".", web.Info})
	}
	return all
}
