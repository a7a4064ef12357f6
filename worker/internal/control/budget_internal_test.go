package control

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// An answer has a bounded size, however large the arguments of many tasks are. Later ones
// are shown by the beginning of their reprs.
func TestInfosAreSmall(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 2000)
	rs := make([]Request, inspectMost)
	for i := range rs {
		rs[i] = Request{
			Message: &protocol.Message{ID: strings.Repeat("i", 36), Task: "evently.tasks.send"}, Name: "evently.tasks.send",
			Args: protocol.Raw(`["` + long + `"]`), Kwargs: protocol.Raw(`{"a": "` + long + `"}`), ArgsRepr: "('" + long + "',)", KwargsRepr: "{'a': '" + long + "'}",
		}
	}
	s := &Service{Config: Config{Name: "w@h"}}
	infos := s.infos(rs, false)
	raw, err := protocol.Marshal(infos)
	if err != nil || len(infos) != len(rs) || len(raw) > answerMost {
		t.Errorf("%d tasks in %d bytes, %v; want all in %d", len(infos), len(raw), err, answerMost)
	}
	if first, last := infos[0], infos[len(infos)-1]; first.Args == nil || string(first.Args.(protocol.Raw)) != string(rs[0].Args) || last.Args != "('"+strings.Repeat("ü", reprMost/2-1)+"..." {
		t.Errorf("first %.50v, last %v", first.Args, last.Args)
	}
}

// Answers are bounded in number and bytes. A small one needs no bytes.
func TestBudget(t *testing.T) {
	t.Parallel()
	var b budget
	now := time.Now()
	given := 0
	for range 2 * answersBurst {
		if !b.spent(now, true) {
			b.take(10)
			given++
		}
	}
	if given != answersBurst || b.dropped != answersBurst {
		t.Errorf("%d answers, %d dropped", given, b.dropped)
	}
	now = now.Add(time.Second)
	if b.spent(now, false) || b.take(2*bytesBurst) != answersBurst {
		t.Error("no answer after a second, or the dropped ones are not told")
	}
	if !b.spent(now, false) || b.spent(now, true) {
		t.Error("bytes are not counted, or count for small answers")
	}
	if now = now.Add(time.Minute); b.spent(now, false) {
		t.Error("no answer after a minute")
	}
}
