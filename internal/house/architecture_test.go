package house_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/evently/workers"

// goPackage is what "go list -json" prints of a package, as far as it is asked
// here.
type goPackage struct {
	ImportPath   string
	Name         string
	Standard     bool     // part of Go itself
	Imports      []string // of the package without its tests
	TestImports  []string // of its tests inside
	XTestImports []string // of its tests outside
	Deps         []string // Imports, and theirs, down to the bottom
}

// boundary is one line that imports must not cross. Paths are those of this
// module ("worker" includes "worker/redis"), or whole ones of other modules.
type boundary struct {
	name     string
	from     []string // packages that the rule is for; none: all
	except   []string // of these, the ones that it is not for
	forbid   []string // must not be reached, not even through others
	stdOnly  bool     // nothing but the standard library, itself, and what allow names
	allow    []string
	importer bool // look at the import itself, also that of a test
}

// Imports point down only: a library that knows nothing of mail, mail that
// knows nothing of Celery, tasks that know nothing of Redis.
var boundaries = []boundary{
	{
		name:   "the worker library knows nothing of this service",
		from:   []string{"worker"},
		forbid: []string{"tasks", "mail", "store", "templates", "config", "monitor", "dev", "app", miniredis},
	}, {
		name:     "nor do its tests",
		from:     []string{"worker"},
		forbid:   []string{"tasks", "mail", "store", "templates", "config", "monitor", "dev", "app"},
		importer: true,
	}, {
		name:   "the engine knows its broker as an interface only",
		from:   []string{"worker", "worker/protocol"},
		except: []string{"worker/redis", "worker/workertest", "worker/conformance"},
		forbid: []string{"worker/redis", redigo},
	}, {
		name:   "only programs that import oteltrace link OpenTelemetry",
		from:   []string{"worker", "tasks", "mail", "store", "templates"},
		except: []string{"worker/oteltrace"},
		forbid: []string{otel, "worker/oteltrace"},
	}, {
		name:   "gRPC is not linked: it takes ten seconds of every first build",
		except: []string{"e2e"},
		forbid: []string{"google.golang.org/grpc"},
	}, {
		name:    "protocol is pure, but for the codecs of its bodies",
		from:    []string{"worker/protocol"},
		stdOnly: true,
		allow:   []string{brotli, xz, zstd},
	}, {
		name:   "tasks know nothing of Redis",
		from:   []string{"tasks"},
		forbid: []string{"worker/redis", redigo},
	}, {
		name:    "a circuit breaker knows nothing of what it guards",
		from:    []string{"internal/breaker"},
		stdOnly: true,
	}, {
		name:   "mail knows nothing of Celery",
		from:   []string{"mail"},
		forbid: []string{"worker"},
	}, {
		name:   "the ledger knows neither tasks nor mail, and of the engine only the interfaces of a broker",
		from:   []string{"store/ledger"},
		forbid: []string{"tasks", "mail", "templates", "config", "monitor", "app", "worker/redis", redigo},
	}, {
		name:   "templates know nothing but their data",
		from:   []string{"templates"},
		forbid: []string{"worker", "tasks", "mail", "store", "config", "monitor", "dev", "app"},
	}, {
		name:     "gomail composes, in mail, and does nothing else",
		except:   []string{"mail"},
		forbid:   []string{gomail},
		importer: true,
	}, {
		name:     "Redis commands live in one place",
		except:   []string{"worker/redis", "store/codes", "worker/conformance", "dev", "e2e", "internal/testkit", "torture", "bench"},
		forbid:   []string{redigo},
		importer: true,
	}, {
		// A test of worker/redis holds its scripts to what the embedded one knows.
		name:     "the embedded Redis is for trying things out",
		except:   []string{"dev", "worker/redis"},
		forbid:   []string{miniredis},
		importer: true,
	}, {
		name:   "the product has nothing of its tests in it",
		except: []string{"e2e", "internal/testkit", "torture"},
		forbid: []string{"internal/testkit"},
	}, {
		name:     "the program is imported by no package",
		forbid:   []string{module, "cmd"},
		importer: true,
	}, {
		name:     "the wiring is imported by the command line only",
		from:     []string{"tasks", "mail", "store", "config", "templates", "monitor", "internal", "torture", "bench", "e2e"},
		forbid:   []string{"app"},
		importer: true,
	}, {
		name:   "the development mode gets the worker from the command line; its tests take that of the wiring",
		from:   []string{"dev"},
		forbid: []string{"app"},
	}, {
		name:   "the wiring knows nothing of the command line",
		from:   []string{"app"},
		except: []string{"app/cli"},
		forbid: []string{"app/cli"},
	},
}

const (
	redigo    = "github.com/gomodule/redigo"
	gomail    = "gopkg.in/gomail.v2"
	miniredis = "github.com/alicebob/miniredis/v2"
	otel      = "go.opentelemetry.io/otel"
	brotli    = "github.com/andybalholm/brotli"
	xz        = "github.com/ulikunitz/xz"
	zstd      = "github.com/klauspost/compress"
)

// A thing lives with its owner; these names have none.
var ownerless = []string{"util", "utils", "common", "types", "models", "helpers", "misc", "shared"}

