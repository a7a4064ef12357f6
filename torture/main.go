// Command torture breaks things while a worker works, counts what became of every
// task, and prints one table: our worker beside Celery's own, by the same harness
// in the same run.
//
//	go run ./torture                         the long form of all rows
//	go run ./torture -short -rows R1,R6      some rows, quickly
//	go run ./torture -seed 7                 with the chance of an earlier run
//	go run ./torture -worker 'command …'     another worker instead of ours
//	go run ./torture -document docs/reliability.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/torture/harness"
	"github.com/evently/workers/torture/rows"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	faults, err := run(ctx)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(2)
	case faults > 0:
		fmt.Fprintf(os.Stderr, "torture: %d goals are not reached\n", faults)
		os.Exit(1)
	}
}

func run(ctx context.Context) (faults int, err error) {
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "`seed` of all chance; that of an earlier run repeats it")
	short := flag.Bool("short", false, "run the short forms")
	only := flag.String("rows", "", "comma-separated `ids` of the rows to run; default: all but the soak")
	celery := flag.Bool("celery", true, "run Celery's own worker as well")
	document := flag.String("document", "", "`file` whose generated part the table replaces")
	soak := flag.Duration("soak", 20*time.Minute, "`length` of the soak")
	plot := flag.String("plot", "", "`file` that the soak is drawn into, as SVG")
	command := flag.String("worker", "", "`command` of a worker to run instead of ours, with {url}, {queue}, {name}, {concurrency}, {prefetch}, {visibility}, {grace}")
	flag.Parse()

	chosen, err := choose(*only)
	if err != nil {
		return 0, err
	}
	table := &harness.Table{Seed: *seed, Long: !*short, Date: time.Now().UTC()}
	var kind harness.Kind
	dir, err := os.MkdirTemp("", "torture-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if *command != "" {
		kind = harness.Command(*command)
	}
	broken := harness.Record(ctx, "prepare", os.Stdout, func(t testkit.T) {
		if *command == "" {
			kind = harness.Ours(harness.Build(t, dir, "testworker", harness.TestWorker))
		}
		table.Celery = output(t, testkit.Python(t, testkit.CeleryNew), "-c",
			"import celery, kombu, redis; print(f'Celery {celery.__version__} with kombu {kombu.__version__} and redis-py {redis.__version__}')")
		version := strings.Fields(output(t, "redis-server", "--version"))
		table.Redis = "Redis " + strings.TrimPrefix(version[2], "v=")
	})
	if len(broken) > 0 {
		return 0, fmt.Errorf("cannot begin: %s", broken[0])
	}
	fmt.Printf("torture: seed %d; -seed %[1]d repeats it\n", *seed)
	for _, row := range chosen {
		line := harness.Line{Row: row}
		// Side by side: so both meet the same machine, whatever else it does.
		var both sync.WaitGroup
		both.Go(func() { line.Ours = measure(ctx, row, kind, table, *soak, *plot) })
		if row.Celery && *celery {
			both.Go(func() { line.Celery = measure(ctx, row, harness.Celery(), table, *soak, *plot) })
		}
		both.Wait()
		if ctx.Err() != nil {
			break // what was cut off tells nothing; the lines before it do
		}
		table.Lines = append(table.Lines, line)
	}
	fmt.Println()
	table.Write(os.Stdout)
	if *document != "" && ctx.Err() == nil {
		if err := table.Replace(*document); err != nil {
			return 0, fmt.Errorf("write the table: %w", err)
		}
	}
	return table.Faults(), ctx.Err()
}

// choose returns the rows of a list of ids.
func choose(ids string) ([]harness.Row, error) {
	all := rows.All()
	if ids == "" {
		return slices.DeleteFunc(all, func(r harness.Row) bool { return r.Soak }), nil
	}
	var chosen []harness.Row
	for id := range strings.SplitSeq(ids, ",") {
		i := slices.IndexFunc(all, func(r harness.Row) bool { return r.ID == strings.TrimSpace(id) })
		if i < 0 {
			return nil, fmt.Errorf("no row %q", id)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func measure(ctx context.Context, row harness.Row, kind harness.Kind, table *harness.Table, soak time.Duration, plot string) *harness.Outcome {
	begin := time.Now()
	var figures string
	faults := harness.Record(ctx, row.ID+" "+kind.Name, os.Stdout, func(t testkit.T) {
		r := harness.NewRun(t, kind, table.Long, table.Seed)
		r.Soak, r.Plot = soak, plot
		// Also when the row gives up on its way.
		t.Cleanup(func() { figures = r.Figures() })
		row.Run(r)
	})
	o := &harness.Outcome{Figures: figures, Faults: faults, Took: time.Since(begin)}
	fmt.Printf("%s: %s: %d faults in %s\n", row.ID, kind.Name, len(faults), o.Took.Round(time.Second))
	return o
}

func output(t testkit.T, path string, args ...string) string {
	out, err := exec.CommandContext(t.Context(), path, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}
