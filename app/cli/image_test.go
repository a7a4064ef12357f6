package cli_test

import (
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile.
type instruction struct{ name, args string }

// TestImage reads the Dockerfile, as no container engine may be at hand, and
// builds the program with the very command that stands there.
func TestImage(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	stages := readStages(string(content))
	if len(stages) != 2 {
		t.Fatalf("%d stages, want one to build and one to run", len(stages))
	}
	for _, fault := range imageFaults(stages[1]) {
		t.Error(fault)
	}

	command := regexp.MustCompile(`go build .*`).FindString(argsOf(stages[0], "RUN"))
	if command == "" {
		t.Fatal("no go build in the first stage")
	}
	if run := argsOf(stages[0], "RUN"); !strings.Contains(run, "CGO_ENABLED=0 ") || !strings.Contains(run, "-trimpath") {
		t.Errorf("not a static build without paths: %s", run)
	}
	binary := filepath.Join(t.TempDir(), "evently-workers")
	build := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, "-o /evently-workers", "-o "+binary, 1))
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "VERSION=v0.0.0-image-test")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if needs := dynamicNeeds(t, binary); len(needs) != 0 {
		t.Errorf("not static, needs %q at run time", needs)
	}

	// No shell and no file of the image but the program itself is needed.
	for _, args := range [][]string{{"version"}, {"health", "--help"}} {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = []string{}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%q in an empty environment: %v\n%s", args, err, out)
		}
		if args[0] == "version" && !strings.Contains(string(out), "v0.0.0-image-test") {
			t.Errorf("version prints %q, not the version of the build", out)
		}
	}
}

// TestImageFaults proves that TestImage can fail.
func TestImageFaults(t *testing.T) {
	t.Parallel()
	const good = "FROM gcr.io/distroless/static-debian12:nonroot\nCOPY x /x\nUSER 65532\n" +
		"HEALTHCHECK CMD [\"/x\", \"health\"]\nENTRYPOINT [\"/x\"]\n"
	if faults := imageFaults(readStages(good)[0]); len(faults) != 0 {
		t.Errorf("good stage: %q", faults)
	}
	for _, change := range [][2]string{
		{"gcr.io/distroless/static-debian12:nonroot", "debian:12"},
		{"USER 65532", "USER root"},
		{"USER 65532", "USER 0:0"},
		{"USER 65532", ""},
		{"USER 65532", "RUN true"},
		{"HEALTHCHECK CMD [\"/x\", \"health\"]", ""},
		{"[\"/x\", \"health\"]", "/x health"},
		{"[\"/x\", \"health\"]", "[\"/x\"]"},
		{"ENTRYPOINT [\"/x\"]", "ENTRYPOINT /x"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if faults := imageFaults(readStages(bad)[0]); len(faults) == 0 {
			t.Errorf("%q for %q was not noticed", change[1], change[0])
		}
	}
}

// imageFaults checks the stage that runs: unprivileged, without a shell, with a
// health check that needs none.
func imageFaults(stage []instruction) []string {
	var found []string
	from := argsOf(stage, "FROM")
	if from != "scratch" && !strings.HasPrefix(from, "gcr.io/distroless/static") {
		found = append(found, "base image with a shell or a libc: "+from)
	}
	// A number, since Kubernetes' runAsNonRoot cannot judge a name.
	if !regexp.MustCompile(`^[1-9][0-9]*(:[1-9][0-9]*)?$`).MatchString(argsOf(stage, "USER")) {
		found = append(found, "USER is not the number of an unprivileged user: "+argsOf(stage, "USER"))
	}
	if run := argsOf(stage, "RUN"); run != "" {
		found = append(found, "RUN needs a shell that the image has not: "+run)
	}
	_, check, _ := strings.Cut(argsOf(stage, "HEALTHCHECK"), "CMD ")
	if argv := execForm(check); len(argv) != 2 || argv[1] != "health" {
		found = append(found, "HEALTHCHECK does not call the health command directly: "+check)
	}
	if entry := argsOf(stage, "ENTRYPOINT"); len(execForm(entry)) != 1 {
		found = append(found, "ENTRYPOINT is not the program alone: "+entry)
	}
	return found
}

// readStages splits a Dockerfile into its stages; each begins with its FROM.
func readStages(dockerfile string) [][]instruction {
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(dockerfile, "")
	var stages [][]instruction
	for line := range strings.Lines(joined) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) > 0 {
			last := &stages[len(stages)-1]
			*last = append(*last, instruction{name, args})
		}
	}
	return stages
}

// argsOf returns the arguments of the last instruction of that name, the one
// that counts for all but RUN.
func argsOf(stage []instruction, name string) string {
	for _, i := range slices.Backward(stage) {
		if i.name == name {
			return i.args
		}
	}
	return ""
}

// execForm reads the JSON form of a command, which runs without a shell.
func execForm(args string) []string {
	var argv []string
	if json.Unmarshal([]byte(args), &argv) != nil {
		return nil
	}
	return argv
}

// dynamicNeeds lists the interpreter and the libraries that a binary loads.
func dynamicNeeds(t *testing.T, binary string) []string {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	needs, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		needs = append(needs, "interpreter")
	}
	return needs
}
