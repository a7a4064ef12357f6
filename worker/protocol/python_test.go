package protocol_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker/protocol"
)

// The environments with real kombu, by the names that "make setup" gives them.
var environments = []string{"celery-5.2", "celery-5"}

// peer is a Python process that answers requests; see testdata/peer.py.
type peer struct {
	name  string
	in    *json.Encoder
	lines *bufio.Scanner
	errs  *bytes.Buffer
}

// answer is what the peer prints for a request.
type answer struct {
	Case        string
	Serializer  string
	Compression string
	Raw         []byte
	Value       string // JSON of the value
	Want        string // JSON of the arguments as kombu reads them
	Error       string
	Done        bool
	OK          bool
	Got         string
	Loads       bool // it is read, but has no form in JSON
}

func startPeer(t testing.TB, environment string) *peer {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	python := filepath.Join(cache, "evently-workers", environment, "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("no environment with %s: %v; run make setup", environment, err)
	}
	check := exec.CommandContext(t.Context(), python, "-c", "import brotli, msgpack, yaml")
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("the environment with %s is not of today: %s; run make setup", environment, bytes.TrimSpace(out))
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/peer.py")
	p := &peer{name: environment, errs: &bytes.Buffer{}}
	cmd.Stderr = p.errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait() // what it has to say was said in an answer
	})
	p.in, p.lines = json.NewEncoder(stdin), bufio.NewScanner(stdout)
	p.lines.Buffer(nil, 16<<20)
	return p
}

func (p *peer) send(t testing.TB, request map[string]any) {
	t.Helper()
	if err := p.in.Encode(request); err != nil {
		t.Fatalf("%s: %v\n%s", p.name, err, p.errs)
	}
}

func (p *peer) receive(t testing.TB) answer {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("%s ended: %v\n%s", p.name, p.lines.Err(), p.errs)
	}
	var a answer
	if err := json.Unmarshal(p.lines.Bytes(), &a); err != nil {
		t.Fatalf("%s printed %.200q: %v", p.name, p.lines.Text(), err)
	}
	return a
}

func (p *peer) ask(t testing.TB, request map[string]any) answer {
	t.Helper()
	p.send(t, request)
	return p.receive(t)
}

// written returns all that the peer publishes.
func (p *peer) written(t testing.TB) []answer {
	t.Helper()
	p.send(t, map[string]any{"op": "write"})
	var all []answer
	for {
		a := p.receive(t)
		if a.Done {
			return all
		}
		if a.Case == "" {
			t.Fatalf("%s: %+v", p.name, a)
		}
		all = append(all, a)
	}
}

// Bodies of kombu in every serializer and compression are read as the text that kombu's
// JSON would be.
func TestPythonWrites(t *testing.T) {
	want := map[string]string{} // of the newest kombu: older ones have no types in JSON
	values := map[string]string{}
	newest := startPeer(t, "celery-5").written(t)
	for _, a := range newest {
		if a.Raw != nil {
			want[a.Case+a.Serializer] = a.Want
			values[a.Case] = a.Value
		}
	}
	const keys = "keys that are no texts"
	want[keys+"msgpack"] = "[" + values[keys] + "]" // Python does not read what it wrote
	for _, environment := range environments {
		t.Run(environment, func(t *testing.T) {
			all := newest
			if environment != "celery-5" {
				all = startPeer(t, environment).written(t)
			}
			read := map[string]int{}
			for _, a := range all {
				if a.Raw == nil {
					continue // kombu has no form for it
				}
				name := a.Case + ", " + a.Serializer + ", " + a.Compression
				want := want[a.Case+a.Serializer]
				if a.Serializer == "json" {
					want = or(a.Want, want)
				}
				m, err := everything.Decode(a.Raw)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if string(m.Args) != want {
					t.Errorf("%s:\n got %.300s\nwant %.300s", name, m.Args, want)
				}
				if kwargs := `{"kwarg": ` + want[1:len(want)-1] + `}`; string(m.Kwargs) != kwargs {
					t.Errorf("%s: kwargs %.300s", name, m.Kwargs)
				}
				read[a.Serializer+" "+m.Compression]++
			}
			for _, serializer := range []string{"json", "yaml", "msgpack"} {
				for _, compression := range []string{"", "application/x-gzip", "application/x-bz2", "application/x-lzma", "application/x-brotli", "application/zstd"} {
					if n := read[serializer+" "+compression]; n < 3 {
						t.Errorf("only %d messages in %s, compressed by %q", n, serializer, compression)
					}
				}
			}
		})
	}
}

