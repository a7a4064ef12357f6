package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the documents anew")

const (
	compatibility = "../../docs/compatibility.md"
	conformance   = "../../docs/conformance.md"
	// The text between these lines in a document is generated.
	beginMark = "<!-- generated from worker/conformance/harness: make documents -->"
	endMark   = "<!-- end of the generated part -->"
)

// suiteTest is one line of harness/tests.tsv.
type suiteTest struct {
	tier, id string
	tags     []string
	reason   string
}

// record is harness/last-run.json, the outcome of the last full run.
type record struct {
	Celery, Date, Redis, Python string
	Runs                        int
	Passed                      map[string]int // in how many runs
}

// passed reports whether a test passed in every run.
func (r record) passed(t suiteTest) bool { return r.Runs > 0 && r.Passed[t.id] == r.Runs }

// section and feature are the entries of harness/features.json: the features of Celery
// and the tests that prove them.
type section struct {
	Section  string
	Features []feature
}

type feature struct {
	Feature string
	// Here describes the support. "": the outcome of the tests decides.
	Here string
	// Suite are tests of Celery's suite: tags ("#chain") or ids.
	Suite []string
	// Tests are tests of this repository, each a package and a function.
	Tests []string
}

// TestDocuments holds the documents to the map of features and to the last run.
// With -update it writes them.
func TestDocuments(t *testing.T) {
	tests := readTests(t)
	var last record
	readJSON(t, "harness/last-run.json", &last)
	var sections []section
	readJSON(t, "harness/features.json", &sections)

	checkFeatures(t, sections, tests)
	old := read(t, compatibility)
	before, rest, ok := strings.Cut(old, beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if !ok || !closed {
		t.Fatalf("%s has no generated part", compatibility)
	}
	generated := table(sections, tests, last) + outOfScope(tests)
	golden(t, compatibility, old, before+beginMark+"\n\n"+generated+"\n"+endMark+after)

	var all string
	if _, err := os.Stat(conformance); err == nil || !*update {
		all = read(t, conformance)
	}
	golden(t, conformance, all, everyTest(tests, last))
}

func golden(t *testing.T, path, old, now string) {
	t.Helper()
	if old == now {
		return
	}
	if !*update {
		t.Errorf("%s is stale: run make documents and read the difference", path)
		return
	}
	if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(read(t, path)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func readTests(t *testing.T) (tests []suiteTest) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(read(t, "harness/tests.tsv")))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		cols := strings.Split(lines.Text(), "\t")
		if len(cols) != 5 {
			t.Fatalf("tests.tsv: %q has %d columns, want 5", lines.Text(), len(cols))
		}
		var tags []string
		if cols[2] != "" {
			tags = strings.Split(cols[2], ",")
		}
		tests = append(tests, suiteTest{cols[0], cols[1], tags, cols[4]})
	}
	slices.SortFunc(tests, func(a, b suiteTest) int { return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.id, b.id)) })
	return tests
}

// proves reports whether a feature names a test.
func (f feature) proves(t suiteTest) bool {
	if t.tier == "X" {
		return false
	}
	return slices.ContainsFunc(f.Suite, func(s string) bool {
		if tag, ok := strings.CutPrefix(s, "#"); ok {
			return slices.Contains(t.tags, tag)
		}
		plain, _, _ := strings.Cut(t.id, "[")
		return s == t.id || s == plain
	})
}

func (f feature) suite(tests []suiteTest) (proof []suiteTest) {
	for _, t := range tests {
		if f.proves(t) {
			proof = append(proof, t)
		}
	}
	return proof
}

// checkFeatures wants a feature for every test, and every test that is named.
func checkFeatures(t *testing.T, sections []section, tests []suiteTest) {
	t.Helper()
	proven := map[string]bool{}
	for _, s := range sections {
		for _, f := range s.Features {
			for _, name := range f.Suite {
				if len(feature{Suite: []string{name}}.suite(tests)) == 0 {
					t.Errorf("feature %q: no test of the suite is %s", f.Feature, name)
				}
			}
			for _, p := range f.suite(tests) {
				proven[p.id] = true
			}
			for _, name := range f.Tests {
				if !exists(name) {
					t.Errorf("feature %q: there is no test %s", f.Feature, name)
				}
			}
			if f.Here == "" && len(f.Suite)+len(f.Tests) == 0 {
				t.Errorf("feature %q: nothing proves it", f.Feature)
			}
		}
	}
	for _, test := range tests {
		if test.tier != "X" && !proven[test.id] {
			t.Errorf("%s proves no feature", test.id)
		}
		if test.tier == "X" && test.reason == "" {
			t.Errorf("%s is out of scope without a reason", test.id)
		}
	}
}

