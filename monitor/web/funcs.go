package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
)

// functions are what templates may call:
//
//	live              attributes of the element whose content is pushed
//	icon NAME         a drawing, see icons
//	asset NAME        path of an asset
//	ago TIME          a time that the browser shows as "3 min ago"; without JavaScript, as date
//	clock TIME        a time of the day, with the date if it is another one
//	date TIME         date and time
//	seconds NUMBER    a duration of so many seconds, such as "1.2 s"
//	dur DURATION      a duration
//	num NUMBER        12,345
//	brief NUMBER      12k
//	short ID          the first eight characters of an id
//	soft NAME         a long name that may break after _ . @ and the like
//	taskname NAME     a task without its modules, with all of its name as a hint
//	bytes NUMBER      12.3 kB
//	percent NUMBER    a share of 1 as "12.3 %"
//	plural N ONE MANY the word for a number
//	json VALUE        indented JSON
//	query PAIRS…      a query string of names and values; empty values are left out
//	tone WORD         a Tone
//	chip WORD TONE    a Chip
//	copytext TEXT LABEL  a Copy in a fixed-width font
//	empty TITLE TEXT  an Empty
//	list VALUES…      a list
//	has LIST VALUE    reports whether a list of words has a word
func functions(a *assets) template.FuncMap {
	return template.FuncMap{
		"live":     func() template.HTMLAttr { return `id="live" hx-swap="innerMorph" hx-trigger="live:start"` },
		"icon":     icon,
		"asset":    a.path,
		"ago":      ago,
		"clock":    clock,
		"date":     date,
		"seconds":  seconds,
		"dur":      func(d time.Duration) string { return seconds(d.Seconds()) },
		"num":      num,
		"brief":    brief,
		"short":    short,
		"soft":     soft,
		"taskname": taskName,
		"bytes":    byteSize,
		"percent":  percent,
		"plural":   plural,
		"json":     indented,
		"query":    query,
		"tone":     func(word string) Tone { return Tone(word).known() },
		"chip":     func(word string, tone any) Chip { return Chip{Text: word, Tone: Tone(fmt.Sprint(tone)).known()} },
		"copytext": func(text, label string) Copy { return Copy{Text: text, Label: label, Mono: true} },
		"empty":    func(title, text string) Empty { return Empty{Title: title, Text: text} },
		"list":     func(values ...any) []any { return values },
		"has": func(words []string, word string) bool {
			for _, w := range words {
				if w == word {
					return true
				}
			}
			return false
		},
	}
}