// kombu reads the written bodies as the same values, type by type. Values that Python's
// serializers refuse are errors here, too.
func TestPythonReads(t *testing.T) {
	values := map[string]string{}
	refused := map[string]bool{}
	for _, a := range startPeer(t, "celery-5").written(t) {
		if a.Value != "" {
			values[a.Case] = a.Value
		}
		if a.Error != "" {
			refused[a.Case+a.Serializer] = true
		}
	}
	if len(values) < 20 || len(refused) < 5 {
		t.Fatalf("only %d values, %d without a form", len(values), len(refused))
	}
	for _, environment := range environments {
		t.Run(environment, func(t *testing.T) {
			p := startPeer(t, environment)
			read := 0
			for i, name := range slices.Sorted(maps.Keys(values)) {
				value := values[name]
				compressions := []string{"gzip", "xz", "brotli", "zstandard"}
				if name != "many" {
					compressions = []string{"", compressions[i%4]}
				}
				for _, serializer := range []string{"json", "yaml", "msgpack"} {
					if serializer == "json" && environment == "celery-5.2" && strings.Contains(value, `"__type__"`) {
						continue // which are just objects there
					}
					for _, compression := range compressions {
						m := &protocol.Message{ID: "i", Task: "t", DeliveryTag: "d",
							Args: protocol.Raw("[" + value + "]"), Kwargs: protocol.Raw(`{"kwarg": ` + value + `}`)}
						raw, err := protocol.EncodeAs(m, protocol.EncodeOptions{Serializer: serializer, Compression: compression})
						if refused[name+serializer] {
							if err == nil {
								t.Errorf("%s, %s: written, but Python has no form for it", name, serializer)
							}
							break
						}
						if err != nil {
							t.Errorf("%s, %s, %s: %v", name, serializer, compression, err)
							continue
						}
						if a := p.ask(t, map[string]any{"op": "read", "case": name, "raw": raw}); !a.OK {
							t.Errorf("%s, %s, %s: %s read %s%s", name, serializer, compression, environment, a.Got, a.Error)
						}
						read++
					}
				}
			}
			if read < 80 {
				t.Errorf("only %d messages read", read)
			}
		})
	}
}

// Results, too, in both directions; the compression of Celery 5.7 included.
func TestPythonResults(t *testing.T) {
	p := startPeer(t, "celery-5")
	for _, serializer := range []string{"json", "yaml", "msgpack"} {
		for _, compression := range []string{"", "zlib", "bzip2", "zstd"} {
			name := serializer + ", " + compression
			a := p.ask(t, map[string]any{"op": "result", "serializer": serializer, "compression": compression})
			r, err := everything.DecodeResult(a.Raw, serializer)
			if err != nil {
				t.Fatalf("%s: %v %s", name, err, a.Error)
			}
			want := `{"ok": true, "price": 1.0}`
			if serializer == "yaml" {
				want = `{"ok": true, "raw": {"__type__": "base64", "__value__": "/w=="}, "when": {"__type__": "date", "__value__": "2026-01-31"}}`
			}
			if got := fmt.Sprintf("%s", r.Result); got != want || r.Status != "SUCCESS" || r.TaskID != "i" || r.DateDone.IsZero() {
				t.Errorf("%s: %s, %+v", name, got, r)
			}
			if compression == "bzip2" {
				continue
			}
			b, err := protocol.EncodeResultAs(r, protocol.EncodeOptions{Serializer: serializer, Compression: compression})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			json, err := protocol.EncodeResult(r)
			if err != nil {
				t.Fatal(err)
			}
			if a := p.ask(t, map[string]any{"op": "result", "serializer": serializer, "raw": b}); a.Got != string(json) {
				t.Errorf("%s:\n got %s %s\nwant %s", name, a.Got, a.Error, json)
			}
		}
	}
}
