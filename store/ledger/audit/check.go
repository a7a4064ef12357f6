package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of faults.
const (
	Changed   = "changed"
	Missing   = "missing"
	Reordered = "reordered"
	Replaced  = "replaced"  // a row that does not belong to the chain, though its hash is right
	Unchecked = "unchecked" // its key is not there
)

// Fault is something wrong with a trail.
type Fault struct {
	Kind   string `json:"kind"`
	Number int64  `json:"number"` // of the row
	Text   string `json:"text"`
}

// Report is the result of a check.
type Report struct {
	Rows    int64     `json:"rows"`
	Waiting int       `json:"waiting"` // entries in the broker
	Keyed   int64     `json:"keyed"`   // rows whose hashes have a key
	Head    string    `json:"head"`    // number and hash of the last row
	First   time.Time `json:"first,omitzero"`
	Last    time.Time `json:"last,omitzero"`
	Faults  []Fault   `json:"faults"`
	More    int       `json:"more_faults"` // faults that are not listed
	Remarks []string  `json:"remarks"`
}

// mostFaults is the number of faults that a report lists.
const mostFaults = 20

// window is the number of rows around a row among which its former place is looked for.
const window = 1000

// checker checks the rows of one chain, one after the other.
type checker struct {
	keys   Keys
	chain  string
	report *Report

	last      Row  // zero before the first one
	keyed     bool // a row had a key
	unchecked map[string]*Fault
	noted     map[int64][]string // hashes that were noted elsewhere, by number
	origin    Head               // of the last row that came from the broker
	next      func(rows int64) error
}

func newChecker(keys Keys, chain string, report *Report) *checker {
	return &checker{keys: keys, chain: chain, report: report, unchecked: map[string]*Fault{}, noted: map[int64][]string{}}
}

// Verdict says in a few words what the check has found.
func (r *Report) Verdict() string {
	switch {
	case len(r.Faults) == 0:
		return "the trail is whole"
	case slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.Kind != Unchecked }):
		return "THE TRAIL IS NOT WHOLE"
	}
	return "the trail cannot be checked without the key"
}

func (r *Report) fault(kind string, number int64, format string, args ...any) {
	if len(r.Faults) >= mostFaults {
		r.More++
		return
	}
	r.Faults = append(r.Faults, Fault{kind, number, fmt.Sprintf(format, args...)})
}

func (r *Report) remark(format string, args ...any) {
	r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
}

// span writes a range of numbers.
func span(from, to int64) string {
	if from == to {
		return fmt.Sprintf("row %d is", from)
	}
	return fmt.Sprintf("rows %d to %d are", from, to)
}

// row checks the next row.
func (c *checker) row(r Row) {
	r.Chain = c.chain
	want := c.last.Number + 1
	switch {
	case r.Number > want:
		c.report.fault(Missing, want, "%s missing", span(want, r.Number-1))
	case r.Number < want:
		c.report.fault(Reordered, r.Number, "row %d comes after row %d", r.Number, c.last.Number)
	}
	right := c.checkHash(r)
	if r.Number == want && r.Prev != c.before() {
		c.checkLink(r, right)
	}
	c.checkKey(r)
	for _, hash := range c.noted[r.Number] {
		if hash != r.Hash {
			c.report.fault(Replaced, r.Number, "row %d is not the one whose hash was noted elsewhere when it was written: it, or rows before it, were written anew", r.Number)
			break
		}
	}
	delete(c.noted, r.Number)
	c.last = r
}

// before returns the hash that the next row must name.
func (c *checker) before() string {
	if c.last.Number == 0 {
		return zeros
	}
	return c.last.Hash
}

// checkHash checks the hash of a row over its content.
func (c *checker) checkHash(r Row) (right bool) {
	sum, known := c.keys.sum(r)
	switch {
	case !known:
		f := c.unchecked[r.Key]
		if f == nil {
			f = &Fault{Kind: Unchecked, Number: r.Number}
			c.unchecked[r.Key] = f
		}
		f.Text = fmt.Sprintf("rows from %d to %d have hashes of a key with the fingerprint %s: set AUDIT_KEY to new,old with that key among them", f.Number, r.Number, r.Key)
		return true
	case sum == r.Hash:
		return true
	}
	if place, found := c.placeOf(r); found {
		c.report.fault(Reordered, r.Number, "row %d was written as row %d", r.Number, place)
	} else {
		c.report.fault(Changed, r.Number, "row %d was changed after it was written", r.Number)
	}
	return false
}