// icons are drawings of 20 by 20.
var icons = map[string]string{
	"overview": `<path d="M3 11.5a7 7 0 0 1 14 0"/><path d="m10 11.5 3-4"/><path d="M4.5 15.5h11"/>`,
	"sent":     `<path d="M17 3 2.8 8.2l5.6 2.6m8.6-7.8-5.2 14.2-3.4-6.4M17 3l-8.6 7.8"/>`,
	"tasks":    `<path d="M8 5h9M8 10h9M8 15h9"/><path d="m2.5 5 1.2 1.2L6 4M2.5 10l1.2 1.2L6 9M2.5 15l1.2 1.2L6 14"/>`,
	"queues":   `<path d="m10 3 7 3.5-7 3.5-7-3.5z"/><path d="m3 10 7 3.5 7-3.5M3 13.5 10 17l7-3.5"/>`,
	"workers":  `<rect x="5" y="5" width="10" height="10" rx="2"/><path d="M8 2.5V5m4-2.5V5M8 15v2.5m4-2.5v2.5M2.5 8H5m-2.5 4H5m10-4h2.5M15 12h2.5"/>`,
	"clock":    `<circle cx="10" cy="10" r="7"/><path d="M10 6v4l2.8 2"/>`,
	"dead":     `<path d="M3 7.5 5 3.5h10l2 4V15a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 3 15z"/><path d="M3 7.5h14m-9 3.2 4 3.600m0-3.6-4 3.6"/>`,
	"mail":     `<rect x="2.5" y="4.5" width="15" height="11" rx="2"/><path d="m3 6 7 5 7-5"/>`,
	"return":   `<path d="M16.5 4v5a3 3 0 0 1-3 3H4"/><path d="m8 8-4 4 4 4"/>`,
	"blocked":  `<circle cx="10" cy="10" r="7"/><path d="m5.2 5.2 9.6 9.6"/>`,
	"template": `<rect x="3" y="3" width="14" height="14" rx="2"/><path d="M3 7.5h14M8 7.5V17"/>`,
	"health":   `<path d="M2.5 10.5H6l2-5 3.5 9 2-4h4"/>`,
	"sliders":  `<path d="M3 6h7m4 0h3M3 14h3m4 0h7"/><circle cx="12" cy="6" r="2"/><circle cx="8" cy="14" r="2"/>`,
	"audit":    `<path d="M10 2.5 16.5 5v5c0 3.8-2.7 6.3-6.5 7.5C6.2 16.3 3.5 13.8 3.5 10V5z"/><path d="m7.5 10 1.8 1.800L12.8 8"/>`,
	"bundle":   `<path d="m10 2.5 6.5 3.700v7.600L10 17.5l-6.5-3.700V6.200z"/><path d="m3.7 6.3 6.3 3.5 6.3-3.5M10 9.800v7.5"/>`,
	"page":     `<path d="M5 2.5h6.5L15.5 6.5v11h-10.5z"/><path d="M11 2.5V7h4.5"/>`,
	"search":   `<circle cx="9" cy="9" r="5.5"/><path d="m13.2 13.2 4 4"/>`,
	"menu":     `<path d="M3 5.5h14M3 10h14M3 14.5h14"/>`,
	"close":    `<path d="m5 5 10 10M15 5 5 15"/>`,
	"back":     `<path d="m12 5-5 5 5 5"/>`,
	"next":     `<path d="m8 5 5 5-5 5"/>`,
	"copy":     `<rect x="7" y="7" width="10" height="10" rx="2"/><path d="M4.5 13H4a1.5 1.5 0 0 1-1.5-1.5V4A1.5 1.5 0 0 1 4 2.5h7.5A1.5 1.5 0 0 1 13 4v.5"/>`,
	"down":     `<path d="M10 3v9m-4-3.5 4 4 4-4M4 16.5h12"/>`,
	"pause":    `<path d="M7 4.5v11M13 4.5v11"/>`,
	"play":     `<path d="m6.5 4 9 6-9 6z"/>`,
	"retry":    `<path d="M16.5 10a6.5 6.5 0 1 1-2-4.700M15 2.5v3.200h-3.2"/>`,
	"trash":    `<path d="M3.5 5.5h13M8 5.5V3.5h4v2m-6.5 0 .8 11h7.400l.8-11"/>`,
	"edit":     `<path d="m4 13-.7 3.700L7 16 16.2 6.8 13.2 3.800z"/>`,
	"check":    `<path d="m4 10.5 4 4 8-9"/>`,
	"warn":     `<path d="M10 3 2.5 16.5h15z"/><path d="M10 8v4m0 2.200v.1"/>`,
	"info":     `<circle cx="10" cy="10" r="7"/><path d="M10 9.200v4.300M10 6.5v.1"/>`,
	"eye":      `<path d="M2.5 10S5.2 5 10 5s7.5 5 7.5 5-2.7 5-7.5 5-7.5-5-7.5-5z"/><circle cx="10" cy="10" r="2.2"/>`,
	"plus":     `<path d="M10 4v12M4 10h12"/>`,
	"minus":    `<path d="M4 10h12"/>`,
	"stop":     `<rect x="5" y="5" width="10" height="10" rx="1.5"/>`,
	"link":     `<path d="M8.5 11.5a3 3 0 0 0 4.3 0l2.7-2.700a3 3 0 0 0-4.3-4.300l-1 1M11.5 8.5a3 3 0 0 0-4.3 0l-2.7 2.700a3 3 0 0 0 4.3 4.300l1-1"/>`,
	"keyboard": `<rect x="2" y="5" width="16" height="10" rx="2"/><path d="M5 8.5h.1M8 8.5h.1M11 8.5h.1M14 8.5h.1M6.5 12h7"/>`,
	"user":     `<circle cx="10" cy="7" r="3.2"/><path d="M3.5 17c.6-3.4 3.2-5 6.5-5s5.9 1.6 6.5 5"/>`,
	"leave":    `<path d="M8 3.5H5A1.5 1.5 0 0 0 3.5 5v10A1.5 1.5 0 0 0 5 16.5h3M12.5 6.5 16 10l-3.5 3.5M16 10H8"/>`,
	"inbox":    `<path d="M3 11.5 5.5 4h9L17 11.5V15a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 3 15z"/><path d="M3 11.5h4l1 2h4l1-2h4"/>`,
}

func icon(name string) (template.HTML, error) {
	drawing, ok := icons[name]
	if !ok {
		return "", fmt.Errorf("there is no icon %q", name)
	}
	return template.HTML(`<svg class="icon" viewBox="0 0 20 20" aria-hidden="true">` + drawing + `</svg>`), nil
}

