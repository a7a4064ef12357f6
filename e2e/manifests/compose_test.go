// Package manifests_test checks the files of deploy/ against the schemas of the programs that
// read them.
package manifests_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const deploy = "../../deploy"

// readCompose reads a compose file as docker compose does: with the schema of the specification.
func readCompose(t *testing.T, path string, env ...string) (*types.Project, error) {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{path}, cli.WithEnv(env), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	return options.LoadProject(context.Background())
}

func TestCompose(t *testing.T) {
	p, err := readCompose(t, filepath.Join(deploy, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"grafana", "mailpit", "monitor", "postgres", "prometheus", "redis", "workers"}
	if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s mounts a file that is missing: %v", name, err)
				}
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s on %q, not on loopback alone", name, port.Published, port.HostIP)
			}
		}
		if s.Restart == "" || s.Logging == nil || s.Logging.Options["max-size"] == "" {
			t.Errorf("%s has no restart policy, or logs without bound", name)
		}
		if name != "workers" && name != "monitor" {
			if s.Build != nil || !regexp.MustCompile(`:v?\d+\.\d+`).MatchString(s.Image) && !strings.Contains(s.Image, ":16-") {
				t.Errorf("%s: image %q has no fixed version", name, s.Image)
			}
			continue
		}
		if s.HealthCheck == nil || s.Deploy == nil || s.Deploy.Resources.Limits == nil || !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s lacks a health check, limits, a read-only root or dropped rights", name)
		}
		for variable := range s.Environment {
			documented(t, name, variable)
		}
	}

	workers := p.Services["workers"]
	if workers.ContainerName != "" || workers.Hostname != "" || len(workers.Ports) != 0 {
		t.Error("workers cannot be scaled: a fixed name, host name or port")
	}
	grace, err := time.ParseDuration(*workers.Environment["SHUTDOWN_GRACE"])
	if err != nil || workers.StopGracePeriod == nil || time.Duration(*workers.StopGracePeriod) < grace+5*time.Second {
		t.Errorf("workers are killed after %v, SHUTDOWN_GRACE is %v (%v)", workers.StopGracePeriod, grace, err)
	}
	if users := *p.Services["monitor"].Environment["MONITOR_USERS"]; !regexp.MustCompile(`^nobody:viewer:\$2a\$12\$[./A-Za-z0-9]{53}$`).MatchString(users) {
		t.Errorf("the monitor has the users %q: without a login it does not start", users)
	}
	if p.Services["redis"].Command == nil || !slices.Contains(p.Services["redis"].Command, "--appendonly") {
		t.Error("Redis forgets the queue when it ends")
	}
}

// The schema refuses what it does not know, and variables of the caller arrive.
func TestComposeIsChecked(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(deploy, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(wrong, []byte(strings.Replace(string(raw), "stop_grace_period: 32s", "stop_grace: 32s", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readCompose(t, wrong); err == nil || !strings.Contains(err.Error(), "stop_grace") {
		t.Errorf("an unknown key passes: %v", err)
	}
	p, err := readCompose(t, filepath.Join(deploy, "compose.yaml"), "SMTP_HOST=relay.example", "MONITOR_PORT=5999")
	if err != nil || *p.Services["workers"].Environment["SMTP_HOST"] != "relay.example" || p.Services["monitor"].Ports[0].Published != "5999" {
		t.Errorf("the environment is not used: %v", err)
	}
}

var variables = regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\| ([^|]+) \\|")

// documented fails when the README does not have a variable.
func documented(t *testing.T, where, variable string) {
	t.Helper()
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range variables.FindAllStringSubmatch(string(raw), -1) {
		if m[1] == variable || m[1]+"_FILE" == variable && strings.Contains(m[2], "secret") {
			return
		}
	}
	t.Errorf("%s: the program has no variable %s", where, variable)
}
