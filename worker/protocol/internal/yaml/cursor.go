package yaml

import "unicode/utf8"

// cursor is a place in the text.
type cursor struct {
	data []byte
	pos  int // in bytes

	index, line, column int // of pos, in characters, from 0 on
}

// at returns the byte n after the next one, 0 at the end, which no text contains.
func (c *cursor) at(n int) byte {
	if c.pos+n < len(c.data) {
		return c.data[c.pos+n]
	}
	return 0
}

// breakAt returns the length of the line break n bytes from here, 0 if there is
// none. Besides \n, \r\n and \r there are U+0085, U+2028 and U+2029.
func (c *cursor) breakAt(n int) int {
	switch c.at(n) {
	case '\n':
		return 1
	case '\r':
		if c.at(n+1) == '\n' {
			return 2
		}
		return 1
	case 0xc2:
		if c.at(n+1) == 0x85 {
			return 2
		}
	case 0xe2:
		if last := c.at(n + 2); c.at(n+1) == 0x80 && (last == 0xa8 || last == 0xa9) {
			return 3
		}
	}
	return 0
}

// blankAt reports whether a space, a tab, a line break or the end is there.
func (c *cursor) blankAt(n int) bool {
	b := c.at(n)
	return b == ' ' || b == '\t' || b == 0 || c.breakAt(n) > 0
}

// endAt reports whether the line ends there.
func (c *cursor) endAt(n int) bool { return c.at(n) == 0 || c.breakAt(n) > 0 }

// forward moves over n bytes of one line.
func (c *cursor) forward(n int) {
	for end := c.pos + n; c.pos < end; {
		_, size := utf8.DecodeRune(c.data[c.pos:])
		if c.data[c.pos] != 0xef || string(c.data[c.pos:c.pos+size]) != "\ufeff" {
			c.column++
		}
		c.index++
		c.pos += size
	}
}

// lineBreak moves over a line break and returns its text in a scalar: \n for all but
// U+2028 and U+2029, "" if there is none.
func (c *cursor) lineBreak() string {
	n := c.breakAt(0)
	if n == 0 {
		return ""
	}
	text := "\n"
	if n == 3 {
		text = string(c.data[c.pos : c.pos+3])
	}
	c.pos += n
	c.index++
	if n == 2 && c.data[c.pos-1] == '\n' { // \r\n are two characters
		c.index++
	}
	c.line++
	c.column = 0
	return text
}

func (c *cursor) toLineEnd() {
	n := 0
	for !c.endAt(n) {
		n++
	}
	c.forward(n)
}

// documentMark reports whether a mark stands alone at the start of the line.
func (c *cursor) documentMark(mark string) bool {
	return c.column == 0 && c.markAhead(mark)
}

// markAhead reports whether a mark comes next, alone.
func (c *cursor) markAhead(mark string) bool {
	return len(c.data)-c.pos >= 3 && string(c.data[c.pos:c.pos+3]) == mark && c.blankAt(3)
}

// digits cuts off the digits that come next.
func (c *cursor) digits() []byte {
	n := 0
	for '0' <= c.at(n) && c.at(n) <= '9' {
		n++
	}
	text := c.data[c.pos : c.pos+n]
	c.forward(n)
	return text
}
