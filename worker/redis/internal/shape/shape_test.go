package shape_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/evently/workers/worker/redis/internal/shape"
)

// The last shapes are kept, of messages that Python could put back.
func TestLearn(t *testing.T) {
	var s shape.Shapes
	message := func(header, tag string) []byte {
		return fmt.Appendf(nil, `{"body": "W10=", "headers": {"%s": "x"}, "properties": {%s"delivery_info": {"exchange": "", "routing_key": "q"}}}`, header, tag)
	}
	const tag = `"delivery_tag": "d", `
	s.Learn(message("h", "")) // not restorable
	if len(s) != 0 {
		t.Fatalf("learned %q", s)
	}
	var want shape.Shapes
	for i := range 2 * shape.Kept {
		raw := message(fmt.Sprint("h", i), tag)
		s.Learn(raw)
		s.Learn(raw)
		pattern, _ := shape.Of(raw)
		want = append(shape.Shapes{pattern}, want...)
	}
	if !slices.Equal(s, want[:shape.Kept]) {
		t.Errorf("shapes %q, want the last ones of %q", s, want)
	}
	if args := s.Args(); len(args) != 1+shape.Kept || args[0] != shape.Kept || args[1] != want[0] {
		t.Errorf("args are %v", args)
	}
}
