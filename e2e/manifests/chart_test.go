package manifests_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write deploy/kubernetes/ again")

const chart = deploy + "/helm/evently-workers"

// object is one manifest.
type object = map[string]any

// render makes the manifests of the chart, with values over those of the chart. The templates
// use the functions that Helm takes from sprig, beside include and toYaml. The engine of Helm
// itself takes a minute to compile; see docs/decisions.md.
func render(t *testing.T, release string, values object) (string, error) {
	t.Helper()
	read := func(name string) (o object) {
		raw, err := os.ReadFile(filepath.Join(chart, name))
		if err == nil {
			err = yaml.Unmarshal(raw, &o)
		}
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	meta := read("Chart.yaml")
	root := template.New("").Option("missingkey=error")
	funcs := sprig.TxtFuncMap()
	funcs["include"] = func(name string, data any) (string, error) {
		var b strings.Builder
		err := root.ExecuteTemplate(&b, name, data)
		return b.String(), err
	}
	funcs["toYaml"] = func(v any) (string, error) {
		var b bytes.Buffer
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		err := e.Encode(v)
		return strings.TrimSuffix(b.String(), "\n"), err
	}
	root.Funcs(funcs)
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	base := meta["name"].(string) + "/templates"
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := root.New(base + "/" + filepath.Base(f)).Parse(string(raw)); err != nil {
			t.Fatal(err)
		}
	}
	data := object{
		"Values": merge(read("values.yaml"), values), "Template": object{"BasePath": base},
		"Chart":   object{"Name": meta["name"], "AppVersion": meta["appVersion"]},
		"Release": object{"Name": release, "Service": "Helm", "Namespace": "default"},
	}
	var all strings.Builder
	for _, f := range files {
		if filepath.Ext(f) != ".yaml" {
			continue
		}
		var b strings.Builder
		if err := root.ExecuteTemplate(&b, base+"/"+filepath.Base(f), data); err != nil {
			return "", err
		}
		if strings.TrimSpace(b.String()) != "" {
			fmt.Fprintf(&all, "---\n# %s\n%s\n", filepath.Base(f), strings.TrimSpace(b.String()))
		}
	}
	return all.String(), nil
}

// merge lays values over others, as Helm does.
func merge(under, over object) object {
	all := maps.Clone(under)
	for k, v := range over {
		if o, ok := v.(object); ok {
			if u, ok := all[k].(object); ok {
				v = merge(u, o)
			}
		}
		all[k] = v
	}
	return all
}

// split reads manifests.
func split(t *testing.T, text string) (all []object) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		err := d.Decode(&o)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// at returns the value at a path, such as spec.template.spec.
func at(o any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		m, ok := o.(object)
		if !ok {
			return nil
		}
		o = m[name]
	}
	return o
}