// TestArchitecture holds every import of the module to the boundaries.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	packages := list(t)
	for _, fault := range faults(packages, boundaries) {
		t.Error(fault)
	}
	// A rule about a package that is not there, or is called otherwise, would
	// hold for ever.
	for _, b := range boundaries {
		for _, p := range slices.Concat(b.from, b.except) {
			if !slices.ContainsFunc(packages, func(q goPackage) bool { return within(q.ImportPath, p) }) {
				t.Errorf("%s: no package %s", b.name, p)
			}
		}
	}
}

// TestArchitectureCanFail gives each boundary a module that crosses it in the
// most roundabout way that it speaks of.
func TestArchitectureCanFail(t *testing.T) {
	t.Parallel()
	for _, b := range boundaries {
		offender := "elsewhere"
		if len(b.from) > 0 {
			offender = b.from[len(b.from)-1]
		}
		targets := b.forbid
		if b.stdOnly {
			targets = []string{"example.org/foreign", "worker"}
		}
		for _, target := range targets {
			target := full(target)
			if target != module && strings.HasPrefix(target, module) {
				target += "/below" // a package below counts as well
			}
			bad := goPackage{ImportPath: full(offender), Name: path.Base(offender), Deps: []string{"fmt", target}}
			if b.importer {
				bad.Deps = nil
				bad.XTestImports = []string{target}
			}
			world := []goPackage{{ImportPath: "fmt", Standard: true}, bad}
			if got := faults(world, []boundary{b}); len(got) != 1 {
				t.Errorf("%s: %s imports %s: faults %q, want one", b.name, offender, target, got)
			}
		}
		for _, p := range b.except {
			good := goPackage{ImportPath: full(p), Name: path.Base(p), Deps: b.forbid, Imports: b.forbid}
			if got := faults([]goPackage{good}, []boundary{b}); len(got) != 0 {
				t.Errorf("%s: faults %q of %s, which may", b.name, got, p)
			}
		}
	}
	for _, name := range ownerless {
		if got := faults([]goPackage{{ImportPath: full("mail/" + name), Name: "x"}}, nil); len(got) != 1 {
			t.Errorf("folder %s: faults %q, want one", name, got)
		}
		if got := faults([]goPackage{{ImportPath: full("mail/x"), Name: name}}, nil); len(got) != 1 {
			t.Errorf("package %s: faults %q, want one", name, got)
		}
	}
}

// faults lists every crossing of a boundary, and every package without an owner.
func faults(packages []goPackage, boundaries []boundary) []string {
	standard := make(map[string]bool)
	for _, p := range packages {
		standard[p.ImportPath] = p.Standard
	}
	var found []string
	for _, p := range packages {
		if !within(p.ImportPath, module) {
			continue
		}
		if slices.Contains(ownerless, p.Name) || slices.Contains(ownerless, path.Base(p.ImportPath)) {
			found = append(found, fmt.Sprintf("package %s (%s) is named for nothing: move its parts to their owners", p.Name, p.ImportPath))
		}
		for _, b := range boundaries {
			if !b.concerns(p.ImportPath) {
				continue
			}
			imports := p.Deps
			if b.importer {
				imports = slices.Concat(p.Imports, p.TestImports, p.XTestImports)
				slices.Sort(imports)
				imports = slices.Compact(imports)
			}
			for _, imported := range imports {
				if b.forbids(imported, standard) {
					found = append(found, fmt.Sprintf("%s: %s imports %s", b.name, p.ImportPath, imported))
				}
			}
		}
	}
	return found
}

func (b boundary) concerns(importPath string) bool {
	in := func(p string) bool { return within(importPath, p) }
	return (len(b.from) == 0 || slices.ContainsFunc(b.from, in)) && !slices.ContainsFunc(b.except, in)
}

func (b boundary) forbids(imported string, standard map[string]bool) bool {
	if b.stdOnly && !standard[imported] {
		own := func(p string) bool { return within(imported, p) }
		return !slices.ContainsFunc(b.from, own) && !slices.ContainsFunc(b.allow, own)
	}
	return slices.ContainsFunc(b.forbid, func(p string) bool {
		if p == module { // the root package is the program, the rest lies below it
			return imported == module
		}
		return within(imported, p)
	})
}

// within reports whether importPath is the package or folder p, or below it.
func within(importPath, p string) bool {
	p = full(p)
	return importPath == p || strings.HasPrefix(importPath, p+"/")
}

// full completes a path of this module; those of others have a dot in front of
// the first slash.
func full(p string) string {
	if host, _, _ := strings.Cut(p, "/"); strings.Contains(host, ".") {
		return p
	}
	return module + "/" + p
}

// list asks Go for all packages of the module and all that they need.
func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Name,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v: %v\n%s", cmd, err, exit.Stderr)
		}
		t.Fatalf("%v: %v", cmd, err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			if len(packages) == 0 {
				t.Fatal("go list found no packages: this test would prove nothing")
			}
			return packages
		case err != nil:
			t.Fatalf("read the output of go list: %v", err)
		}
		packages = append(packages, p)
	}
}
