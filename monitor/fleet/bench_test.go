package fleet_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/worker/protocol"
)

// mails returns messages with the events of n tasks in batches of 99, as a Python worker or
// one of this library sends them.
func mails(b *testing.B, n int) [][]byte {
	b.Helper()
	var all [][]byte
	var batch []fields
	for i := range n {
		id := uuid.NewString()
		at := 1_800_000_000 + float64(i)/10_000
		node := fmt.Sprintf("celery@worker-%d", i%20)
		base := func(kind string, more fields) {
			e := fields{"type": kind, "uuid": id, "hostname": node, "timestamp": at, "clock": i, "pid": 7, "utcoffset": 0}
			for name, value := range more {
				e[name] = value
			}
			batch = append(batch, e)
		}
		base("task-received", fields{
			"name": "tasks.send_booking_confirmation", "args": "()", "root_id": id, "parent_id": nil, "retries": 0, "eta": nil, "expires": nil,
			"kwargs": fmt.Sprintf("{'user_id': 'usr_%d', 'booking': {'id': 'bk_%d', 'title': 'Concert', 'price': '12.50'}, 'email': 'anna.%d@example.com', 'otp': '%06d'}", i, i, i, i%1_000_000),
		})
		base("task-started", nil)
		base("task-succeeded", fields{"result": "{'success': True, 'message_id': '<x@example.com>'}", "runtime": 0.25})
		if len(batch) >= 99 {
			all = append(all, message(b, batch...))
			batch = nil
		}
	}
	if len(batch) > 0 {
		all = append(all, message(b, batch...))
	}
	return all
}

// BenchmarkEvents takes in the events of tasks with 100,000 of them in memory. An operation
// is one event. MiB is what all of them cost.
func BenchmarkEvents(b *testing.B) {
	const tasks = 100_000
	messages := mails(b, tasks)
	fresh := mails(b, tasks/4)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := &clock{time.Unix(1_800_000_000, 0)}
	s, err := fleet.New(fleet.Config{Now: c.Now})
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range messages {
		s.Take(m)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	status := s.Status()
	if status.Tasks != tasks || status.DroppedTasks != 0 {
		b.Fatalf("status %+v", status)
	}
	b.ReportAllocs()
	begun := cpu(b)
	for i := 0; b.Loop(); i++ {
		if i%99 == 0 {
			s.Take(fresh[i/99%len(fresh)])
		}
	}
	b.ReportMetric(float64(cpu(b)-begun)/float64(b.N), "cpu-ns/event")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
	b.ReportMetric(float64(status.Bytes)/(1<<20), "MiB-counted")
	runtime.KeepAlive(messages)
}

// cpu returns the time that this process has used of processors, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkDecode reads events and keeps nothing.
func BenchmarkDecode(b *testing.B) {
	messages := mails(b, 330)
	var d protocol.Decoder
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%99 == 0 {
			if err := d.EachEvent(messages[i/99%len(messages)], func(protocol.Raw) {}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkTasks looks at a page of 100,000 tasks.
func BenchmarkTasks(b *testing.B) {
	c := &clock{time.Unix(1_800_000_000, 0)}
	s, err := fleet.New(fleet.Config{Now: c.Now})
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range mails(b, 100_000) {
		s.Take(m)
	}
	for name, f := range map[string]fleet.Filter{"all": {Limit: 50}, "state": {Limit: 50, States: []string{fleet.Failure}}, "search": {Limit: 50, Search: "bk_77777"}} {
		b.Run(name, func(b *testing.B) {
			begun := cpu(b)
			for b.Loop() {
				if _, err := s.Tasks(f); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpu(b)-begun)/float64(b.N), "cpu-ns/page")
		})
	}
}
