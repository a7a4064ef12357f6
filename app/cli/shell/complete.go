// Package shell gives the program its place in the user's shell: completion for bash, zsh and
// fish, and the manual page. All of it is made from the model of the command line, so that it
// cannot differ from --help.
package shell

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/evently/workers/internal/sorting"
)

// A candidate is a word that may come next.
type candidate struct{ word, help string }

// candidates returns what can stand in place of the last of words, which may be empty. words
// does not hold the name of the program. Words that the command line does not know end the
// search without candidates.
func candidates(root *kong.Node, words []string) (found []candidate) {
	if len(words) == 0 {
		return nil
	}
	done, last := words[:len(words)-1], words[len(words)-1]
	at := place{node: root}
	for _, w := range done {
		if !at.take(w) {
			return nil
		}
	}
	for _, c := range at.next(last) {
		if strings.HasPrefix(c.word, last) {
			found = append(found, c)
		}
	}
	sorting.By(found, func(a, b candidate) int { return strings.Compare(a.word, b.word) })
	return found
}

// A place is a position in a command line.
type place struct {
	node       *kong.Node
	arguments  int         // positional arguments taken
	value      *kong.Value // the flag that waits for its value
	flagsEnded bool        // after "--"
}

// take reads one word. It reports whether the command line knows it.
func (p *place) take(word string) bool {
	switch {
	case p.value != nil:
		p.value = nil
	case p.flagsEnded:
		p.arguments++
	case word == "--":
		p.flagsEnded = true
	case strings.HasPrefix(word, "-") && len(word) > 1:
		return p.takeFlag(word)
	default:
		return p.takeWord(word)
	}
	return true
}

func (p *place) takeFlag(word string) bool {
	name, _, hasValue := strings.Cut(word, "=")
	for _, f := range flags(p.node) {
		if name == "--"+f.Name || f.Short != 0 && strings.HasPrefix(word, "-"+string(f.Short)) {
			attached := hasValue || !strings.HasPrefix(word, "--") && len([]rune(word)) > 2
			if !f.IsBool() && !attached {
				p.value = f.Value
			}
			return true
		}
	}
	return false
}

func (p *place) takeWord(word string) bool {
	for _, child := range p.node.Children {
		if child.Name == word || slices.Contains(child.Aliases, word) {
			p.node, p.arguments = child, 0
			return true
		}
	}
	if len(p.node.Children) > 0 {
		return false
	}
	p.arguments++
	return true
}

// next returns all words that may follow. begun is what stands there so far.
func (p *place) next(begun string) (all []candidate) {
	if p.value != nil {
		return values(p.value, "")
	}
	if p.flagsEnded {
		return p.argument()
	}
	if name, _, ok := strings.Cut(begun, "="); ok && strings.HasPrefix(begun, "--") {
		for _, f := range flags(p.node) {
			if "--"+f.Name == name {
				return values(f.Value, name+"=")
			}
		}
		return nil
	}
	if strings.HasPrefix(begun, "-") {
		for _, f := range flags(p.node) {
			all = append(all, candidate{"--" + f.Name, f.Help})
		}
		return all
	}
	for _, child := range p.node.Children {
		if !child.Hidden {
			all = append(all, candidate{child.Name, child.Help})
		}
	}
	return append(all, p.argument()...)
}

// argument returns the values of the positional argument that comes next.
func (p *place) argument() []candidate {
	positional := p.node.Positional
	if len(positional) == 0 {
		return nil
	}
	v := positional[min(p.arguments, len(positional)-1)]
	if p.arguments >= len(positional) && !v.IsCumulative() {
		return nil
	}
	return values(v, "")
}

// values returns the values of v where there is a list of them.
func values(v *kong.Value, prefix string) (all []candidate) {
	if v.Enum == "" {
		return nil
	}
	for _, word := range v.EnumSlice() {
		if word != "" {
			all = append(all, candidate{prefix + word, ""})
		}
	}
	return all
}

// flags returns the flags of a command and of the commands above it.
func flags(node *kong.Node) (all []*kong.Flag) {
	for _, group := range node.AllFlags(true) {
		all = append(all, group...)
	}
	return all
}
