package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// contender is a worker to be measured.
type contender struct {
	name      string
	argv, env []string
	processes int    // 0: one
	n         int    // messages to drain: more than it can in the time
	ours      bool   // whatever it leaves unaccounted for is a fault of the run
	old       bool   // reads protocol 1 only
	task      string // that it has; "": bench.noop
}

// base is what the others are compared with: the service that is to be replaced.
const base = "Celery, as in service"

// workers builds ours and gocelery's and knows how each is started.
type workers struct {
	redis, python                   string // URL, and an interpreter
	ours, mailer, program, gocelery string // paths of programs
}

func buildWorkers(ctx context.Context, dir, url, python string) (w workers, err error) {
	w = workers{
		redis: url, python: python,
		ours: filepath.Join(dir, "worker"), mailer: filepath.Join(dir, "mailer"),
		program: filepath.Join(dir, "evently-workers"), gocelery: filepath.Join(dir, "gocelery"),
	}
	for path, args := range map[string][]string{
		w.ours:     {"build", "-o", w.ours, "./bench/worker"},
		w.mailer:   {"build", "-o", w.mailer, "./bench/mailer"},
		w.program:  {"build", "-o", w.program, "."},
		w.gocelery: {"-C", "e2e/gocelery", "build", "-o", w.gocelery, "./worker"}, // a module of its own
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // static, as "make build" and the image have it
		if out, err := cmd.CombinedOutput(); err != nil {
			return w, fmt.Errorf("build %s: %w\n%s", filepath.Base(path), err, out)
		}
	}
	return w, nil
}

// us is a worker of the library, with so many tasks at once.
func (w workers) us(name string, concurrency int, args ...string) contender {
	argv := append([]string{w.ours, "-redis", w.redis, "-queue", queue, "-c", strconv.Itoa(concurrency)}, args...)
	return contender{name: name, argv: argv, n: 150_000, ours: true}
}

// free finds out by itself how many messages it holds, as the library does by default.
func (w workers) free() contender { return w.us("ours", 8) }

// celery is Celery's own worker with four processes, in a profile of benchapp.py.
func (w workers) celery(name, profile string) contender {
	return contender{
		name: name, n: 20_000,
		argv: []string{w.python, "-m", "celery", "--workdir", "bench/celery", "-A", "benchapp", "worker", "-l", "ERROR", "-P", "prefork", "-c", "4"},
		env:  []string{"BROKER=" + w.redis, "PROFILE=" + profile, "C_FORCE_ROOT=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONWARNINGS=ignore"},
	}
}

// service is the whole program, with its mails and without a database.
func (w workers) service() contender {
	return contender{
		name: "evently-workers run", argv: []string{w.program, "run"}, ours: true, task: "health_check",
		env: []string{"REDIS_URL=" + w.redis, "QUEUES=" + queue, "DB_HOST=127.0.0.1", "DB_PORT=1", "HEALTH_ADDR=127.0.0.1:0", "MONITOR_ADDR=off", "LOG_LEVEL=warn"},
	}
}

// inDrain returns the contenders that empty a queue.
func (w workers) inDrain() []contender {
	return []contender{
		w.celery(base, "service"),
		w.celery("Celery, its defaults", "default"),
		w.free(),
		w.us("ours, prefetch 1", 8, "-prefetch", "1"),
		w.us("ours, events on", 8, "-E"),
		w.us("ours, STARTED stored", 8, "-track"),
		// It asks for one message in a tenth of a second: with 8 at once it does 80 a second.
		{name: "gocelery, 500 at once", argv: []string{w.gocelery, "-redis", w.redis, "-queue", queue, "-c", "500"}, n: 40_000, old: true},
	}
}

// cached is where .ci/setup puts its environments.
func cached(path string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "python3"
	}
	return filepath.Join(dir, "evently-workers", path)
}
