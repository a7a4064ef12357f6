package connurl_test

import (
	"strings"
	"testing"

	"github.com/evently/workers/internal/connurl"
)

// The nodes of a cluster stand in one URL or in a list of URLs, as Celery writes several brokers.
func TestParseCluster(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"redis://h":                                     "redis://h:6379/0",
		"redis://u:p@h,i:1,[::1]:2/0":                   "redis://u:p@h:6379,i:1,[::1]:2/0",
		"redis://h;i:1/0":                               "redis://h:6379,i:1/0",
		"redis://h,redis://i:1/0":                       "redis://h:6379,i:1/0",
		"rediss://:p@h:1; rediss://:p@i:2/0":            "rediss://:p@h:1,i:2/0",
		"redis://:a;b@h;redis://i":                      "redis://:a;b@h:6379,i:6379/0",
		"redis://h;redis://h:6379;redis://i":            "redis://h:6379,i:6379/0",
		"redis://h?password=p;redis://i?password=p":     "redis://:p@h:6379,i:6379/0",
		"valkeys://h/0;valkeys://u:p@[fe80::1]:7/":      "rediss://u:p@h:6379,[fe80::1]:7/0",
		"redis://:p%2Cq@h,redis://:p%2Cq@i:1;j:2/?db=0": "redis://:p,q@h:6379,i:1,j:2/0",
	} {
		r, err := connurl.ParseCluster(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if got := r.URL(); got != want || len(r.Nodes) != strings.Count(r.Address, ",")+1 {
			t.Errorf("%s: %s of %q, want %s", raw, got, r.Nodes, want)
		}
	}
	for raw, want := range map[string]string{
		"redis://h;rediss://i":                      "differ in their scheme",
		"redis://:p@h;redis://:geheim@i":            "differ in their login",
		"redis://h/0;redis://i/1":                   "differ in their database",
		"redis://h?password=a;redis://i?password=b": "differ in their parameters",
		"redis://h;redis://i/1":                     "its database is not 0",
		"redis://h/geheim":                          "its database is not a number",
		"redis://h;;i":                              "one of its hosts has no name",
		"redis://h,/0":                              "one of its hosts has no name",
		"sentinel://h:1;sentinel://i:2/0":           "does not lead to the nodes",
		"redis://h;unix:///run/r.sock":              "does not lead to the nodes",
		"redis-cluster://h":                         "scheme",
		"h:6379,i:6379":                             "scheme",
		"redis://[::1;i]:1":                         "brackets",
	} {
		r, err := connurl.ParseCluster(raw)
		if err == nil {
			t.Errorf("%s: read as %s", raw, r.URL())
		} else if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, connurl.ClusterForm) || strings.Contains(text, "geheim") {
			t.Errorf("%s: %v; want %q and the form of a cluster's URL", raw, err, want)
		}
	}
}
