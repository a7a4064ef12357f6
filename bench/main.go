// Command bench measures our worker beside Celery's, in one run: how fast each
// empties a full queue, what that costs, and how long a single task takes. The
// rounds are interleaved and the figures are medians: on a shared machine only
// ratios within one run mean anything.
//
//	make bench
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// contender is a worker to be measured.
type contender struct {
	name string
	argv []string
	env  []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 5, "rounds, each with all workers")
	n := flag.Int("n", 40_000, "messages to drain")
	window := flag.Duration("window", 5*time.Second, "longest time of one drain")
	singles := flag.Int("singles", 200, "tasks that are sent one at a time")
	python := flag.String("python", cached("celery-5/bin/python"), "Python with Celery")
	flag.Parse()

	dir, err := os.MkdirTemp("", "evently-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours := filepath.Join(dir, "worker")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", ours, "./bench/worker").CombinedOutput(); err != nil {
		return fmt.Errorf("build our worker: %w\n%s", err, out)
	}
	s, end, err := startServer(ctx, dir)
	if err != nil {
		return err
	}
	defer end()
	celery := func(prefetch string, args ...string) contender {
		argv := []string{*python, "-m", "celery", "--workdir", "bench/celery", "-A", "benchapp", "worker", "-l", "ERROR"}
		return contender{argv: append(argv, args...), env: []string{"BROKER=" + s.url, "PREFETCH=" + prefetch, "C_FORCE_ROOT=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore"}}
	}
	us := func(args ...string) contender {
		return contender{argv: append([]string{ours, "-redis", s.url, "-queue", queue}, args...)}
	}
	all := []contender{
		named("Celery, prefork 4", celery("1", "-P", "prefork", "-c", "4")),
		named("Celery, prefork 4, prefetch 4", celery("4", "-P", "prefork", "-c", "4")),
		named("ours, 8 at once", us("-c", "8")),
		named("ours, 8 at once, prefetch 1", us("-c", "8", "-prefetch", "1")),
		named("ours, 8 at once, with events", us("-c", "8", "-E")),
	}
	measured := map[string][]figures{}
	for round := range *rounds {
		for _, w := range all {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, *rounds, w.name)
			f, err := s.drain(ctx, w, *n, *window)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			single, err := s.latency(ctx, w, *singles)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			f.p50, f.p99 = single.p50, single.p99
			measured[w.name] = append(measured[w.name], f)
		}
	}
	return report(os.Stdout, all, measured)
}

func named(name string, c contender) contender {
	c.name = name
	return c
}

// cached is where .ci/setup puts its environments.
func cached(path string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "python3"
	}
	return filepath.Join(dir, "evently-workers", path)
}

// startServer starts a Redis without persistence on a free port.
func startServer(ctx context.Context, dir string) (s server, end func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return s, nil, err
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	p, err := startProcess(ctx, nil, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	if err != nil {
		return s, nil, err
	}
	s.url = "redis://127.0.0.1:" + port + "/0"
	for range 200 {
		if s.Conn, err = redigo.DialURLContext(ctx, s.url, redigo.DialReadTimeout(30*time.Second), redigo.DialWriteTimeout(30*time.Second)); err == nil {
			return s, func() { s.Close(); p.stop() }, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return s, nil, fmt.Errorf("redis-server does not answer: %w\n%s", err, p.out.String())
}

// report prints medians, and how they compare with the first of all.
func report(out io.Writer, all []contender, measured map[string][]figures) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "worker\ttasks/s\t×\tCPU s/10k\t1/×\tRedis CPU s/10k\t1/×\tRSS MiB\tp50 ms\tp99 ms\t")
	base := measured[all[0].name]
	for _, w := range all {
		fs := measured[w.name]
		of := func(v func(figures) float64) (m, ratio float64) { m = median(fs, v); return m, m / median(base, v) }
		rate, rateX := of(func(f figures) float64 { return f.perSecond })
		cpu, cpuX := of(func(f figures) float64 { return f.cpu })
		rcpu, rcpuX := of(func(f figures) float64 { return f.redisCPU })
		rss, _ := of(func(f figures) float64 { return float64(f.rss) / (1 << 20) })
		p50, _ := of(func(f figures) float64 { return f.p50.Seconds() * 1e3 })
		p99, _ := of(func(f figures) float64 { return f.p99.Seconds() * 1e3 })
		fmt.Fprintf(t, "%s\t%.0f\t%.1f\t%.2f\t%.1f\t%.2f\t%.1f\t%.0f\t%.2f\t%.2f\t\n", w.name, rate, rateX, cpu, 1/cpuX, rcpu, 1/rcpuX, rss, p50, p99)
	}
	return t.Flush()
}

func median(fs []figures, v func(figures) float64) float64 {
	vs := make([]float64, len(fs))
	for i, f := range fs {
		vs[i] = v(f)
	}
	slices.SortFunc(vs, cmp.Compare)
	return vs[len(vs)/2]
}
