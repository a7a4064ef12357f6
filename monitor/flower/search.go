package flower

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evently/workers/monitor/fleet"
)

// Bounds of a search, as in Flower.
const (
	leastSubstring = 3
	mostQuery      = 2048
	mostTokens     = 128
	deepestQuery   = 5
)

// expression is a search that was read.
type expression interface{ matches(*fleet.Task) bool }

type (
	both   []expression
	either []expression
	// term is a word to look for, in lower case; field is "" for all fields.
	term struct{ field, value string }
)

func (e both) matches(t *fleet.Task) bool {
	return !slices.ContainsFunc(e, func(one expression) bool { return !one.matches(t) })
}

func (e either) matches(t *fleet.Task) bool {
	return slices.ContainsFunc(e, func(one expression) bool { return one.matches(t) })
}

func (e term) matches(t *fleet.Task) bool {
	if e.field == "state" {
		return fold(t.State) == e.value
	}
	if e.field == "kwargs" && strings.Contains(e.value, "=") {
		name, value, _ := strings.Cut(e.value, "=")
		return hasPair(t.Kwargs, strings.TrimSpace(name), strings.TrimSpace(value))
	}
	fields := map[string]string{"name": t.Name, "worker": t.Worker, "args": t.Args, "kwargs": t.Kwargs, "result": t.Result}
	if text, ok := fields[e.field]; ok {
		return strings.Contains(fold(text), e.value)
	}
	all := strings.Join([]string{t.ID, t.Name, t.State, t.Worker, t.Args, t.Kwargs, t.Result}, "\x00")
	return strings.Contains(fold(all), e.value)
}

// fold is about Python's casefold.
func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "ß", "ss") }

// token is a part of a search.
type token struct {
	kind     string // "(", ")", "AND", "OR", "TERM" or "" at the end
	value    string
	position int // in characters
}

func fault(position int, format string, args ...any) error {
	return &syntaxError{fmt.Sprintf(format, args...) + fmt.Sprintf(" at position %d.", position)}
}

// parse reads a search. nil matches all.
func parse(s string) (expression, error) {
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > mostQuery {
		return nil, &syntaxError{fmt.Sprintf("Query exceeds %d characters.", mostQuery)}
	}
	tokens, err := tokenize([]rune(s))
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	if p.current().kind == "" {
		return nil, nil
	}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if t := p.current(); t.kind != "" {
		return nil, fault(t.position, "Unexpected '%s'", t.value)
	}
	return e, nil
}

func tokenize(s []rune) (tokens []token, err error) {
	for i := 0; i < len(s); {
		if unicode.IsSpace(s[i]) {
			i++
			continue
		}
		if len(tokens) >= mostTokens {
			return nil, &syntaxError{fmt.Sprintf("Query exceeds %d tokens.", mostTokens)}
		}
		if s[i] == '(' || s[i] == ')' {
			tokens = append(tokens, token{string(s[i]), string(s[i]), i})
			i++
			continue
		}
		t, next, err := word(s, i)
		if err != nil {
			return nil, err
		}
		tokens, i = append(tokens, t), next
	}
	return append(tokens, token{"", "", len(s)}), nil
}

// word reads a term, parts of which may be in quotes.
func word(s []rune, at int) (t token, next int, err error) {
	var value []rune
	quoted, within := false, false
	i := at
	for i < len(s) {
		c := s[i]
		if c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			value = append(value, s[i+1])
			i += 2
			continue
		}
		if c == '"' {
			quoted, within = true, !within
			i++
			continue
		}
		if !within && (unicode.IsSpace(c) || c == '(' || c == ')') {
			break
		}
		value = append(value, c)
		i++
	}
	t = token{"TERM", string(value), at}
	switch {
	case within:
		return t, i, fault(at, "Unterminated quoted phrase")
	case t.value == "":
		return t, i, fault(at, "Empty search term")
	case quoted:
	case t.value == "AND", t.value == "OR":
		t.kind = t.value
	case t.value == "NOT":
		return t, i, fault(at, "NOT is not supported")
	}
	return t, i, nil
}

// parser reads tokens.
type parser struct {
	tokens []token
	index  int
}

func (p *parser) current() token { return p.tokens[p.index] }

func (p *parser) advance() token {
	t := p.tokens[p.index]
	p.index++
	return t
}

// follows reports whether a term may follow an operator here.
func (p *parser) follows() bool { k := p.current().kind; return k == "TERM" || k == "(" }

func (p *parser) or(depth int) (expression, error) {
	first, err := p.and(depth)
	if err != nil {
		return nil, err
	}
	all := either{first}
	for p.current().kind == "OR" {
		operator := p.advance()
		if !p.follows() {
			return nil, fault(operator.position, "OR must be followed by a search term")
		}
		next, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	if len(all) == 1 {
		return first, nil
	}
	return all, nil
}

func (p *parser) and(depth int) (expression, error) {
	first, err := p.primary(depth)
	if err != nil {
		return nil, err
	}
	all := both{first}
	for k := p.current().kind; k != "" && k != ")" && k != "OR"; k = p.current().kind {
		if k == "AND" {
			if operator := p.advance(); !p.follows() {
				return nil, fault(operator.position, "AND must be followed by a search term")
			}
		}
		next, err := p.primary(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	if len(all) == 1 {
		return first, nil
	}
	return all, nil
}

func (p *parser) primary(depth int) (expression, error) {
	t := p.current()
	switch t.kind {
	case "TERM":
		p.advance()
		return readTerm(t)
	case "(":
	default:
		return nil, fault(t.position, "Expected a search term")
	}
	if depth >= deepestQuery {
		return nil, fault(t.position, "Query nesting exceeds %d levels", deepestQuery)
	}
	p.advance()
	if p.current().kind == ")" {
		return nil, fault(t.position, "Empty group")
	}
	e, err := p.or(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.current().kind != ")" {
		return nil, fault(t.position, "Missing closing parenthesis")
	}
	p.advance()
	return e, nil
}

// readTerm reads "field:value" or a value alone.
func readTerm(t token) (expression, error) {
	e := term{value: t.value}
	if field, value, ok := strings.Cut(t.value, ":"); ok && slices.Contains([]string{"name", "state", "worker", "args", "kwargs", "result"}, fold(field)) {
		e = term{fold(field), value}
	}
	exact := e.field == "state" || e.field == "kwargs" && strings.Contains(e.value, "=")
	switch {
	case e.field == "" && strings.HasPrefix(e.value, "-"):
		return nil, fault(t.position, "Negation with '-' is not supported")
	case e.value == "":
		return nil, fault(t.position, "Search qualifier requires a value")
	case !exact && utf8.RuneCountInString(strings.TrimSpace(e.value)) < leastSubstring:
		return nil, fault(t.position, "Substring search terms must contain at least %d characters", leastSubstring)
	}
	e.value = fold(e.value)
	return e, nil
}

// hasPair reports whether a repr of a dict has a value under a name.
func hasPair(repr, name, value string) bool {
	for n, v := range fleet.Pairs(repr) {
		if strings.TrimSpace(fold(n)) == name && fold(v) == value {
			return true
		}
	}
	return false
}
