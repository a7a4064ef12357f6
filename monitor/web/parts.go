package web

import (
	"html/template"
	"slices"
	"time"
)

// Tone colours a chip, a note or a line of a chart.
type Tone string

// The tones. Colour never stands alone: a word says the same.
const (
	Calm Tone = "calm" // over, or of no matter
	Info Tone = "info" // running
	Good Tone = "good" // succeeded
	Wait Tone = "wait" // waits, or is late
	Bad  Tone = "bad"  // failed
)

func (t Tone) known() Tone {
	if slices.Contains([]Tone{Calm, Info, Good, Wait, Bad}, t) {
		return t
	}
	return Calm
}

// Head is the head of a page. Chips stand beside the title, Facts below it, and Links at the
// right edge.
type Head struct {
	Title string
	Back  *Link // to the list; nil: none
	Chips []Chip
	Lead  string // a sentence; "": none
	Facts []Fact
	Links []Link
	Forms []Button
}

// Link is a link of a head.
type Link struct {
	Text, Href string
	Icon       string // of [Icons]; "": none
}

// Button is a form with one button.
type Button struct {
	Text, Action string            // Action is the path of the action
	Fields       map[string]string // hidden
	Tone         Tone              // Bad: it destroys something
	Icon         string
}

// Fact is a line of a list of facts.
type Fact struct {
	Name  string
	Value string
	Href  string // "": no link
	Mono  bool
	Copy  bool      // a button copies the value
	Time  time.Time // instead of Value; zero: none
	Chip  Chip      // instead of Value; zero: none
}

// Chip is a word in a colour, such as a state.
type Chip struct {
	Text string
	Tone Tone
}

// Facets are the states of a list with their numbers, which choose what the list shows.
type Facets struct {
	Label  string // for screen readers, such as "States"
	Groups []FacetGroup
}

// FacetGroup is a titled part of [Facets].
type FacetGroup struct {
	Title string // "": none
	Items []Facet
}

// Facet is one choice. Count is shown unless it is negative.
type Facet struct {
	Text   string
	Href   string
	Count  int64
	Capped bool // there are more than Count
	Tone   Tone
	Chosen bool
}

// Search is the search box of a page. The form is sent by GET to Action; Keep are further
// values of the query that stay.
type Search struct {
	Action      string
	Name        string // of the value; default: q
	Value       string
	Label       string // for screen readers
	Placeholder string
	Keep        map[string]string
	Suggest     []string // completions, such as "state:"
	Help        string   // a line below the box; "": none
}

// Timeline is what happened, in order.
type Timeline []Event

// Event is an entry of a [Timeline]. Events that belong to it are nested, such as the attempts
// of a task.
type Event struct {
	Time   time.Time
	After  time.Duration // since the event before; 0: not shown
	Title  string
	Chip   Chip
	Text   string // a sentence or two
	Detail string // what a server said, in a fixed-width font
	Href   string
	Facts  []Fact
	Tone   Tone
	Events Timeline
}

// Empty says that there is nothing to list.
type Empty struct {
	Title, Text string
	Href, Link  string // a way on; "": none
}

// Pager leads through the pages of a list. A list with a keyset has Next and maybe First.
type Pager struct {
	First, Prev, Next string // hrefs; "": there is none
	Text              string // such as "1–50 of 12,345"
}

// Confirm asks before something that cannot be taken back. The form is sent to Action.
type Confirm struct {
	Title  string
	Text   string // what will be done, and to how many
	Facts  []Fact
	Action string
	Fields map[string]string // hidden
	Word   string            // that must be typed, as the field "word"; "": none
	Button string
	Cancel string // href
	Tone   Tone   // default: Bad
	Note   bool   // asks for a note, as the field "note"
}

// Copy is a text with a button that copies it.
type Copy struct {
	Text  string
	Label string // for screen readers, such as "Copy the id"
	Mono  bool
}

// Tile is one figure of an overview.
type Tile struct {
	Label string
	Value string
	Unit  string
	Hint  string // a line below
	Href  string
	Tone  Tone
	Spark []float64 // a line of the last values; nil: none
}

// Line returns the line of the last values as a drawing.
func (t Tile) Line() template.HTML { return sparkline(t.Spark, t.Tone.known()) }
