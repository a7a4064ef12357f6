package templates_test

import (
	"strings"
	"testing"

	"github.com/evently/workers/templates"
)

// All mails are right, and each check says what it has looked at.
func TestInspect(t *testing.T) {
	set := newSet(t)
	versions := map[string]templates.Kind{}
	for _, kind := range kinds() {
		for _, m := range samples(kind)[:2] {
			i, err := set.Inspect(m)
			if err != nil {
				t.Fatal(err)
			}
			if i.Preheader == "" || len(i.Checks) != 9 {
				t.Errorf("%s: preheader %q, %d checks", kind, i.Preheader, len(i.Checks))
			}
			for _, c := range i.Checks {
				if c.Found == "" || len(c.Faults) > 0 {
					t.Errorf("%s: %+v", kind, c)
				}
			}
		}
		v := set.Version(kind)
		if other, ok := versions[v]; ok || len(v) != 12 {
			t.Errorf("%s has the version %s of %s", kind, v, other)
		}
		versions[v] = kind
		if files := set.Files(kind); len(files) < 7 {
			t.Errorf("%s: %v", kind, files)
		}
	}
}

// A link of the data that the options do not allow is a fault of the check of links.
func TestInspectFindsALinkLeftOut(t *testing.T) {
	set := newSet(t)
	for _, m := range allSamples() {
		i, err := set.Inspect(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range i.Checks {
			if bad := len(c.Faults) > 0; bad != (c.Name == "Links" && i.LinkLeftOut) {
				t.Errorf("%s %s: %s", m.Kind(), c.Name, strings.Join(c.Faults, "; "))
			}
		}
	}
}
