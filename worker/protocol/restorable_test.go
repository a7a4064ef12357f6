package protocol_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

func TestRestorable(t *testing.T) {
	t.Parallel()
	const good = `{"body": "W10=", "content-type": "application/json", "content-encoding": "utf-8", "headers": {"task": "t", "id": "i"}, ` +
		`"properties": {"delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "q"}}}`
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the message", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	deep := strings.Repeat("[", 600) + strings.Repeat("]", 600)
	for name, tc := range map[string]struct {
		raw  string
		want bool
	}{
		"as it is":              {good, true},
		"pickle":                {with("application/json", "application/x-python-serialize"), true},
		"typed header":          {with(`"id": "i"`, `"at": {"__type__": "datetime", "__value__": "2026-01-02T03:04:05"}`), true},
		"header like a type":    {with(`"id": "i"`, `"at": {"__type__": "new", "__value__": 1, "x": 1}`), true},
		"headers inside":        {with(`"id": "i"`, `"x": {"headers": [1]}`), true},
		"without headers":       {with(`"headers": {"task": "t", "id": "i"}, `, ``), true},
		"surrogate":             {with(`"id": "i"`, `"x": "\ud800"`), true},
		"NaN":                   {with(`"id": "i"`, `"x": NaN`), true},
		"nan":                   {with(`"id": "i"`, `"x": nan`), false},
		"hexadecimal":           {with(`"id": "i"`, `"x": 0x10`), false},
		"leading zero":          {with(`"id": "i"`, `"x": 007`), false},
		"zero byte":             {good + "\x00garbage", false},
		"control character":     {with("W10=", "W1\n0="), false},
		"not UTF-8":             {with("W10=", "\xff"), false},
		"unknown type":          {with(`"id": "i"`, `"x": [{"__type__": "os.system", "__value__": "x"}]`), false},
		"unknown type, escaped": {with(`"id": "i"`, `"x": {"\u005f_type__": "n", "__value__": 1}`), false},
		"type with a bad value": {with(`"id": "i"`, `"x": {"__type__": "datetime", "__value__": "never"}`), false},
		"huge integer":          {with(`"id": "i"`, `"x": `+strings.Repeat("9", 5000)), false},
		"deep":                  {with(`"id": "i"`, `"x": `+deep), false},
		"headers an array":      {with(`{"task": "t", "id": "i"}`, `[]`), false},
		"headers null":          {with(`{"task": "t", "id": "i"}`, `null`), false},
		"escaped key":           {with(`"headers": {"task": "t", "id": "i"}`, `"he\u0061ders": []`), false},
		"empty delivery tag":    {with(`"delivery_tag": "d"`, `"delivery_tag": ""`), true},
		"no delivery tag":       {with(`"delivery_tag": "d", `, ``), false},
		"exchange null":         {with(`"exchange": ""`, `"exchange": null`), false},
		"body null":             {with(`"W10="`, `null`), false},
		"priority":              {with(`"delivery_tag"`, `"priority": 9, "delivery_tag"`), true},
		"priority a text":       {with(`"delivery_tag"`, `"priority": "Infinity", "delivery_tag"`), true},
		"priority NaN":          {with(`"delivery_tag"`, `"priority": NaN, "delivery_tag"`), true},
		"priority large":        {with(`"delivery_tag"`, `"priority": 1e308, "delivery_tag"`), true},
		"priority a long one":   {with(`"delivery_tag"`, `"priority": `+strings.Repeat("9", 400)+`, "delivery_tag"`), true},
		"priority infinite":     {with(`"delivery_tag"`, `"priority": -Infinity, "delivery_tag"`), false},
		"priority too large":    {with(`"delivery_tag"`, `"priority": 1e309, "delivery_tag"`), false},
		"not JSON":              {"x", false},
		"empty":                 {"", false},
	} {
		if err := protocol.Restorable([]byte(tc.raw)); (err == nil) != tc.want {
			t.Errorf("%s: %v, want restorable: %v", name, err, tc.want)
		}
		for _, lim := range []protocol.Limits{{}, {Depth: 900}, {Depth: 2}, {Elements: 3}} {
			m, _ := protocol.Decode([]byte(tc.raw), lim)
			sameAtOnce(t, []byte(tc.raw), lim, m)
		}
	}
}

// sameAtOnce makes sure that one walk finds out what two do; want is what Decode does.
func sameAtOnce(t *testing.T, raw []byte, lim protocol.Limits, want *protocol.Message) {
	t.Helper()
	d := protocol.Decoder{Limits: lim}
	m, restorable := d.DecodeRestorable(raw)
	if err := protocol.Restorable(raw); restorable != (err == nil) {
		t.Errorf("restorable in one walk: %v, alone: %v", restorable, err)
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("decoded in one walk (-alone +both):\n%s", diff)
	}
}
