package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaModule has the schemas of CycloneDX. Its code is not compiled.
const schemaModule = "github.com/CycloneDX/cyclonedx-go@v0.12.0"

// componentSchema returns the schema of the list of components.
func componentSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", schemaModule)
	cmd.Dir = t.TempDir() // not part of the requirements of any module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if e := json.Unmarshal(out, &answer); e != nil || err != nil || answer.Dir == "" {
		t.Fatalf("%s: %v %v %s", schemaModule, err, e, answer.Error)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	const where = "http://cyclonedx.org/schema/"
	for name, file := range map[string]string{ // the module has one under another name
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		raw, err := os.ReadFile(filepath.Join(answer.Dir, "schema", file))
		if err != nil {
			t.Fatal(err)
		}
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err == nil {
			err = c.AddResource(where+name, schema)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	s, err := c.Compile(where + "bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkComponents compares a list of components with its schema and with what Go says of the program.
func checkComponents(t *testing.T, list []byte, file string) {
	t.Helper()
	schema := componentSchema(t)
	validate := func(raw []byte) error {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		return schema.Validate(value)
	}
	if err := validate(list); err != nil {
		t.Errorf("the list of components: %v", err)
	}
	for _, c := range []struct{ old, wrong string }{{`"id": "MIT"`, `"id": "MITT"`}, {`"purl"`, `"pURL"`}, {`"alg": "SHA-256"`, `"alg": "SHA-255"`}} {
		wrong := strings.Replace(string(list), c.old, c.wrong, 1)
		if wrong == string(list) || validate([]byte(wrong)) == nil {
			t.Errorf("the schema takes %s", c.wrong)
		}
	}

	var got struct {
		Metadata struct {
			Component struct {
				Hashes []struct{ Content string }
			}
		}
		Components []struct {
			Name, Version string
			Hashes        []struct{ Content string }
			Licenses      []struct {
				Expression string
				License    struct{ ID string }
			}
		}
	}
	if err := json.Unmarshal(list, &got); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(raw); len(got.Metadata.Component.Hashes) != 1 || got.Metadata.Component.Hashes[0].Content != hex.EncodeToString(sum[:]) {
		t.Errorf("the sum of the program is %x, not %v", sum, got.Metadata.Component.Hashes)
	}
	found, licences := map[string]string{}, map[string]string{}
	for _, c := range got.Components {
		found[c.Name] = c.Version
		for _, h := range c.Hashes {
			found[c.Name] += " " + h.Content
		}
		for _, l := range c.Licenses {
			licences[c.Name] += l.Expression + l.License.ID
		}
		if licences[c.Name] == "" {
			t.Errorf("the licence of %s is not known; program.licenceIDs knows some", c.Name)
		}
	}
	for name, want := range map[string]string{
		"std": "BSD-3-Clause", "golang.org/x/net": "BSD-3-Clause", "github.com/lib/pq": "MIT", "github.com/gomodule/redigo": "Apache-2.0",
		"github.com/klauspost/compress": "Apache-2.0 AND BSD-3-Clause AND MIT",
	} {
		if licences[name] != want {
			t.Errorf("licence of %s: %q, want %q", name, licences[name], want)
		}
	}
	delete(found, "std")
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 4 && f[0] == "dep" {
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(f[3], "h1:"))
			if err != nil {
				t.Fatal(err)
			}
			want[f[1]] = f[2] + " " + hex.EncodeToString(sum)
		}
	}
	if len(want) < 10 || !maps.Equal(found, want) {
		t.Errorf("components\n%v\nand go version -m\n%v", slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(want)))
	}
}
