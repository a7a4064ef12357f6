package ledger_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/storetest"
)

// BenchmarkWriter stores events of mails, two for each, with PostgreSQL. It reports events
// per second, and the processor time of this process and of PostgreSQL for one event.
func BenchmarkWriter(b *testing.B) {
	s := storetest.Postgres(b, "fsync=on", "shared_buffers=256MB")
	db, err := sqlx.Open("postgres", s.URL()+"&binary_parameters=yes")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	seal, err := ledger.NewSealer(ledger.SealerConfig{Key: operatorKey, Mask: mask})
	if err != nil {
		b.Fatal(err)
	}
	o := &outbox{}
	w, err := ledger.NewWriter(ledger.WriterConfig{DB: db, Outbox: o, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	stop := (&fixture{}).start(w)
	defer stop()
	for !w.Status().On {
		time.Sleep(time.Millisecond)
	}
	const mails = 5000
	for b.Loop() {
		b.StopTimer()
		entries := make([][]string, 0, 2*mails)
		for i := range mails {
			e := fullEvent()
			e.At = time.Now()
			e.FirstSeen, e.Attempt = e.At, 1
			e.Mail, e.TaskID = fmt.Sprintf("%032x", time.Now().UnixNano()+int64(i)), fmt.Sprint("task-", i)
			e.Address, e.UserID = fmt.Sprintf("user%d@example.com", i), int64(i)
			e.State = ledger.Sending
			entries = append(entries, ledger.Encode(e, seal))
			e.State = ledger.Accepted
			entries = append(entries, ledger.Encode(e, seal))
		}
		o.add(entries...)
		before, server, start := processorTime(b), serverTime(b, db), time.Now()
		b.StartTimer()
		for o.length() > 0 {
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(2*mails/time.Since(start).Seconds(), "events/s")
		b.ReportMetric(float64((processorTime(b)-before).Microseconds())/(2*mails), "µs-cpu/event")
		b.ReportMetric(float64((serverTime(b, db)-server).Microseconds())/(2*mails), "µs-cpu-postgres/event")
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverTime returns the processor time of all processes of the server, as Linux has it in
// /proc, to a hundredth of a second.
func serverTime(b *testing.B, db *sqlx.DB) (sum time.Duration) {
	b.Helper()
	var backend int
	if err := db.Get(&backend, "SELECT pg_backend_pid()"); err != nil {
		b.Fatal(err)
	}
	parent, _ := statOf(b, strconv.Itoa(backend))
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for _, folder := range folders {
		if of, used := statOf(b, filepath.Base(folder)); of == parent {
			sum += used
		}
	}
	return sum
}

// statOf returns the parent and the processor time of a process; "" for one that has ended.
func statOf(b *testing.B, pid string) (parent string, used time.Duration) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return "", 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest) // from the third on; see proc(5)
	const tick = 10 * time.Millisecond
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		used += time.Duration(n) * tick
	}
	return fields[1], used
}

// BenchmarkEncode is the cost of the ledger for the path of one mail, besides the bytes in
// Redis: two events.
func BenchmarkEncode(b *testing.B) {
	seal, err := ledger.NewSealer(ledger.SealerConfig{Key: operatorKey, Mask: mask})
	if err != nil {
		b.Fatal(err)
	}
	e := fullEvent()
	b.ReportAllocs()
	for b.Loop() {
		ledger.Encode(e, seal)
		ledger.Encode(e, seal)
	}
}
