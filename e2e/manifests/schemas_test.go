package manifests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// schemas are the OpenAPI documents of Kubernetes, and of the resources of KEDA.
type schemas struct {
	kinds map[string]*jsonschema.Schema // by apiVersion and kind
}

// used are the kinds of Kubernetes in the chart.
var used = map[string]bool{
	"ConfigMap": true, "Deployment": true, "HorizontalPodAutoscaler": true, "NetworkPolicy": true, "PodDisruptionBudget": true, "Service": true, "ServiceAccount": true,
}

// download returns the folder of a module with data. Its code is not compiled.
func download(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // not part of the requirements of any module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if e := json.Unmarshal(out, &answer); e != nil || err != nil || answer.Dir == "" {
		t.Fatalf("%s: %v %v %s", module, err, e, answer.Error)
	}
	return answer.Dir
}

func readSchemas(t *testing.T) schemas {
	t.Helper()
	s := schemas{kinds: map[string]*jsonschema.Schema{}}
	kubernetes := filepath.Join(download(t, "sigs.k8s.io/kubectl-validate@v0.0.4"), "pkg/openapiclient/builtins/1.30")
	for path, prefix := range map[string]string{
		"api/v1": "io.k8s.api.core.v1.", "apis/apps/v1": "io.k8s.api.apps.v1.", "apis/autoscaling/v2": "io.k8s.api.autoscaling.v2.",
		"apis/networking.k8s.io/v1": "io.k8s.api.networking.v1.", "apis/policy/v1": "io.k8s.api.policy.v1.",
	} {
		raw, err := os.ReadFile(filepath.Join(kubernetes, path+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Components struct{ Schemas map[string]any }
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		strict(doc.Components.Schemas)
		version := strings.TrimPrefix(strings.TrimPrefix(path, "apis/"), "api/")
		for name := range doc.Components.Schemas {
			kind, ours := strings.CutPrefix(name, prefix)
			if ours && used[kind] {
				s.add(t, version, kind, map[string]any{"$ref": "#/components/schemas/" + name, "components": map[string]any{"schemas": doc.Components.Schemas}})
			}
		}
	}
	raw, err := os.ReadFile(filepath.Join(download(t, "github.com/kedacore/keda/v2@v2.21.0"), "config/crd/bases/keda.sh_scaledobjects.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(raw, &crd); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		strict(v.Schema.OpenAPIV3Schema)
		v.Schema.OpenAPIV3Schema["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object"}
		s.add(t, "keda.sh/"+v.Name, "ScaledObject", v.Schema.OpenAPIV3Schema)
	}
	return s
}

func (s schemas) add(t *testing.T, version, kind string, schema any) {
	t.Helper()
	c, where := jsonschema.NewCompiler(), "file:///"+version+"/"+kind
	c.DefaultDraft(jsonschema.Draft4)
	raw, err := json.Marshal(schema) // values as jsonschema reads them
	if err == nil {
		schema, err = jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	}
	if err == nil {
		err = c.AddResource(where, schema)
	}
	if err == nil {
		s.kinds[version+" "+kind], err = c.Compile(where)
	}
	if err != nil {
		t.Fatalf("schema of %s %s: %v", version, kind, err)
	}
}

// strict makes schemas refuse properties that they do not have, as kubectl does.
func strict(schema any) {
	switch v := schema.(type) {
	case map[string]any:
		_, has := v["properties"].(map[string]any)
		if _, open := v["additionalProperties"]; has && !open && v["x-kubernetes-preserve-unknown-fields"] == nil {
			v["additionalProperties"] = false
		}
		if v["x-kubernetes-int-or-string"] == true || v["format"] == "int-or-string" {
			delete(v, "type")
		}
		for _, child := range v {
			strict(child)
		}
	case []any:
		for _, child := range v {
			strict(child)
		}
	}
}

// validate returns the faults of a manifest.
func (s schemas) validate(o object) error {
	name := fmt.Sprint(o["apiVersion"], " ", o["kind"])
	schema := s.kinds[name]
	if schema == nil {
		return errors.New("no schema of " + name)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// The schemas refuse what clusters refuse.
func TestSchemasRefuse(t *testing.T) {
	all := readSchemas(t)
	text, err := render(t, "mails", object{"autoscaling": object{"kind": "keda"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new string }{
		{"maxSurge:", "maxSurges:"}, {"failureThreshold: 30", "failureThreshold: often"}, {"minReplicaCount:", "minReplicas:"}, {"policyTypes: [Ingress]", "policyTypes: Ingress"},
	} {
		wrong := strings.Replace(text, c.old, c.new, 1)
		if wrong == text {
			t.Fatalf("%q is not in the manifests", c.old)
		}
		faults := 0
		for _, o := range split(t, wrong) {
			if all.validate(o) != nil {
				faults++
			}
		}
		if faults != 1 {
			t.Errorf("%s: %d manifests are refused, want 1", c.new, faults)
		}
	}
}
