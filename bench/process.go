package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program under test with all that it forks: a session of its own.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan error
}

func startProcess(ctx context.Context, env []string, argv ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), done: make(chan error, 1)}
	// Nothing of the developer's may reach the program.
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// stop asks the process to end, and makes it end after a while. It may be called
// again.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(15 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		p.done <- <-p.done
	}
}

// ended returns an error when the process is there no more.
func (p *process) ended() error {
	select {
	case err := <-p.done:
		p.done <- err
		return errors.Join(fmt.Errorf("%s has ended: %s", p.cmd.Path, p.out.String()), err)
	default:
		return nil
	}
}

// fleet is all processes of a contender.
type fleet []*process

func (f fleet) stop() {
	for _, p := range f { // all at once
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range f {
		p.stop()
	}
}

func (f fleet) ended() error {
	var errs []error
	for _, p := range f {
		errs = append(errs, p.ended())
	}
	return errors.Join(errs...)
}

// usage is what processes have used.
type usage struct {
	cpu time.Duration // with that of children that have ended
	rss int64         // bytes, summed up
	pss int64         // the same with pages that several share counted once
}

const tick = 10 * time.Millisecond // of the times in /proc: USER_HZ is 100 on all systems that Go runs on

// usage reads /proc, as only Linux has it.
func (f fleet) usage() (u usage, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, err
	}
	if len(files) == 0 {
		return u, errors.New("no /proc/<pid>/stat: the benchmark measures on Linux only")
	}
	sessions := map[string]bool{}
	for _, p := range f {
		sessions[strconv.Itoa(p.cmd.Process.Pid)] = true
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// proc(5): what follows the name in parentheses, from field 3 on.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 22 || !sessions[fields[3]] {
			continue
		}
		for _, i := range []int{11, 12, 13, 14} {
			ticks, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return u, fmt.Errorf("%s: %w", file, err)
			}
			u.cpu += time.Duration(ticks) * tick
		}
		pages, err := strconv.ParseInt(fields[21], 10, 64)
		if err != nil {
			return u, fmt.Errorf("%s: %w", file, err)
		}
		u.rss += pages * int64(os.Getpagesize())
		u.pss += pss(filepath.Dir(file))
	}
	return u, nil
}

// pss is the proportional size of a process in bytes; 0 when it has ended.
func pss(dir string) int64 {
	f, err := os.Open(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(lines.Text(), "Pss: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
