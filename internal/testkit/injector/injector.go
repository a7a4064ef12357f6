// Package injector is a proxy in front of a Redis server that understands what
// passes, and can answer chosen commands with an error instead of the server.
package injector

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Rule says what is answered with an error.
type Rule struct {
	// Command is the name of a command in upper case, such as "BLMOVE", or for a
	// script a phrase of its text.
	Command string
	Error   string // first word and text, such as "LOADING still at it"
}

// Injector forwards connections to one Redis server. Make one with New, and Close
// it.
type Injector struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	rule    Rule
	hits    int
	scripts map[string]string // text by its hash
	conns   map[net.Conn]struct{}
	closed  bool
}

// New listens on a free port of 127.0.0.1 and forwards to target, host:port.
func New(target string) (*Injector, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("injector for %s: %w", target, err)
	}
	p := &Injector{target: target, listener: l, scripts: map[string]string{}, conns: map[net.Conn]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the address that clients connect to, host:port.
func (p *Injector) Addr() string { return p.listener.Addr().String() }

// Set puts a rule into force; the zero one lets all pass.
func (p *Injector) Set(r Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule, p.hits = r, 0
}

// Hits counts what the rule in force has hit.
func (p *Injector) Hits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits
}

// Close cuts all connections and waits until all goroutines have ended.
func (p *Injector) Close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// track notes a connection for Close; false: it is too late.
func (p *Injector) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Injector) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *Injector) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && p.track(c) {
			p.running.Go(func() { p.serve(c) })
		}
	}
}

// serve takes one command after the other, each with its answer: so an answer of
// our own is in its place, however the client pipelines.
func (p *Injector) serve(client net.Conn) {
	defer p.drop(client)
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil || !p.track(server) {
		return
	}
	defer p.drop(server)
	in, answers := bufio.NewReader(client), bufio.NewReader(server)
	for {
		raw, words, err := readCommand(in)
		if err != nil {
			return
		}
		if text, ok := p.refuse(words); ok {
			if _, err := fmt.Fprintf(client, "-%s\r\n", text); err != nil {
				return
			}
			continue
		}
		if _, err := server.Write(raw); err != nil {
			return
		}
		switch strings.ToUpper(string(words[0])) {
		case "SUBSCRIBE", "PSUBSCRIBE":
			// From here on the server speaks unasked.
			p.running.Go(func() { _, _ = io.Copy(server, in); server.Close() })
			_, _ = io.Copy(client, answers)
			return
		}
		if err := copyAnswer(client, answers); err != nil {
			return
		}
	}
}

// refuse returns the error that a command is answered with, if it is.
func (p *Injector) refuse(words [][]byte) (text string, ok bool) {
	name := strings.ToUpper(string(words[0]))
	p.mu.Lock()
	defer p.mu.Unlock()
	hit := name == p.rule.Command
	if len(words) > 1 {
		script := ""
		switch name {
		case "EVAL":
			script = string(words[1])
			sum := sha1.Sum(words[1])
			p.scripts[hex.EncodeToString(sum[:])] = script
		case "EVALSHA":
			script = p.scripts[string(words[1])]
		}
		// Redis never says of a text that it does not know it.
		unnatural := name == "EVAL" && strings.HasPrefix(p.rule.Error, "NOSCRIPT")
		hit = hit || script != "" && p.rule.Command != "" && strings.Contains(script, p.rule.Command) && !unnatural
	}
	if !hit || p.rule.Command == "" {
		return "", false
	}
	p.hits++
	return p.rule.Error, true
}

var errProtocol = errors.New("not the protocol of Redis")

// readCommand reads an array of strings, and returns it also as it came.
func readCommand(r *bufio.Reader) (raw []byte, words [][]byte, err error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, nil, err
	}
	raw = append(raw, line...)
	n, err := number(line, '*')
	if err != nil || n < 1 {
		return nil, nil, errProtocol
	}
	for range n {
		if line, err = r.ReadBytes('\n'); err != nil {
			return nil, nil, err
		}
		size, err := number(line, '$')
		if err != nil || size < 0 {
			return nil, nil, errProtocol
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, nil, err
		}
		raw = append(append(raw, line...), word...)
		words = append(words, word[:size])
	}
	return raw, words, nil
}

func number(line []byte, kind byte) (int, error) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) < 2 || line[0] != kind {
		return 0, errProtocol
	}
	return strconv.Atoi(string(line[1:]))
}

// copyAnswer hands one whole answer on.
func copyAnswer(w io.Writer, r *bufio.Reader) error {
	var whole bytes.Buffer
	if err := readAnswer(&whole, r); err != nil {
		return err
	}
	_, err := w.Write(whole.Bytes())
	return err
}

func readAnswer(to *bytes.Buffer, r *bufio.Reader) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	to.Write(line)
	switch line[0] {
	case '$':
		n, err := number(line, '$')
		if err != nil || n < 0 {
			return err
		}
		_, err = io.CopyN(to, r, int64(n)+2)
		return err
	case '*':
		n, err := number(line, '*')
		for i := 0; err == nil && i < n; i++ {
			err = readAnswer(to, r)
		}
		return err
	}
	return nil
}
