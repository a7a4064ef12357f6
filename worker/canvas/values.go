package canvas

import (
	"math"
	"slices"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// value is the value of an option: a protocol.Raw, a *Signature or a *list. Options that
// share a value in Celery share it here as well.
type value any

// list is a list of signatures that several signatures may refer to.
type list struct{ items []*Signature }

// option is one entry of the options of a signature.
type option struct {
	name string
	val  value
}

// options holds the execution options of a signature in their order.
type options struct{ entries []option }

var null = protocol.Raw("null")

func (o *options) index(name string) int {
	return slices.IndexFunc(o.entries, func(e option) bool { return e.name == name })
}

func (o *options) has(name string) bool { return o.index(name) >= 0 }

// get returns the value of an option, nil when it is absent.
func (o *options) get(name string) value {
	if i := o.index(name); i >= 0 {
		return o.entries[i].val
	}
	return nil
}

// given reports whether the option is present and not null.
func (o *options) given(name string) bool { return !isNull(o.get(name)) }

func (o *options) set(name string, v value) {
	if i := o.index(name); i >= 0 {
		o.entries[i].val = v
		return
	}
	o.entries = append(o.entries, option{name, v})
}

// setDefault sets an option that is absent.
func (o *options) setDefault(name string, v value) {
	if !o.has(name) {
		o.set(name, v)
	}
}

// take removes an option and returns its value.
func (o *options) take(name string) value {
	i := o.index(name)
	if i < 0 {
		return nil
	}
	v := o.entries[i].val
	o.entries = slices.Delete(o.entries, i, i+1)
	return v
}

// copy returns a copy with the same, shared values.
func (o *options) copy() *options { return &options{slices.Clone(o.entries)} }

// with returns a copy in which other takes precedence.
func (o *options) with(other *options) *options {
	c := o.copy()
	c.update(other)
	return c
}

func (o *options) update(other *options) {
	for _, e := range other.entries {
		o.set(e.name, e.val)
	}
}

// without returns a copy without the named options.
func (o *options) without(names ...string) *options {
	c := &options{make([]option, 0, len(o.entries))}
	for _, e := range o.entries {
		if !slices.Contains(names, e.name) {
			c.entries = append(c.entries, e)
		}
	}
	return c
}

// known returns a copy without the options that are null.
func (o *options) known() *options {
	c := &options{make([]option, 0, len(o.entries))}
	for _, e := range o.entries {
		if !isNull(e.val) {
			c.entries = append(c.entries, e)
		}
	}
	return c
}

// text returns a string option, "" when it is absent or null.
func (o *options) text(name string) string {
	v := o.get(name)
	if isNull(v) {
		return ""
	}
	var s string
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &s) != nil {
		abort(&OptionError{name, "not a string"})
	}
	return s
}

// names returns an option that is an array of strings.
func (o *options) names(name string) []string {
	v := o.get(name)
	if isNull(v) {
		return nil
	}
	names := []string{}
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &names) != nil {
		abort(&OptionError{name, "not an array of strings"})
	}
	return names
}

// signatures returns the elements of an option that holds one signature or a list of
// them.
func signatures(v value) []*Signature {
	switch v := v.(type) {
	case *Signature:
		return []*Signature{v}
	case *list:
		return v.items
	}
	return nil
}

func isNull(v value) bool {
	switch v := v.(type) {
	case nil:
		return true
	case protocol.Raw:
		return v.IsNull()
	case *Signature:
		return v == nil
	case *list:
		return v == nil
	}
	return false
}

// quote returns the JSON of a string.
func quote(s string) protocol.Raw {
	b, err := protocol.Marshal(s)
	if err != nil {
		abort(err) // a string always has a form
	}
	return b
}

func quoteAll(names []string) protocol.Raw {
	if names == nil {
		names = []string{}
	}
	b, err := protocol.Marshal(names)
	if err != nil {
		abort(err)
	}
	return b
}

// textOrNull returns the JSON of a string, null for "".
func textOrNull(s string) protocol.Raw {
	if s == "" {
		return null
	}
	return quote(s)
}

// overlay returns the members of base overridden by those of over, in the order of a
// Python dict.
func overlay(base, over []protocol.Field) []protocol.Field {
	merged := slices.Clone(base)
	for _, f := range over {
		i := slices.IndexFunc(merged, func(m protocol.Field) bool { return m.Name == f.Name })
		if i < 0 {
			merged = append(merged, f)
		} else {
			merged[i].Value = f.Value
		}
	}
	return merged
}

// integer returns a whole number, 0 when the option is absent or null.
func (o *options) integer(name string) int {
	v := o.get(name)
	if isNull(v) {
		return 0
	}
	var n int
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &n) != nil {
		abort(&OptionError{name, "not a whole number"})
	}
	return n
}

// duration returns an option in seconds, 0 when it is absent or null.
func (o *options) duration(name string) time.Duration {
	v := o.get(name)
	if isNull(v) {
		return 0
	}
	var n float64
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &n) != nil {
		abort(&OptionError{name, "not a number of seconds"})
	}
	const most = math.MaxInt64 / float64(time.Second) / 2
	if math.IsNaN(n) || math.Abs(n) > most {
		abort(&OptionError{name, "out of range"})
	}
	return time.Duration(n * float64(time.Second))
}

// time returns a time of ISO 8601, also as kombu's typed object; zero when the
// option is absent or null.
func (o *options) time(name string) time.Time {
	v := o.get(name)
	var t time.Time
	if isNull(v) {
		return t
	}
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &t) != nil {
		abort(&OptionError{name, "not a time of ISO 8601"})
	}
	return t
}

func (o *options) flag(name string) *bool {
	v := o.get(name)
	if isNull(v) {
		return nil
	}
	var b bool
	if raw, ok := v.(protocol.Raw); !ok || protocol.Unmarshal(raw, &b) != nil {
		abort(&OptionError{name, "not true or false"})
	}
	return &b
}

// list returns an option as a list to append to.
func (o *options) list(name string) *list {
	switch v := o.get(name).(type) {
	case *list:
		return v
	case *Signature:
		l := &list{[]*Signature{v}}
		o.set(name, l)
		return l
	}
	l := &list{}
	o.set(name, l)
	return l
}

func (o *options) extend(name string, more []*Signature) {
	l := o.list(name)
	l.items = append(l.items, more...)
}
