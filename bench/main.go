// Command bench measures our worker beside Celery's, gocelery, and the least that
// Redis must do, in one run. The rounds are interleaved and the figures are medians:
// on a shared machine only ratios within one run mean anything.
//
//	make bench                                      all parts, fifteen minutes
//	go run ./bench -parts drain,latency -rounds 5   some of them
//	go run ./bench -document docs/performance.md    put the tables there
//
// The parts are drain (throughput and what it costs), latency, idle (start and
// idle), sizes (large messages), growth (longer queues, more tasks at once, more
// processes) and mails (over a relay with slow round trips). The figures:
//
//	tasks/s            while the worker is warm: from 2 % of the queue until it is empty, or the window is over
//	CPU s/10k          seconds of all processes of the worker for 10,000 tasks
//	Redis CPU s/10k    seconds of Redis for 10,000 tasks
//	Redis calls/task   commands for a task, those of scripts included
//	RSS MiB, PSS MiB   memory of all its processes: the most at any time, and with shared pages counted once
//	unaccounted tasks  messages less results, waiting and held ones, after the worker was stopped in order.
//	                   Above 0: lost. Below 0: done, and left to be run again. Ours must have 0, or bench fails.
//	p50, p99 ms        from LPUSH until SUCCESS is published, one task at a time, 10 ms apart
//	start ms           from the start of the process until the result of a task that waits for it
//	idle CPU %         of one processor, while there is nothing to do; and Redis calls a second
//	mails/s            tasks/s of a task that sends a mail
//	MB/s               tasks/s times the size of the message
//
// The ceiling claims, stores, announces and acknowledges in batches, and runs and
// decodes nothing. Celery is of the environment that "make setup" makes; its service
// profile and the default one are in bench/celery/benchapp.py. gocelery is built
// from the module e2e/gocelery. "evently-workers run" is the program, whose task
// health_check finds no database.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is what the parts measure with.
type bench struct {
	*server
	workers
	small    template
	window   time.Duration // the longest of one drain
	idleTime time.Duration
	singles  int // tasks that are sent one at a time
	mails    int // that are queued
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 3, "rounds, each with all workers")
	names := flag.String("parts", "drain,latency,idle,sizes,growth,mails", "comma-separated `parts` to measure")
	window := flag.Duration("window", 4*time.Second, "longest `time` of one drain")
	idleTime := flag.Duration("idle", 10*time.Second, "`time` of watching an idle worker")
	singles := flag.Int("singles", 200, "tasks that are sent one at a time")
	mails := flag.Int("mails", mailsQueued, "mails that are queued, in the part mails")
	python := flag.String("python", cached("celery-5/bin/python"), "Python with Celery")
	path := flag.String("document", "", "`file` whose generated part the tables replace")
	flag.Parse()
	chosen, err := choose(*names)
	if err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "evently-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{window: *window, idleTime: *idleTime, singles: *singles, mails: *mails}
	var end func()
	if b.server, end, err = startServer(ctx, dir); err != nil {
		return err
	}
	defer end()
	if b.workers, err = buildWorkers(ctx, dir, b.url, *python); err != nil {
		return err
	}
	if b.small, err = newTemplate("bench.noop", 0); err != nil {
		return err
	}
	head, err := b.head(ctx, *rounds)
	if err != nil {
		return err
	}
	for round := range *rounds {
		for _, p := range chosen {
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %s\n", time.Now().Format("15:04:05"), round+1, *rounds, p.name)
			if err := p.run(ctx, b, &p.section); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	var tables strings.Builder
	tables.WriteString(head + "\n\n")
	for _, p := range chosen {
		p.write(&tables)
	}
	fmt.Print(tables.String())
	if *path != "" {
		return document(*path, tables.String())
	}
	return nil
}

func choose(names string) (chosen []*part, err error) {
	all := parts()
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(p *part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no part %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// head says what was measured with.
func (b *bench) head(ctx context.Context, rounds int) (string, error) {
	versions, err := exec.CommandContext(ctx, b.python, "-c",
		"import platform, celery, kombu, redis; print(f'Celery {celery.__version__} with kombu {kombu.__version__}, redis-py {redis.__version__} and Python {platform.python_version()}')").Output()
	if err != nil {
		return "", fmt.Errorf("%s has no Celery, make setup installs it: %w", b.python, err)
	}
	redis, err := exec.CommandContext(ctx, "redis-server", "--version").Output()
	if err != nil {
		return "", err
	}
	_, version, _ := strings.Cut(string(redis), "v=")
	version, _, _ = strings.Cut(version, " ")
	return fmt.Sprintf("Medians of %d interleaved rounds on %s, on a machine with %d processors, with Redis %s, %s and %s.",
		rounds, time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), version, runtime.Version(), strings.TrimSpace(string(versions))), nil
}