// Every choice of values gives manifests that a cluster takes.
func TestChart(t *testing.T) {
	schemas := readSchemas(t)
	base := []string{"ConfigMap", "Deployment", "Deployment", "NetworkPolicy", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}
	for name, c := range map[string]struct {
		values object
		kinds  []string
	}{
		"default": {nil, base},
		"hpa":     {object{"autoscaling": object{"kind": "hpa"}}, append([]string{"HorizontalPodAutoscaler"}, base...)},
		"keda":    {object{"autoscaling": object{"kind": "keda"}}, append([]string{"ScaledObject"}, base...)},
		"least": {object{
			"monitor": object{"enabled": false}, "networkPolicy": object{"enabled": false}, "podDisruptionBudget": object{"enabled": false}, "secret": "",
		}, []string{"ConfigMap", "Deployment", "ServiceAccount"}},
		"most": {object{
			"secretFiles": []any{"SMTP_PASSWORD", "DB_PASSWORD"}, "imagePullSecrets": []any{object{"name": "registry"}},
			"networkPolicy":  object{"egress": []any{object{"to": []any{object{"ipBlock": object{"cidr": "10.0.0.0/8"}}}}}},
			"serviceAccount": object{"annotations": object{"a/b": "c"}}, "templates": object{"configMap": "mails"},
			"workers": object{
				"podAnnotations": object{"x": "y"}, "nodeSelector": object{"disk": "ssd"}, "shutdownGraceSeconds": 55,
				"tolerations": []any{object{"key": "mail", "operator": "Exists"}},
				"affinity":    object{"podAntiAffinity": object{"preferredDuringSchedulingIgnoredDuringExecution": []any{}}},
			},
		}, base},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, "mails", c.values)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, o := range split(t, text) {
				kinds = append(kinds, o["kind"].(string))
				if err := schemas.validate(o); err != nil {
					t.Errorf("%s: %v\n%s", o["kind"], err, text)
				}
				if o["kind"] == "Deployment" {
					confined(t, o)
				}
			}
			slices.Sort(kinds)
			if want := slices.Sorted(slices.Values(c.kinds)); !slices.Equal(kinds, want) {
				t.Errorf("kinds %v, want %v", kinds, want)
			}
		})
	}
	if _, err := render(t, "mails", object{"autoscaling": object{"kind": "magic"}}); err == nil || !strings.Contains(err.Error(), "write none, hpa or keda") {
		t.Errorf("an unknown kind of autoscaling: %v", err)
	}
}

// confined fails when a pod has rights that it does not need, or is killed before it has stopped.
func confined(t *testing.T, o object) {
	t.Helper()
	pod := at(o, "spec.template.spec")
	c := at(pod, "containers").([]any)[0].(object)
	for path, want := range map[string]any{
		"securityContext.runAsNonRoot": true, "securityContext.seccompProfile.type": "RuntimeDefault", "automountServiceAccountToken": false,
	} {
		if got := at(pod, path); got != want {
			t.Errorf("pod: %s is %v, want %v", path, got, want)
		}
	}
	for path, want := range map[string]any{"securityContext.readOnlyRootFilesystem": true, "securityContext.allowPrivilegeEscalation": false} {
		if got := at(c, path); got != want {
			t.Errorf("container: %s is %v, want %v", path, got, want)
		}
	}
	if at(c, "livenessProbe.httpGet.path") == nil || at(c, "readinessProbe.httpGet.path") == nil || at(c, "resources.limits.memory") == nil {
		t.Error("a container without probes or without a limit")
	}
	env, _ := c["env"].([]any)
	for _, e := range env {
		documented(t, "chart", at(e, "name").(string))
	}
}