// placeOf returns the number with which the hash of a row is right.
func (c *checker) placeOf(r Row) (place int64, found bool) {
	for d := int64(1); d <= window; d++ {
		for _, n := range []int64{r.Number - d, r.Number + d} {
			moved := r
			if moved.Number = n; n < 1 {
				continue
			}
			if sum, _ := c.keys.sum(moved); sum == r.Hash {
				return n, true
			}
		}
	}
	return 0, false
}

// checkLink names the fault of a row that does not follow the one before.
func (c *checker) checkLink(r Row, right bool) {
	switch {
	case !right:
		// Its own fault is named already.
	case c.last.Number == 0:
		c.report.fault(Missing, r.Number, "row %d follows another one that is missing", r.Number)
	case c.faulty(c.last.Number):
	default:
		c.report.fault(Replaced, c.last.Number, "row %d is not the one that row %d follows: it was changed, and its hash was made anew", c.last.Number, r.Number)
	}
}

// faulty reports whether the last fault is that of a row.
func (c *checker) faulty(number int64) bool {
	n := len(c.report.Faults)
	return n > 0 && c.report.Faults[n-1].Number == number
}

// checkKey checks that a trail with a key keeps one.
func (c *checker) checkKey(r Row) {
	switch {
	case r.Key != "":
		c.keyed = true
		c.report.Keyed++
	case c.keyed && len(c.keys) > 0:
		c.report.fault(Replaced, r.Number, "row %d has a hash without a key, and rows before it have one", r.Number)
	}
}

// fromBroker checks the place that a row of the database had in the broker.
func (c *checker) fromBroker(r Row) {
	if r.Origin == "" {
		return
	}
	was, err := parseOrigin(r)
	if err != nil {
		c.report.fault(Changed, r.Number, "row %d: %v", r.Number, err)
		return
	}
	if sum, known := c.keys.sum(was); known && sum != was.Hash {
		c.report.fault(Changed, r.Number, "row %d was changed while it waited in the broker, as entry %d", r.Number, was.Number)
	}
	c.follow(r.Number, was)
}

// follow checks that an entry of the broker follows the one before.
func (c *checker) follow(number int64, was Row) {
	want := c.origin.Number + 1
	switch {
	case was.Number == 1 && was.Prev == zeros && c.origin.Number > 0:
		c.report.remark("the broker lost its data before row %d: entries that waited there then are lost", number)
	case was.Number > want:
		c.report.fault(Missing, number, "entries %d to %d of the broker are missing before row %d", want, was.Number-1, number)
	case was.Number < want:
		c.report.fault(Reordered, number, "row %d was entry %d of the broker, and an entry before it was %d", number, was.Number, c.origin.Number)
	case c.origin.Number > 0 && was.Prev != c.origin.Hash:
		c.report.fault(Replaced, number, "entry %d of the broker does not follow the entry before it", was.Number)
	}
	c.origin = Head{was.Number, was.Hash}
}

// parseOrigin returns the row of the stream that a row of the database was.
func parseOrigin(r Row) (Row, error) {
	was := Row{Entry: r.Entry, Chain: Stream}
	was.ID = strings.TrimSuffix(was.ID, repeated)
	if _, err := fmt.Sscanf(r.Origin, "%d %s %s %s", &was.Number, &was.Prev, &was.Key, &was.Hash); err != nil {
		return was, errors.New("its place in the broker cannot be read")
	}
	was.Key = strings.TrimPrefix(was.Key, "-")
	return was, nil
}

// end lists rows that could not be checked, and rows that were noted and are missing.
func (c *checker) end() {
	for _, f := range c.unchecked {
		c.report.fault(f.Kind, f.Number, "%s", f.Text)
	}
	var last int64
	for number := range c.noted {
		last = max(last, number)
	}
	if last > c.last.Number {
		c.report.fault(Missing, c.last.Number+1, "%s missing at the end: their hashes were noted elsewhere", span(c.last.Number+1, last))
	}
	if len(c.keys) > 0 && c.report.Rows > 0 && c.report.Keyed == 0 {
		c.report.remark("AUDIT_KEY is set, and no row has a hash with a key")
	}
}
