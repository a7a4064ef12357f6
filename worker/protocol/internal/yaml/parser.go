package yaml

// parser makes events of tokens. Each state is a place in the grammar at the top of
// PyYAML's parser.py and sets the next one.
type parser struct {
	scanner
	state  state
	states []state // states after the open collections
}

type state func(*parser) Event

func (p *parser) check(kinds ...tokenKind) bool {
	next := p.peek().kind
	for _, k := range kinds {
		if next == k {
			return true
		}
	}
	return false
}

// pop sets the state after the innermost open collection.
func (p *parser) pop() {
	p.state = p.states[len(p.states)-1]
	p.states = p.states[:len(p.states)-1]
}

// then reads a node now and goes on with another state after it.
func (p *parser) then(next state, node func(*parser) Event) Event {
	p.states = append(p.states, next)
	return node(p)
}

// empty returns the scalar of an absent node.
func (p *parser) empty(next state) Event {
	p.state = next
	return Event{Kind: Scalar, Plain: true}
}

func (p *parser) bad(problem string) Event {
	p.fail(problem)
	return Event{}
}

// document starts the one document of the stream.
func (p *parser) document() Event {
	if p.check(directive, documentStart, streamEnd) {
		return p.explicitDocument()
	}
	return p.then((*parser).documentEnd, (*parser).blockNode)
}

func (p *parser) explicitDocument() Event {
	if p.check(streamEnd) {
		p.state = nil
		return Event{Kind: End}
	}
	versions := 0
	for p.check(directive) {
		t := p.get()
		if t.handle != "YAML" {
			continue
		}
		if versions++; versions > 1 {
			return p.bad("second %YAML directive")
		}
		if string(trimZeros(t.text)) != "1" {
			return p.bad("version of YAML that is not 1")
		}
	}
	if !p.check(documentStart) {
		return p.bad("no start of the document behind its directives")
	}
	p.get()
	if p.check(directive, documentStart, documentEnd, streamEnd) {
		return p.empty((*parser).documentEnd)
	}
	return p.then((*parser).documentEnd, (*parser).blockNode)
}

func trimZeros(digits []byte) []byte {
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	return digits
}

// documentEnd expects the end after marks of the end.
func (p *parser) documentEnd() Event {
	for p.check(documentEnd) {
		p.get()
	}
	if !p.check(streamEnd) {
		return p.bad("text behind the document")
	}
	p.state = nil
	return Event{Kind: End}
}

func (p *parser) blockNode() Event { return p.node(true, false) }

func (p *parser) flowNode() Event { return p.node(false, false) }

// blockValue is a block node, or a sequence that is not indented.
func (p *parser) blockValue() Event { return p.node(true, true) }

func (p *parser) node(block, indentless bool) Event {
	if p.check(alias) {
		t := p.get()
		p.pop()
		return Event{Kind: Alias, Anchor: string(t.text)}
	}
	var e Event
	given := p.properties(&e)
	if p.err != nil {
		return e
	}
	switch {
	case indentless && p.check(blockEntry):
		e.Kind, p.state = Sequence, (*parser).indentlessEntry
	case p.check(scalar):
		t := p.get()
		e.Kind, e.Value, e.Plain = Scalar, t.text, t.plain && e.Tag == ""
		p.pop()
		if given == "!" { // in PyYAML the text decides then, quoted or not
			e.Plain = true
		}
	case p.check(flowSequenceStart):
		p.get()
		e.Kind, p.state = Sequence, (*parser).flowSequenceFirst
	case p.check(flowMappingStart):
		p.get()
		e.Kind, p.state = Mapping, (*parser).flowMappingFirst
	case block && p.check(blockSequenceStart):
		p.get()
		e.Kind, p.state = Sequence, (*parser).blockSequenceEntry
	case block && p.check(blockMappingStart):
		p.get()
		e.Kind, p.state = Mapping, (*parser).blockMappingKey
	case e.Anchor != "" || given != "":
		e.Kind, e.Plain = Scalar, e.Tag == ""
		p.pop()
	default:
		return p.bad("no value where one is expected")
	}
	return e
}

// properties reads anchor and tag, in either order. It returns the tag as it is,
// which is not "" when there is one.
func (p *parser) properties(e *Event) (given string) {
	for range 2 {
		switch {
		case e.Anchor == "" && p.check(anchor):
			e.Anchor = string(p.get().text)
		case given == "" && p.check(tag):
			t := p.get()
			switch t.handle {
			case "", "!":
				given = t.handle + string(t.text)
			case "!!":
				given = "tag:yaml.org,2002:" + string(t.text)
			default:
				p.fail("tag with an unknown prefix")
			}
		}
	}
	if given != "!" {
		e.Tag = given
	}
	return given
}
