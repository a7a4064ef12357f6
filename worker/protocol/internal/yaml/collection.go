package yaml

func (p *parser) closing() Event {
	p.pop()
	return Event{Kind: Close}
}

func (p *parser) blockSequenceEntry() Event {
	if p.check(blockEntry) {
		p.get()
		if p.check(blockEntry, blockEnd) {
			return p.empty((*parser).blockSequenceEntry)
		}
		return p.then((*parser).blockSequenceEntry, (*parser).blockNode)
	}
	if !p.check(blockEnd) {
		return p.bad("no entry of the sequence and not its end")
	}
	p.get()
	return p.closing()
}

func (p *parser) indentlessEntry() Event {
	if !p.check(blockEntry) {
		return p.closing()
	}
	p.get()
	if p.check(blockEntry, key, value, blockEnd) {
		return p.empty((*parser).indentlessEntry)
	}
	return p.then((*parser).indentlessEntry, (*parser).blockNode)
}

func (p *parser) blockMappingKey() Event {
	if p.check(key) {
		p.get()
		if p.check(key, value, blockEnd) {
			return p.empty((*parser).blockMappingValue)
		}
		return p.then((*parser).blockMappingValue, (*parser).blockValue)
	}
	if !p.check(blockEnd) {
		return p.bad("no key of the mapping and not its end")
	}
	p.get()
	return p.closing()
}

func (p *parser) blockMappingValue() Event {
	if !p.check(value) {
		return p.empty((*parser).blockMappingKey)
	}
	p.get()
	if p.check(key, value, blockEnd) {
		return p.empty((*parser).blockMappingKey)
	}
	return p.then((*parser).blockMappingKey, (*parser).blockValue)
}

func (p *parser) flowSequenceFirst() Event { return p.flowSequence(true) }

func (p *parser) flowSequenceEntry() Event { return p.flowSequence(false) }

func (p *parser) flowSequence(first bool) Event {
	if !p.check(flowSequenceEnd) {
		if !first {
			if !p.check(flowEntry) {
				return p.bad("neither comma nor end of the sequence")
			}
			p.get()
		}
		if p.check(key) {
			p.state = (*parser).pairKey
			return Event{Kind: Mapping}
		}
		if !p.check(flowSequenceEnd) {
			return p.then((*parser).flowSequenceEntry, (*parser).flowNode)
		}
	}
	p.get()
	return p.closing()
}

// pairKey starts a mapping of one pair that a sequence in brackets may hold
// without braces.
func (p *parser) pairKey() Event {
	p.get()
	if p.check(value, flowEntry, flowSequenceEnd) {
		return p.empty((*parser).pairValue)
	}
	return p.then((*parser).pairValue, (*parser).flowNode)
}

func (p *parser) pairValue() Event {
	if !p.check(value) {
		return p.empty((*parser).pairEnd)
	}
	p.get()
	if p.check(flowEntry, flowSequenceEnd) {
		return p.empty((*parser).pairEnd)
	}
	return p.then((*parser).pairEnd, (*parser).flowNode)
}

func (p *parser) pairEnd() Event {
	p.state = (*parser).flowSequenceEntry
	return Event{Kind: Close}
}

func (p *parser) flowMappingFirst() Event { return p.flowMapping(true) }

func (p *parser) flowMappingKey() Event { return p.flowMapping(false) }

func (p *parser) flowMapping(first bool) Event {
	if !p.check(flowMappingEnd) {
		if !first {
			if !p.check(flowEntry) {
				return p.bad("neither comma nor end of the mapping")
			}
			p.get()
		}
		if p.check(key) {
			p.get()
			if p.check(value, flowEntry, flowMappingEnd) {
				return p.empty((*parser).flowMappingValue)
			}
			return p.then((*parser).flowMappingValue, (*parser).flowNode)
		}
		if !p.check(flowMappingEnd) {
			return p.then((*parser).flowMappingNoValue, (*parser).flowNode)
		}
	}
	p.get()
	return p.closing()
}

func (p *parser) flowMappingValue() Event {
	if !p.check(value) {
		return p.empty((*parser).flowMappingKey)
	}
	p.get()
	if p.check(flowEntry, flowMappingEnd) {
		return p.empty((*parser).flowMappingKey)
	}
	return p.then((*parser).flowMappingKey, (*parser).flowNode)
}

func (p *parser) flowMappingNoValue() Event { return p.empty((*parser).flowMappingKey) }
