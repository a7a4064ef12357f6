package harness

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/internal/testkit"
)

// Kind is a sort of worker that rows are run against.
type Kind struct {
	Name string // "ours", "Celery" or that of a command
	// command returns the environment, the program and its arguments.
	command func(t testkit.T, o Options) (env []string, path string, args []string)
	// Flags are those of "go build" for the other programs that rows build.
	Flags []string
	// Race says that it was built with the race detector, which takes memory.
	Race bool
}

// IsCelery reports whether the kind is Celery's own worker.
func (k Kind) IsCelery() bool { return k.Name == "Celery" }

// Options are what rows set of a worker; zero fields leave it its defaults.
type Options struct {
	URL          string // broker
	Notes        string // Redis for the notes of tasks, past any proxy
	Queue, Name  string
	Concurrency  int
	Prefetch     int // multiplier
	Visibility   time.Duration
	OwnerTimeout time.Duration // Celery has none
	Grace        time.Duration // Celery has none
	Redeliveries int           // Celery has none
	TimeLimit    time.Duration
	Master       string   // of Sentinel
	Env          []string // more of it
	Flags        []string // more of them, for ours
}

// Ours is the worker of this module at binary, which [Build] made.
func Ours(binary string) Kind {
	return Kind{Name: "ours", command: func(_ testkit.T, o Options) ([]string, string, []string) {
		args := []string{"-redis", o.URL, "-queue", o.Queue, "-name", o.Name + "@%h"}
		flag := func(name, value string, set bool) {
			if set {
				args = append(args, "-"+name, value)
			}
		}
		flag("concurrency", strconv.Itoa(o.Concurrency), o.Concurrency > 0)
		flag("prefetch", strconv.Itoa(o.Prefetch), o.Prefetch > 0)
		flag("visibility", o.Visibility.String(), o.Visibility > 0)
		flag("owner-timeout", o.OwnerTimeout.String(), o.OwnerTimeout > 0)
		flag("grace", o.Grace.String(), o.Grace > 0)
		flag("redeliveries", strconv.Itoa(o.Redeliveries), o.Redeliveries > 0)
		flag("time-limit", o.TimeLimit.String(), o.TimeLimit > 0)
		flag("master", o.Master, o.Master != "")
		return append([]string{"NOTES_URL=" + o.Notes}, o.Env...), binary, append(args, o.Flags...)
	}}
}

// Celery is Celery's own worker, of the newest version that the tests install,
// with the settings of Evently: late acknowledgement, prefork.
func Celery() Kind {
	return Kind{Name: "Celery", command: func(t testkit.T, o Options) ([]string, string, []string) {
		visibility := o.Visibility
		if visibility == 0 {
			visibility = time.Hour
		}
		env := append(testkit.PythonEnv(), "NOTES_URL="+o.Notes, "PEER_MASTER="+o.Master,
			"PEER_CONCURRENCY="+strconv.Itoa(max(o.Concurrency, 2)), "PEER_PREFETCH="+strconv.Itoa(max(o.Prefetch, 1)))
		return append(env, o.Env...), testkit.Python(t, testkit.CeleryNew), []string{
			filepath.Join(Root(t), "e2e", "testdata", "peer.py"), o.URL, o.Queue, o.Name,
			strconv.FormatFloat(visibility.Seconds(), 'f', -1, 64),
		}
	}}
}

// Command is any worker that has the tasks of e2e/cmd/testworker. In its words
// {url}, {queue}, {name}, {concurrency}, {prefetch}, and in seconds {visibility} and
// {grace}, are replaced. A row that sets more than these fails with it.
func Command(line string) Kind {
	return Kind{Name: "command", command: func(_ testkit.T, o Options) ([]string, string, []string) {
		// A worker may take 0 for "at once", so it gets the defaults of ours.
		seconds := func(d, otherwise time.Duration) string {
			return strconv.FormatFloat(cmp.Or(d, otherwise).Seconds(), 'f', -1, 64)
		}
		words := strings.Fields(strings.NewReplacer("{url}", o.URL, "{queue}", o.Queue, "{name}", o.Name,
			"{concurrency}", strconv.Itoa(max(o.Concurrency, 1)), "{prefetch}", strconv.Itoa(max(o.Prefetch, 1)),
			"{visibility}", seconds(o.Visibility, time.Hour), "{grace}", seconds(o.Grace, 25*time.Second)).Replace(line))
		return append([]string{"NOTES_URL=" + o.Notes}, o.Env...), words[0], words[1:]
	}}
}

// root finds the folder of the module, once: rows run in any folder of it.
var root = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
})

// Root is the folder of the module.
func Root(t testkit.T) string {
	t.Helper()
	dir, err := root()
	if err != nil {
		t.Fatalf("find the folder of the module: %v", err)
	}
	return dir
}

// Build builds a program of the module into dir, with more flags of "go build"
// in front of its path, and returns its file.
func Build(t testkit.T, dir, name, pkg string, flags ...string) string {
	t.Helper()
	out := filepath.Join(dir, name)
	build(t, Root(t), out, pkg, flags...)
	return out
}

// build builds a program of the module in source into out. It is static, as a release is, unless it
// has the race detector, which needs C.
func build(t testkit.T, source, out, pkg string, flags ...string) {
	t.Helper()
	args, env := []string{"build"}, os.Environ()
	if !slices.Contains(flags, "-race") {
		args, env = append(args, "-trimpath"), append(env, "CGO_ENABLED=0")
	}
	args = slices.Concat(args, flags, []string{"-o", out, pkg})
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Env = source, env
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v in %s: %v\n%s", cmd, source, err, text)
	}
}

// TestWorker is the package of the worker that has the tasks of the rows.
const TestWorker = "./e2e/cmd/testworker"

func (k Kind) start(t testkit.T, o Options) *testkit.Process {
	t.Helper()
	env, path, args := k.command(t, o)
	return testkit.Start(t, fmt.Sprintf("%s %s", k.Name, o.Name), env, path, args...)
}
