package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// load is what a worker finds in its queue: n messages, all at once or, with
// portions, the next ones when it has done the ones before.
type load struct {
	next        template
	n, portions int
}

// drained is how a worker empties a queue. The clock runs while it is warm, for at
// most window.
type drained struct {
	*server
	fleet    fleet
	load     load
	portions int // that are still to come
	waiting  int // when it was last asked
	held     int
	usage    usage
	sampled  time.Time
	rss      int64 // bytes, the most
}

// drain lets a contender work on a full queue, and afterwards accounts for every
// message.
func (b *bench) drain(ctx context.Context, w contender, l load) (figures, error) {
	d := &drained{server: b.server, load: l}
	if err := d.fill(); err != nil {
		return nil, err
	}
	for range max(w.processes, 1) {
		p, err := startProcess(ctx, w.env, w.argv...)
		if err != nil {
			return nil, err
		}
		d.fleet = append(d.fleet, p)
		defer p.stop()
	}
	if err := d.until(ctx, func(left int) bool { return left <= l.n-min(l.n/50, 2000) }); err != nil {
		return nil, fmt.Errorf("wait for the first tasks: %w", err)
	}
	began, first := time.Now(), d.left()
	before, err := d.served()
	if err != nil {
		return nil, err
	}
	if err := d.sample(); err != nil {
		return nil, err
	}
	cpu := d.usage.cpu
	if err := d.until(ctx, func(left int) bool { return left == 0 || time.Since(began) > b.window }); err != nil {
		return nil, fmt.Errorf("wait for the end: %w", err)
	}
	took, tasks := time.Since(began).Seconds(), float64(first-d.left())
	if err := d.sample(); err != nil {
		return nil, err
	}
	after, err := d.served()
	if err != nil {
		return nil, err
	}
	if tasks == 0 {
		return nil, fmt.Errorf("nothing was done in %.1f s", took)
	}
	f := figures{
		"tasks/s":           tasks / took,
		"CPU s/10k":         (d.usage.cpu - cpu).Seconds() / tasks * 1e4,
		"Redis CPU s/10k":   (after.cpu - before.cpu) / tasks * 1e4,
		"Redis calls/task":  float64(after.commands-before.commands) / tasks,
		"RSS MiB":           float64(d.rss) / (1 << 20),
		"PSS MiB":           float64(d.usage.pss) / (1 << 20),
		"MB/s":              0, // for messages of a known size
		"unaccounted tasks": 0,
	}
	d.fleet.stop()
	lost, err := d.unaccounted()
	if err != nil {
		return nil, err
	}
	if lost != 0 && w.ours {
		return nil, fmt.Errorf("%d messages of %d are unaccounted for", lost, l.n)
	}
	f["unaccounted tasks"] = float64(lost)
	return f, nil
}

// fill puts the messages into the queue, or what is to become it.
func (d *drained) fill() error {
	if _, err := d.Do("FLUSHDB"); err != nil {
		return err
	}
	d.portions = max(d.load.portions, 1)
	for i := range d.portions {
		if err := d.server.fill(portion(i), d.load.next, d.load.n/d.portions); err != nil {
			return err
		}
	}
	return d.ask()
}

func portion(i int) string { return fmt.Sprintf("stock:%d", i) }

// left is what waits, is held, or is still to come.
func (d *drained) left() int {
	return d.waiting + d.held + d.portions*(d.load.n/max(d.load.portions, 1))
}

// ask looks at the queue, and puts the next portion into an empty one.
func (d *drained) ask() (err error) {
	if d.waiting, d.held, err = d.server.left(); err != nil {
		return err
	}
	if d.waiting > 0 || d.portions == 0 {
		return nil
	}
	d.portions--
	if _, err := d.Do("RENAME", portion(d.portions), queue); err != nil {
		return err
	}
	d.waiting, d.held, err = d.server.left()
	return err
}

// until asks for what is left until ok.
func (d *drained) until(ctx context.Context, ok func(left int) bool) error {
	pause := 10 * time.Millisecond
	if d.load.portions > 1 {
		pause = time.Millisecond // the worker waits for the next one
	}
	for end := time.Now().Add(2 * time.Minute); ; {
		if err := d.ask(); err != nil {
			return err
		}
		if ok(d.left()) {
			return nil
		}
		if time.Since(d.sampled) > 200*time.Millisecond {
			if err := errors.Join(d.fleet.ended(), d.sample()); err != nil {
				return err
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d messages are left after two minutes: %s", d.left(), d.fleet[0].out.String())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// sample looks at the processes.
func (d *drained) sample() (err error) {
	d.sampled = time.Now()
	d.usage, err = d.fleet.usage()
	d.rss = max(d.rss, d.usage.rss)
	return err
}

// unaccounted is the number of messages that are neither done nor there, after the
// worker has stopped. Below 0: some are done and will be run again.
func (d *drained) unaccounted() (int, error) {
	results, err := d.results()
	if err != nil {
		return 0, err
	}
	waiting, held, err := d.server.left()
	if err != nil {
		return 0, err
	}
	return d.load.n - results - waiting - held - d.portions*(d.load.n/max(d.load.portions, 1)), nil
}
