package revoked

import (
	"fmt"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

func stampedWith(value string) *protocol.Message {
	return &protocol.Message{ID: "id", StampedHeaders: []string{"n"}, Stamps: protocol.Raw(fmt.Sprintf(`{"n": %s}`, value))}
}

// Celery compares stamps by ==, after both were read from JSON.
func TestStampsAreEqualAsInPython(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"1", "1.0", "1e0", "10e-1", "true", " 1 "},
		{"0", "-0", "0.0", "-0.0", "false"},
		{"100", "1e2", "100.0"},
		{"9007199254740993", " 9007199254740993"},
		{"99999999999999991611392", "1e23", "99999999999999991611392.0"},
		{`"a"`, `"\u0061"`},
		{`"é"`, `"\u00e9"`},
		{`{"a": 1, "b": [2]}`, `{"b":[2.0],"a":true}`, `{"a": 7, "b": [2], "a": 1}`},
		{"1.5", "15e-1", "1.50"},
	} {
		for _, revoked := range same {
			s := NewSet(broker.Revocation{Stamps: map[string][]protocol.Raw{"n": {protocol.Raw(revoked)}}})
			for _, value := range same {
				for _, m := range []*protocol.Message{stampedWith(value), stampedWith("[7, " + value + "]")} {
					if !s.Covers(m) {
						t.Errorf("%s does not cover %s", revoked, m.Stamps)
					}
				}
			}
		}
	}
	for _, different := range [][2]string{
		{"1", `"1"`}, {"1", "1.5"}, {"true", `"true"`}, {"0", "null"}, {`"a"`, `"A"`}, {"9007199254740993", "9007199254740992.0"},
		{"1", "2"}, {"100000000000000000000000", "1e23"}, {"true", "false"}, {`{"a": 1}`, `{"a": "1"}`},
	} {
		for _, d := range [][2]string{different, {different[1], different[0]}} {
			s := NewSet(broker.Revocation{Stamps: map[string][]protocol.Raw{"n": {protocol.Raw(d[0])}}})
			if s.Covers(stampedWith(d[1])) {
				t.Errorf("%s covers %s", d[0], d[1])
			}
		}
	}
}