// exists reports whether a test of this repository exists, such as "worker/redis
// TestBroker".
func exists(name string) bool {
	dir, function, ok := strings.Cut(name, " ")
	files, _ := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
	return ok && slices.ContainsFunc(files, func(file string) bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Contains(b, []byte("\nfunc "+function+"("))
	})
}

// table shows all features.
func table(sections []section, tests []suiteTest, last record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The suite is that of Celery %s. It ran %d times on %s, with Redis %s and Python %s:\n", last.Celery, last.Runs, last.Date, last.Redis, last.Python)
	fmt.Fprintf(&b, "%s.\n[All its tests](conformance.md) have a page of their own. Our own tests are part of `make test`.\n", totals(tests, last))
	for _, s := range sections {
		fmt.Fprintf(&b, "\n### %s\n\n| feature | here | Celery's suite | our tests |\n|---|---|---|---|\n", s.Section)
		for _, f := range s.Features {
			proof := f.suite(tests)
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.Feature, f.here(proof, last), shown(proof, last), ours(f.Tests))
		}
	}
	return b.String()
}

var tiers = []struct{ tier, name string }{{"A", "producer and results"}, {"B", "workflows"}, {"C", "remote control"}}

func totals(tests []suiteTest, last record) string {
	var parts []string
	for _, tier := range tiers {
		of := slices.DeleteFunc(slices.Clone(tests), func(t suiteTest) bool { return t.tier != tier.tier })
		parts = append(parts, fmt.Sprintf("%d of %d tests passed in every run for %s", count(of, last), len(of), tier.name))
	}
	return strings.Join(parts, ", ")
}

func count(tests []suiteTest, last record) (n int) {
	for _, t := range tests {
		if last.passed(t) {
			n++
		}
	}
	return n
}

func (f feature) here(proof []suiteTest, last record) string {
	n := count(proof, last)
	switch {
	case len(proof) > 0 && n == 0:
		return "not yet"
	case n < len(proof):
		return "in part"
	}
	return cmp.Or(f.Here, "yes")
}

// shown names the shortest test, which is mostly the plainest, and counts all.
func shown(proof []suiteTest, last record) string {
	if len(proof) == 0 {
		return ""
	}
	plainest := slices.MinFunc(proof, func(a, b suiteTest) int {
		return cmp.Or(cmp.Compare(len(a.tags), len(b.tags)), cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	s := fmt.Sprintf("%d of %d: `%s`", count(proof, last), len(proof), plain(plainest.id))
	if len(proof) > 1 {
		s += " …"
	}
	return s
}

func plain(id string) string {
	_, name, _ := strings.Cut(id, "::")
	return strings.ReplaceAll(name, "|", `\|`)
}

func ours(tests []string) string {
	shown := make([]string, len(tests))
	for i, name := range tests {
		shown[i] = "`" + name + "`"
	}
	return strings.Join(shown, ", ")
}

// outOfScope groups the tests that tell nothing about a worker in another language.
func outOfScope(tests []suiteTest) string {
	var b strings.Builder
	b.WriteString("\n### Tests of Celery's suite that are left out\n\n| reason | tests |\n|---|---|\n")
	for _, reason := range reasons(tests) {
		var names []string
		for _, t := range tests {
			if t.tier == "X" && t.reason == reason {
				name, _, _ := strings.Cut(plain(t.id), "[")
				names = append(names, "`"+name+"`")
			}
		}
		fmt.Fprintf(&b, "| %s | %d: %s |\n", reason, len(names), strings.Join(slices.Compact(names), ", "))
	}
	return b.String()
}

func reasons(tests []suiteTest) (all []string) {
	for _, t := range tests {
		if t.tier == "X" && !slices.Contains(all, t.reason) {
			all = append(all, t.reason)
		}
	}
	slices.Sort(all)
	return all
}

// everyTest is the page with all tests that must pass.
func everyTest(tests []suiteTest, last record) string {
	var b strings.Builder
	b.WriteString(beginMark + "\n\n# Celery's integration suite, test by test\n\n")
	fmt.Fprintf(&b, "Celery %s, %d runs on %s. What `make conformance` does and what is left out: see [compatibility](compatibility.md).\n", last.Celery, last.Runs, last.Date)
	for _, tier := range tiers {
		fmt.Fprintf(&b, "\n## Tier %s: %s\n\n| test | about | passed |\n|---|---|---|\n", tier.tier, tier.name)
		for _, t := range tests {
			if t.tier == tier.tier {
				remark := ""
				if t.reason != "" { // what the count does not say
					remark = "; " + t.reason
				}
				fmt.Fprintf(&b, "| `%s` | %s | %d of %d%s |\n", plain(t.id), strings.Join(t.tags, ", "), last.Passed[t.id], last.Runs, remark)
			}
		}
	}
	return b.String()
}
