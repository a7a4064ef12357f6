package literal_test

import (
	"testing"

	"github.com/evently/workers/monitor/literal"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for repr, want := range map[string]string{
		`(12, {'event_name': "Nordic 'Jazz'", 'quantity': 2, 'total': 59.9, 'x': None, 'y': True})`: `[12,{"event_name":"Nordic 'Jazz'","quantity":2,"total":59.9,"x":null,"y":true}]`,
		`()`: `[]`, `(1,)`: `[1]`, `[]`: `[]`, `{}`: `{}`, `{'a': {'b': ['J\xf6rg', 'it\'s\n', '日本']}}`: `{"a":{"b":["Jörg","it's\n","日本"]}}`,
		`-1.5e+20`: `-1.5e+20`,
	} {
		if got, ok := literal.JSON(repr); !ok || string(got) != want {
			t.Errorf("%s: %s, %t", repr, got, ok)
		}
	}
	for _, no := range []string{``, `(1, {'a': 'b...`, `<object at 0x7f>`, `{1: 2}`, `(1 2)`, `{'a' 1}`, `[1]]`, `datetime.date(2026, 1, 1)`, `'a`, `'\q'`, `nan`} {
		if got, ok := literal.JSON(no); ok {
			t.Errorf("%s: %s", no, got)
		}
	}
}