// Policies name ports that the pods have, and a list for egress does not cut off DNS.
func TestNetworkPolicies(t *testing.T) {
	text, err := render(t, "mails", object{"networkPolicy": object{"egress": []any{object{"ports": []any{object{"port": 6379}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]bool{} // by component and name
	for _, o := range split(t, text) {
		if o["kind"] == "Deployment" {
			component := at(o, "spec.template.metadata.labels").(object)["app.kubernetes.io/component"].(string)
			for _, c := range at(o, "spec.template.spec.containers").([]any) {
				for _, p := range c.(object)["ports"].([]any) {
					ports[component+" "+at(p, "name").(string)] = true
				}
			}
		}
	}
	policies := 0
	for _, o := range split(t, text) {
		if o["kind"] != "NetworkPolicy" {
			continue
		}
		policies++
		component := at(o, "spec.podSelector.matchLabels").(object)["app.kubernetes.io/component"].(string)
		for _, rule := range at(o, "spec.ingress").([]any) {
			for _, p := range rule.(object)["ports"].([]any) {
				if name := component + " " + at(p, "port").(string); !ports[name] {
					t.Errorf("the policy opens %q, the pods have %v", name, ports)
				}
			}
		}
		open := fmt.Sprint(at(o, "spec.egress"))
		if !strings.Contains(open, "port:53 protocol:UDP") || !strings.Contains(open, "port:6379") {
			t.Errorf("egress of the %s: %s", component, open)
		}
	}
	if policies != 2 {
		t.Errorf("%d policies, want 2", policies)
	}
}

// Scalers ask for metrics that the program has, by labels that they have.
func TestScalersFitTheMetrics(t *testing.T) {
	raw, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{} // the table is made from the program
	for _, m := range regexp.MustCompile("(?m)^\\| `(evently_[a-z_]+)` \\| [a-z]+ \\| ([^|]*) \\|").FindAllStringSubmatch(string(raw), -1) {
		labels[m[1]] = m[2]
	}
	for kind, want := range map[string]int{"hpa": 2, "keda": 2} {
		text, err := render(t, "mails", object{"autoscaling": object{"kind": kind}})
		if err != nil {
			t.Fatal(err)
		}
		text = only(text, "autoscaling.yaml")
		found := regexp.MustCompile(`evently_[a-z_]+`).FindAllString(text, -1)
		if len(found) != want {
			t.Errorf("%s: metrics %v, want %d", kind, found, want)
		}
		for _, name := range found {
			if !strings.Contains(labels[name], "`queue`") {
				t.Errorf("%s: the program has no %s with the label queue, but with %s", kind, name, labels[name])
			}
		}
		if !strings.Contains(text, `queue="email_notifications"`) && !strings.Contains(text, `{queue: "email_notifications"}`) {
			t.Errorf("%s: no queue is asked for:\n%s", kind, text)
		}
	}
}

// The stop time of pods fits SHUTDOWN_GRACE, and every variable of the chart exists.
func TestChartFitsTheProgram(t *testing.T) {
	text, err := render(t, "mails", object{"workers": object{"shutdownGraceSeconds": 40}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range split(t, text) {
		switch {
		case o["kind"] == "ConfigMap":
			for variable := range at(o, "data").(object) {
				documented(t, "values.yaml", variable)
			}
			if at(o, "data.SHUTDOWN_GRACE") != "40" {
				t.Errorf("SHUTDOWN_GRACE is %v", at(o, "data.SHUTDOWN_GRACE"))
			}
		case o["kind"] == "Deployment" && at(o, "metadata.name") == "mails":
			if seconds := at(o, "spec.template.spec.terminationGracePeriodSeconds"); time.Duration(seconds.(int))*time.Second < 45*time.Second {
				t.Errorf("pods are killed after %v s", seconds)
			}
		}
	}
}

// deploy/kubernetes/ has the manifests of the chart, for use without Helm.
func TestManifests(t *testing.T) {
	const head = "# Made from deploy/helm by make manifests: change the chart, not this file.\n" +
		"# kubectl create secret generic evently-workers --from-literal=SMTP_PASSWORD=… and so on;\n# the monitor needs MONITOR_USERS in it, see docs/deployment.md;\n# then kubectl apply -f this file.\n"
	for file, values := range map[string]object{
		"evently-workers.yaml":      nil,
		"evently-workers-hpa.yaml":  {"autoscaling": object{"kind": "hpa"}},
		"evently-workers-keda.yaml": {"autoscaling": object{"kind": "keda"}},
	} {
		text, err := render(t, "evently-workers", values)
		if err != nil {
			t.Fatal(err)
		}
		// A file with autoscaling has the scaler alone, for use beside the first one.
		if values != nil {
			text = "---\n" + only(text, "autoscaling.yaml")
		}
		path, want := filepath.Join(deploy, "kubernetes", file), head+strings.ReplaceAll(text, "app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not that of the chart (%v); run make manifests", path, err)
		}
	}
}

// only returns the manifests of one file of the chart.
func only(text, file string) string {
	_, text, _ = strings.Cut(text, "# "+file+"\n")
	text, _, _ = strings.Cut(text, "\n---\n# ")
	return strings.TrimSpace(text) + "\n"
}
