package templates_test

import (
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

// ordinary returns one mail of each kind: the samples of the table in package tasks.
var ordinary = sync.OnceValue(func() (all []templates.Mail) {
	for _, m := range tasks.Mails() {
		sample, err := m.Sample()
		if err != nil {
			panic(err)
		}
		all = append(all, sample)
	}
	return all
})

func kinds() (all []templates.Kind) {
	for _, m := range ordinary() {
		all = append(all, m.Kind())
	}
	return all
}

// samples returns mails of one kind: the first is ordinary, the second has no value that
// may be missing, the third is long, and the others are hostile.
func samples(kind templates.Kind) []templates.Mail {
	at := slices.Index(kinds(), kind)
	if at < 0 {
		panic("no mail of kind " + kind)
	}
	all := []templates.Mail{ordinary()[at], changed(ordinary()[at], empty), changed(ordinary()[at], long)}
	for _, text := range []string{
		`<script>alert(1)</script><img src=x onerror=alert(1)>`,
		`"><a href="https://evil.example/">{{.Code}} %s %n` + "\r\nBcc: a@evil.example\r\n\r\n",
		"\u202eevil\u2066\u200b see https://evil.example/x or www.evil.example",
		strings.Repeat("M\u0308\U0001f469\u200d\U0001f469\u200d\U0001f467 ", 1500),
		"javascript:alert(1)",
	} {
		all = append(all, changed(ordinary()[at], hostileFields(text)))
	}
	return all
}

func allSamples() (all []templates.Mail) {
	for _, kind := range kinds() {
		all = append(all, samples(kind)...)
	}
	return all
}

// changed returns a copy of m, each field of which was passed to change.
func changed(m templates.Mail, change func(field reflect.Value)) templates.Mail {
	v := reflect.New(reflect.TypeOf(m)).Elem()
	v.Set(reflect.ValueOf(m))
	for i := range v.NumField() {
		change(v.Field(i))
	}
	return v.Interface().(templates.Mail)
}

// isCode reports whether a text is the sample of a code. No mail is made without its code.
func isCode(sample string) bool {
	for _, m := range tasks.Mails() {
		for _, f := range m.Fields {
			if f.Input == tasks.Code && f.Sample == sample {
				return true
			}
		}
	}
	return false
}

func empty(field reflect.Value) {
	if field.Kind() != reflect.String || !isCode(field.String()) {
		field.SetZero()
	}
}

func long(field reflect.Value) {
	price, _ := templates.ParseMoney("123456789.95", "USD")
	at := time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC)
	switch sample := field.Interface().(type) {
	case templates.Money:
		field.Set(reflect.ValueOf(price))
	case templates.When:
		if sample == templates.WhenAt(at) {
			field.Set(reflect.ValueOf(templates.WhenOn(at)))
		} else {
			field.Set(reflect.ValueOf(templates.WhenAt(at)))
		}
	case int64:
		field.SetInt(12345)
	case string:
		field.SetString(longText(sample))
	}
}

// longText returns a long text of the same sort.
func longText(sample string) string {
	switch {
	case isCode(sample):
		return "7KQ2-M9XD-44TL"
	case strings.HasPrefix(sample, "https://"):
		return "https://evently.com/events/the-fourteenth-international-symposium/book?utm_source=mail&spot=7f3c9b52-58c7-4e0e-9d6f-2a1b77c0e9d4"
	case strings.Contains(sample, "@"):
		return "wolfeschlegelsteinhausenbergerdorff.featherstonehaugh@mail.department.example.com"
	case strings.ContainsAny(sample, "0123456789"):
		return "7f3c9b52-58c7-4e0e-9d6f-2a1b77c0e9d4"
	case !strings.Contains(sample, " "):
		return "wolfeschlegelsteinhausenbergerdorff"
	}
	return "The Fourteenth International Symposium on Distributed Systems, Donaudampfschifffahrtselektrizitätenhauptbetriebswerk"
}

// hostileFields fills texts and links with text, and makes numbers impossible.
func hostileFields(text string) func(field reflect.Value) {
	return func(field reflect.Value) {
		switch field.Kind() {
		case reflect.String:
			if !isCode(field.String()) {
				field.SetString(text)
			}
		case reflect.Int64:
			field.SetInt(-1)
		}
	}
}

// Each folder of templates has a mail in the table.
func TestEveryMailHasAFolder(t *testing.T) {
	folders, err := fs.Glob(templates.EmbeddedFS(), "*/html.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if kind, _, _ := strings.Cut(folder, "/"); !slices.Contains(kinds(), templates.Kind(kind)) {
			t.Errorf("templates/%s has no mail in tasks.Mails", kind)
		}
	}
	if len(folders) != len(kinds()) {
		t.Errorf("%d folders of templates and %d mails", len(folders), len(kinds()))
	}
}
