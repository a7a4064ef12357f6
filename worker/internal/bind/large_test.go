package bind_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/evently/workers/worker/internal/bind"
	"github.com/evently/workers/worker/protocol"
)

// Arguments by the million cost no list of them.
func TestManyArgumentsAreCheap(t *testing.T) {
	args := protocol.Raw("[" + strings.Repeat("1,", 1<<20) + "1]")
	kwargs := protocol.Raw("{" + strings.Repeat(`"":0,`, 1<<20) + `"":0}`)
	var in struct{ A int }
	for name, call := range map[string]func() error{
		"args":   func() error { return bind.Arguments("t", args, protocol.Raw("{}"), &in) },
		"kwargs": func() error { return bind.Arguments("t", protocol.Raw("[1]"), kwargs, &in) },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := call()
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: bound", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}
