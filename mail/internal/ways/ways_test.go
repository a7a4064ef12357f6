package ways_test

import (
	"testing"
	"time"

	"github.com/evently/workers/mail/internal/ways"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	var m ways.Memory
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	expect := func(offered, way, doubted ways.Way) {
		t.Helper()
		if w, d := m.Choose(offered, now); w != way || d != doubted {
			t.Errorf("of %v: %v, %v in doubt; want %v, %v", offered, w, d, way, doubted)
		}
	}
	all := func(stepwise, pipelined, chunked ways.Way) {
		t.Helper()
		expect(ways.Stepwise, stepwise, stepwise)
		expect(ways.Pipelined, pipelined, pipelined)
		expect(ways.Chunked, chunked, chunked)
	}
	all(ways.Stepwise, ways.Pipelined, ways.Chunked)
	if !m.Refute(ways.Chunked, now) || m.Refute(ways.Chunked, now) {
		t.Error("the second time is news")
	}
	all(ways.Stepwise, ways.Pipelined, ways.Pipelined)
	m.Refute(ways.Pipelined, now)
	all(ways.Stepwise, ways.Stepwise, ways.Stepwise)
	now = now.Add(time.Hour)
	all(ways.Stepwise, ways.Pipelined, ways.Chunked)
	m.Refute(ways.Pipelined, now) // BDAT comes in a group, too
	all(ways.Stepwise, ways.Stepwise, ways.Stepwise)
	now = now.Add(time.Hour)

	for range 4 {
		m.Silent(ways.Pipelined)
	}
	m.Worked(ways.Chunked)
	for range 4 {
		m.Silent(ways.Pipelined)
	}
	all(ways.Stepwise, ways.Pipelined, ways.Chunked)
	m.Silent(ways.Pipelined)
	expect(ways.Stepwise, ways.Stepwise, ways.Stepwise)
	expect(ways.Chunked, ways.Stepwise, ways.Pipelined) // one mail tries
	all(ways.Stepwise, ways.Pipelined, ways.Chunked)
	for range 5 {
		m.Silent(ways.Chunked)
	}
	expect(ways.Pipelined, ways.Pipelined, ways.Pipelined)
	expect(ways.Chunked, ways.Stepwise, ways.Chunked)
}
