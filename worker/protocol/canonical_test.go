package protocol_test

import (
	"testing"

	"github.com/evently/workers/worker/protocol"
)

func TestAppendCanonical(t *testing.T) {
	for _, tt := range []struct{ a, b string }{
		{`{"a": 1, "b": [1.5, "x"]}`, `{"b":[15e-1,"\u0078"],"a":1}`},
		{`{"a": 1, "a": 2}`, ` {"a":2}`},
		{`"é\n\/"`, `"\u00e9\n/"`},
		{`[1e2, -0.0, 1E400]`, `[100.0,-0.0,Infinity]`},
		{`[-0, null, true, NaN]`, `[ 0,null,true,NaN ]`},
		{`"😀"`, `"\ud83d\ude00"`},
		{`12345678901234567890123`, `12345678901234567890123`},
	} {
		a, errA := protocol.AppendCanonical(nil, protocol.Raw(tt.a))
		b, errB := protocol.AppendCanonical(nil, protocol.Raw(tt.b))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s is %s, %v; %s is %s, %v", tt.a, a, errA, tt.b, b, errB)
		}
	}
	seen := map[string]string{}
	for _, v := range []string{`1`, `1.0`, `"1"`, `[1]`, `{"1": 1}`, `true`, `null`, `[]`, `{}`, `[[]]`, `["a,b"]`, `["a", "b"]`, `"\ud800"`, `"\ud801"`, `12345678901234567890123`, `12345678901234567890124`} {
		b, err := protocol.AppendCanonical(nil, protocol.Raw(v))
		if err != nil || seen[string(b)] != "" {
			t.Errorf("%s is %s, as %s is; %v", v, b, seen[string(b)], err)
		}
		seen[string(b)] = v
	}
	if _, err := protocol.AppendCanonical(nil, protocol.Raw(`[1`)); err == nil {
		t.Error("half an array has a canonical form")
	}
}
