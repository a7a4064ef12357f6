package main

import (
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
	p.cmd.Env = append(os.Environ(), env...)
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

// stop asks the process to end, and makes it end after a while.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
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

// usage is what the processes of a session have used.
type usage struct {
	cpu time.Duration // with that of children that have ended
	rss int64         // bytes, summed up
}

const tick = 10 * time.Millisecond // of the times in /proc: USER_HZ is 100 on all systems that Go runs on

// usage reads /proc, as only Linux has it.
func (p *process) usage() (u usage, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, err
	}
	if len(files) == 0 {
		return u, errors.New("no /proc/<pid>/stat: the benchmark measures on Linux only")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// proc(5): what follows the name in parentheses, from field 3 on.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 22 || fields[3] != strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		for _, i := range []int{11, 12, 13, 14} {
			ticks, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return u, fmt.Errorf("%s: %w", f, err)
			}
			u.cpu += time.Duration(ticks) * tick
		}
		pages, err := strconv.ParseInt(fields[21], 10, 64)
		if err != nil {
			return u, fmt.Errorf("%s: %w", f, err)
		}
		u.rss += pages * int64(os.Getpagesize())
	}
	return u, nil
}
