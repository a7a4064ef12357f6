package canvas_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// naming maps the ids of the recording to ours, one to one.
type naming struct{ there, back map[string]string }

func (n *naming) clone() *naming {
	c := &naming{map[string]string{}, map[string]string{}}
	for k, v := range n.there {
		c.there[k] = v
	}
	for k, v := range n.back {
		c.back[k] = v
	}
	return c
}

func (n *naming) same(want, got string) bool {
	if n.there == nil {
		n.there, n.back = map[string]string{}, map[string]string{}
	}
	a, known := n.there[want]
	b, used := n.back[got]
	if !known && !used {
		n.there[want], n.back[got] = got, want
		return true
	}
	return a == got && b == want
}

var (
	theirs = regexp.MustCompile(`id-\d{4}|` + uuids)
	ours   = regexp.MustCompile(`go-\d{4}|` + uuids)
)

const uuids = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`

func (n *naming) text(want, got string) bool {
	if want == got && !ours.MatchString(got) {
		return true
	}
	a, b := theirs.FindAllString(want, -1), ours.FindAllString(got, -1)
	if len(a) != len(b) || theirs.ReplaceAllString(want, "#") != ours.ReplaceAllString(got, "#") {
		return false
	}
	for i := range a {
		if !n.same(a[i], b[i]) {
			return false
		}
	}
	return true
}

func compare(t testing.TB, path string, want, got any, names *naming) {
	t.Helper()
	if diff := difference(path, want, got, names); diff != "" {
		t.Error(diff)
	}
}

// compareSets is compare for lists whose order does not matter.
func compareSets(t testing.TB, path string, want, got any, names *naming) {
	t.Helper()
	w, _ := want.([]any)
	g, _ := got.([]any)
	if len(w) != len(g) {
		t.Errorf("%s: %d, want %d\ngot  %v\nwant %v", path, len(g), len(w), got, want)
		return
	}
	left := slices.Clone(g)
	for i := range w {
		found := slices.IndexFunc(left, func(v any) bool {
			trial := names.clone()
			if difference("", w[i], v, trial) != "" {
				return false
			}
			*names = *trial
			return true
		})
		if found < 0 {
			t.Errorf("%s[%d]: missing %v among %v", path, i, w[i], left)
			return
		}
		left = slices.Delete(left, found, found+1)
	}
}

func difference(path string, want, got any, names *naming) string {
	wrong := func() string { return fmt.Sprintf("%s: got %v, want %v", path, show(got), show(want)) }
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return wrong()
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				return fmt.Sprintf("%s.%s: got %v, want none", path, k, show(g[k]))
			}
		}
		for _, k := range sortedKeys(w) {
			if _, ok := g[k]; !ok {
				return fmt.Sprintf("%s.%s: none, want %v", path, k, show(w[k]))
			}
			if k == "stamped_headers" {
				sortTexts(w[k])
				sortTexts(g[k])
			}
			if k == "many" {
				// How often a list that is a stamp repeats itself is an accident.
				w[k], g[k] = distinct(w[k]), distinct(g[k])
			}
			if d := difference(path+"."+k, w[k], g[k], names); d != "" {
				return d
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return wrong()
		}
		for i := range w {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), w[i], g[i], names); d != "" {
				return d
			}
		}
	case string:
		g, ok := got.(string)
		if !ok || !names.text(w, g) && !sameTime(w, g) {
			return wrong()
		}
	default:
		if want != got {
			return wrong()
		}
	}
	return ""
}

func sameTime(a, b string) bool {
	x, err := time.Parse(time.RFC3339, a)
	if err != nil {
		return false
	}
	y, err := time.Parse(time.RFC3339, b)
	return err == nil && x.Equal(y)
}

func distinct(v any) any {
	l, ok := v.([]any)
	if !ok {
		return v
	}
	var out []any
	for _, e := range l {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func sortTexts(v any) {
	if l, ok := v.([]any); ok {
		slices.SortFunc(l, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(b) > 1500 {
		b = append(b[:1500], "…"...)
	}
	return string(b)
}
