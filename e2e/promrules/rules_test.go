// Package promrules reads the alerts and the dashboard of deploy/ as Prometheus does: with its own
// parser. The names of the metrics are those of docs/operations.md, which another test makes from
// the code.
package promrules

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const root = "../../"

var expressions = parser.NewParser(parser.Options{})

// documented returns the metrics of the operations page with their types.
func documented(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile(root + "docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(evently_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(page), -1) {
		types[row[1]] = row[2]
	}
	if len(types) < 40 {
		t.Fatalf("the page has %d metrics: %v", len(types), types)
	}
	return types
}

// check parses an expression, and returns the metrics that it names.
func check(t *testing.T, where, expression string, types map[string]string) (names []string) {
	t.Helper()
	e, err := expressions.ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, expression)
		return nil
	}
	parser.Inspect(e, func(node parser.Node, path []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		name := s.Name
		if i := slices.IndexFunc(s.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == "__name__" }); name == "" && i >= 0 {
			name = s.LabelMatchers[i].Value
		}
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if whole, is := strings.CutSuffix(name, suffix); is && types[whole] == "histogram" {
				base = whole
			}
		}
		kind, known := types[base]
		if !known && name != "up" && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "go_") {
			t.Errorf("%s: there is no metric %s", where, name)
		}
		if kind == "gauge" && isRate(path) || kind == "histogram" && base == name {
			t.Errorf("%s: %s is a %s", where, name, kind)
		}
		names = append(names, base)
		return nil
	})
	return names
}

// isRate reports whether a selector is the argument of rate or increase.
func isRate(path []parser.Node) bool {
	return slices.ContainsFunc(path, func(n parser.Node) bool {
		c, ok := n.(*parser.Call)
		return ok && (c.Func.Name == "rate" || c.Func.Name == "increase")
	})
}

func TestAlerts(t *testing.T) {
	types := documented(t)
	groups, errs := rulefmt.ParseFile(root+"deploy/prometheus/alerts.yaml", false, model.UTF8Validation, expressions, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	page, err := os.ReadFile(root + "docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	books := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^## (Evently\w+)$`).FindAllStringSubmatch(string(page), -1) {
		books[heading[1]] = true
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			check(t, r.Alert, r.Expr, types)
			if !books[r.Alert] {
				t.Errorf("%s has no runbook in docs/alerts.md", r.Alert)
			}
			delete(books, r.Alert)
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" ||
				!strings.HasSuffix(r.Annotations["runbook_url"], "docs/alerts.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s has the annotations %v", r.Alert, r.Annotations)
			}
		}
	}
	for name := range books {
		t.Errorf("the runbook %s has no alert", name)
	}
}

// panel is a panel of a dashboard.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct{ X, Y, W, H int }
	Source  struct{ UID string } `json:"datasource"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func TestDashboard(t *testing.T) {
	types := documented(t)
	raw, err := os.ReadFile(root + "deploy/grafana/evently-workers.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title, UID string
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = v.Type
	}
	if want := map[string]string{"datasource": "datasource", "job": "query", "instance": "query"}; !maps.Equal(variables, want) {
		t.Errorf("variables are %v", variables)
	}
	grafana := strings.NewReplacer("$__rate_interval", "1m", "$job", "a", "$instance", "b")
	used, ids := map[string]bool{}, map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q has a place or an id that is taken", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Source.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: source %q, %d targets", p.Title, p.Source.UID, len(p.Targets))
		}
		for _, target := range p.Targets {
			for _, name := range check(t, p.Title, grafana.Replace(target.Expr), types) {
				used[name] = true
			}
		}
	}
	if len(used) < 30 {
		t.Errorf("the dashboard shows %d metrics", len(used))
	}
}
