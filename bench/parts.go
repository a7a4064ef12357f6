package main

import (
	"context"
	"fmt"
)

// part is a piece of the benchmark with a table of its own.
type part struct {
	name string
	section
	run func(ctx context.Context, b *bench, s *section) error // one round
}

func parts() []*part {
	return []*part{
		{"drain", section{
			title:   "Throughput",
			text:    "A full queue of tasks that do nothing, with results. × is that of " + base + ".",
			columns: []column{{"tasks/s", true}, {"CPU s/10k", true}, {"Redis CPU s/10k", true}, {"Redis calls/task", false}, {"RSS MiB", false}, {"PSS MiB", false}, {"unaccounted tasks", false}},
		}, runDrain},
		{"latency", section{
			title:   "Latency",
			text:    "From LPUSH to the published SUCCESS, one task at a time.",
			columns: []column{{"p50 ms", true}, {"p99 ms", true}},
		}, runLatency},
		{"idle", section{
			title:   "Start and idle",
			text:    "From the start of the process to the result of a task that waits for it; then nothing to do.",
			columns: []column{{"start ms", true}, {"idle CPU %", false}, {"Redis calls/s", false}, {"RSS MiB", true}, {"PSS MiB", true}},
		}, runIdle},
		{"sizes", section{
			title:   "Large messages",
			text:    "Messages of one size, envelope included. × is that of the ceiling with the same size.",
			columns: []column{{"tasks/s", true}, {"MB/s", false}, {"CPU s/10k", false}, {"Redis CPU s/10k", true}},
		}, runSizes},
		{"growth", section{
			title:   "Growth",
			text:    "Ours, one thing changed at a time. × is that of the first line.",
			columns: []column{{"tasks/s", true}, {"CPU s/10k", true}, {"Redis CPU s/10k", true}, {"RSS MiB", false}, {"unaccounted tasks", false}},
		}, runGrowth},
		{"mails", section{
			title: "Mails",
			text: "A queue of mails of 6 kB (10,000 unless -mails says otherwise), over a relay with round trips of 20 ms, STARTTLS and AUTH; 8 at once. " +
				"× is that of a Celery worker that opens a connection for each mail by smtplib.",
			columns: []column{{"mails/s", true}, {"CPU s/10k", true}, {"Redis CPU s/10k", false}, {"RSS MiB", false}, {"unaccounted tasks", false}},
		}, runMails},
	}
}

func runDrain(ctx context.Context, b *bench, s *section) error {
	for _, w := range b.inDrain() {
		l := load{next: b.small, n: w.n}
		if w.old {
			l.next = oldTemplate
		}
		f, err := b.drain(ctx, w, l)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		s.add(w.name, base, f)
	}
	f, err := b.ceiling(ctx, load{next: b.small, n: 400_000}, 100)
	if err != nil {
		return fmt.Errorf("ceiling: %w", err)
	}
	s.add("ceiling: Redis alone, batches of 100", base, f)
	return nil
}

func runLatency(ctx context.Context, b *bench, s *section) error {
	for _, w := range []contender{b.celery(base, "service"), b.celery("Celery, its defaults", "default"), b.free(), b.us("ours, prefetch 1", 8, "-prefetch", "1")} {
		f, err := b.latency(ctx, w, b.small)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		s.add(w.name, base, f)
	}
	return nil
}

func runIdle(ctx context.Context, b *bench, s *section) error {
	for _, w := range []contender{b.celery(base, "service"), b.free(), b.service()} {
		next := b.small
		if w.task != "" {
			var err error
			if next, err = newTemplate(w.task, 0); err != nil {
				return err
			}
		}
		f, err := b.idle(ctx, w, next)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		s.add(w.name, base, f)
	}
	return nil
}

func runSizes(ctx context.Context, b *bench, s *section) error {
	for _, size := range []struct {
		name         string
		bytes        int
		n, celery, c int // messages for ours, for Celery, and for the ceiling
	}{
		{"1 KiB", 1 << 10, 100_000, 8_000, 150_000}, {"64 KiB", 64 << 10, 5_000, 2_000, 6_000}, {"1 MiB", 1 << 20, 300, 150, 500},
	} {
		next, err := newTemplate("bench.noop", size.bytes)
		if err != nil {
			return err
		}
		add := func(who string, f figures, err error) error {
			if err != nil {
				return fmt.Errorf("%s, %s: %w", who, size.name, err)
			}
			f["MB/s"] = f["tasks/s"] * float64(size.bytes) / 1e6
			s.add(size.name+": "+who, size.name+": ceiling", f)
			return nil
		}
		f, err := b.ceiling(ctx, load{next: next, n: size.c}, min(100, 8<<20/size.bytes))
		if err := add("ceiling", f, err); err != nil {
			return err
		}
		f, err = b.drain(ctx, b.free(), load{next: next, n: size.n})
		if err := add("ours", f, err); err != nil {
			return err
		}
		f, err = b.drain(ctx, b.celery(base, "service"), load{next: next, n: size.celery})
		if err := add(base, f, err); err != nil {
			return err
		}
	}
	return nil
}

func runGrowth(ctx context.Context, b *bench, s *section) error {
	const first = "100,000 queued, 8 at once, one process"
	several := func(n int) contender {
		w := b.free()
		w.processes = n
		return w
	}
	for _, g := range []struct {
		name string
		w    contender
		n    int
		per  int // messages that are queued at a time
	}{
		{first, b.free(), 100_000, 0},
		{"1,000 queued, and again", b.free(), 100_000, 1000},
		{"1,000,000 queued", b.free(), 1_000_000, 0},
		{"1 at once", b.us("", 1), 100_000, 0},
		{"200 at once", b.us("", 200), 100_000, 0},
		{"2 processes", several(2), 200_000, 0},
		{"8 processes", several(8), 200_000, 0},
	} {
		l := load{next: b.small, n: g.n}
		if g.per > 0 {
			l.portions = g.n / g.per
		}
		f, err := b.drain(ctx, g.w, l)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		s.add(g.name, first, f)
	}
	return nil
}