// ago returns a time that scripts show relative to now. The text of the server is absolute, so
// that a page which is pushed does not change each second.
func ago(t time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="none">–</span>`
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" data-ago>%s</time>`, t.UTC().Format(time.RFC3339Nano), date(t))) // digits and known words only
}

func date(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return words.Clock(t)
}

func clock(t time.Time) template.HTML {
	if t.IsZero() {
		return `<span class="none">–</span>`
	}
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s" data-clock>%s</time>`, t.UTC().Format(time.RFC3339Nano), date(t), t.Local().Format(time.TimeOnly))) // digits and known words only
}

// seconds returns a duration with about three digits.
func seconds(s float64) string {
	switch {
	case math.IsNaN(s) || math.IsInf(s, 0):
		return "–"
	case s < 0:
		return "-" + seconds(-s)
	case s == 0:
		return "0 s"
	case s < 0.001:
		return figure(s*1e6) + " µs"
	case s < 1:
		return figure(s*1e3) + " ms"
	case s < 100:
		return figure(s) + " s"
	case s < 7200:
		return fmt.Sprintf("%d min %02d s", int(s)/60, int(s)%60)
	case s < 48*3600:
		return fmt.Sprintf("%d h %02d min", int(s)/3600, int(s)/60%60)
	}
	return fmt.Sprintf("%d d %d h", int(s)/86400, int(s)/3600%24)
}

// figure returns a number with about three digits.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return grouped(int64(math.Round(v)))
	case a >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
	}
	return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".")
}

func num(v any) (string, error) {
	switch n := v.(type) {
	case int:
		return grouped(int64(n)), nil
	case int32:
		return grouped(int64(n)), nil
	case int64:
		return grouped(n), nil
	case uint64:
		return grouped(int64(n)), nil
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return "–", nil
		}
		return figure(n), nil
	}
	return "", fmt.Errorf("num of a %T", v)
}

func grouped(n int64) string { return words.Grouped(n) }

// brief writes a number for a narrow place: 12,345 is 12k.
func brief(n int) string {
	if n >= 10_000 {
		return grouped(int64(n/1000)) + "k"
	}
	return grouped(int64(n))
}

func short(id string) string {
	const most = 8
	runes := []rune(id)
	if len(runes) <= most+1 {
		return id
	}
	return string(runes[:most])
}

// soft lets a browser break a name after its separators.
func soft(name string) template.HTML {
	var b strings.Builder
	from := 0
	for i, r := range name {
		if strings.ContainsRune("_.@/:-,", r) {
			b.WriteString(template.HTMLEscapeString(name[from : i+1]))
			b.WriteString("<wbr>")
			from = i + 1
		}
	}
	b.WriteString(template.HTMLEscapeString(name[from:]))
	return template.HTML(b.String()) // escaped
}

func taskName(name string) template.HTML {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || last == name {
		return soft(name)
	}
	return template.HTML(`<span title="`+template.HTMLEscapeString(name)+`">`) + soft(last) + `</span>` // escaped
}

func byteSize(v any) (string, error) {
	var n float64
	switch v := v.(type) {
	case int:
		n = float64(v)
	case int64:
		n = float64(v)
	case uint64:
		n = float64(v)
	case float64:
		n = v
	default:
		return "", fmt.Errorf("bytes of a %T", v)
	}
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for n >= 1000 && len(units) > 1 {
		n /= 1000
		units = units[1:]
	}
	return figure(n) + " " + units[0], nil
}

func percent(share float64) string {
	if math.IsNaN(share) || math.IsInf(share, 0) {
		return "–"
	}
	return strconv.FormatFloat(math.Floor(share*1000)/10, 'f', -1, 64) + " %"
}

func plural(n any, one, many string) string {
	if fmt.Sprint(n) == "1" {
		return one
	}
	return many
}

func indented(v any) (string, error) {
	if raw, ok := v.(json.RawMessage); ok && !json.Valid(raw) {
		return string(raw), nil
	}
	text, err := json.MarshalIndent(v, "", "  ")
	return string(text), err
}

func query(pairs ...any) (template.URL, error) {
	if len(pairs)%2 != 0 {
		return "", errors.New("query: a name has no value")
	}
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if v := fmt.Sprint(pairs[i+1]); v != "" {
			values.Add(fmt.Sprint(pairs[i]), v)
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return template.URL("?" + values.Encode()), nil // it is escaped
}
