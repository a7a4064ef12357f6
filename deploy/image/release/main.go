// Command release makes the archives of a release; .ci/release starts it.
//
//	release [-source DIR] VERSION FOLDER [OS/ARCH ...]
//
// FOLDER gets an archive and a list of components (CycloneDX) for each platform, and SHA256SUMS.
// It builds the commit, without changes in the tree. Two builds of one commit by
// one version of Go are the same bytes. All files have the time of the commit, so SOURCE_DATE_EPOCH
// is not read.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/evently/workers/deploy/image/program"
)

const name = "evently-workers"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ExitOnError)
	tree := flags.String("source", ".", "folder of the repository")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("usage: .ci/release VERSION FOLDER [OS/ARCH ...]")
	}
	version, folder, platforms := flags.Arg(0), flags.Arg(1), flags.Args()[2:]
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}
	}
	if err := program.CheckVersion(version); err != nil {
		return err
	}
	for _, p := range platforms {
		if goos, goarch, ok := strings.Cut(p, "/"); !ok || goos == "" || goarch == "" || strings.Contains(goarch, "/") {
			return fmt.Errorf("platform %q: write OS/ARCHITECTURE, such as linux/arm64", p)
		}
	}
	commit, err := program.CommitOf(ctx, *tree)
	if err != nil {
		return err
	}
	if commit.Modified {
		fmt.Fprintln(os.Stderr, "release: changes that are not committed are not part of the archives")
	}
	commit.Modified = false
	work, err := os.MkdirTemp("", "evently-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r := release{Build: program.Build{Source: filepath.Join(work, "source"), Version: version, Commit: commit}, work: work, folder: folder}
	if err := checkOut(ctx, *tree, r.Source); err != nil {
		return err
	}
	if err := r.readShared(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range platforms {
		if err := r.platform(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if err := write(filepath.Join(folder, "SHA256SUMS"), r.sums.Bytes()); err != nil {
		return err
	}
	fmt.Printf("release: %s has %d files and SHA256SUMS\n", folder, 2*len(platforms))
	return nil
}

// checkOut writes the files of the commit to a folder.
func checkOut(ctx context.Context, tree, folder string) error {
	cmd := exec.CommandContext(ctx, "git", "-C", tree, "archive", "HEAD")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("git archive: %w: %s", err, stderr.String())
	}
	for r := tar.NewReader(bytes.NewReader(out)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue // folders come with their files, and the tree has no links
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		path := filepath.Join(folder, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := write(path, raw); err != nil {
			return err
		}
	}
}

// release is one that is made.
type release struct {
	program.Build
	work, folder string
	shared       []program.File // in all archives
	unit         []byte         // of systemd
	sums         bytes.Buffer
}

// readShared reads the files that all archives have. A program of this machine writes the manual
// page and the completions.
func (r *release) readShared(ctx context.Context) error {
	for _, file := range []string{"README.md", "CHANGELOG.md", "LICENSE"} {
		raw, err := os.ReadFile(filepath.Join(r.Source, file))
		if err != nil {
			return err
		}
		r.shared = append(r.shared, program.File{Name: file, Mode: 0o644, Content: raw})
	}
	unit, err := os.ReadFile(filepath.Join(r.Source, "deploy", name+".service"))
	if err != nil {
		return err
	}
	r.unit = unit
	here, err := r.compiled(ctx, runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return err
	}
	for file, args := range map[string][]string{
		"man/man1/" + name + ".1": {"man"}, "completions/" + name + ".bash": {"completion", "bash"},
		"completions/_" + name: {"completion", "zsh"}, "completions/" + name + ".fish": {"completion", "fish"},
	} {
		cmd := exec.CommandContext(ctx, here, args...)
		cmd.Env = []string{} // no variable of the machine is part of the text
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
		r.shared = append(r.shared, program.File{Name: file, Mode: 0o644, Content: out})
	}
	return nil
}

// compiled returns the program for a platform. It compiles it once.
func (r *release) compiled(ctx context.Context, goos, goarch string) (string, error) {
	path := filepath.Join(r.work, goos+"-"+goarch)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, r.Compile(ctx, goos, goarch, path)
}

// platform writes the archive and the list of components of a platform.
func (r *release) platform(ctx context.Context, platform string) error {
	goos, goarch, _ := strings.Cut(platform, "/")
	title := fmt.Sprintf("%s-%s-%s-%s", name, r.Version, goos, goarch)
	fmt.Println("release:", title)
	binary, err := r.compiled(ctx, goos, goarch)
	if err != nil {
		return err
	}
	components, err := r.Components(ctx, binary)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	files := []program.File{{Name: name, Mode: 0o755, Content: raw}, {Name: "THIRD-PARTY-LICENSES.txt", Mode: 0o644, Content: components.Licences}}
	if goos == "linux" {
		files = append(files, program.File{Name: name + ".service", Mode: 0o644, Content: r.unit})
	}
	files = append(files, r.shared...)
	for i := range files {
		files[i].Name = title + "/" + files[i].Name
	}
	packed, err := program.Tar(files, r.Commit.Time)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	z, err := gzip.NewWriterLevel(&archive, gzip.BestCompression) // its header has neither a name nor a time
	if err != nil {
		return err
	}
	if _, err := z.Write(packed); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := r.add(title+".tar.gz", archive.Bytes()); err != nil {
		return err
	}
	return r.add(title+".cdx.json", components.List)
}

// add writes a file of the release, and its sum.
func (r *release) add(file string, raw []byte) error {
	fmt.Fprintf(&r.sums, "%x  %s\n", sha256.Sum256(raw), file)
	return write(filepath.Join(r.folder, file), raw)
}

func write(path string, raw []byte) error { return os.WriteFile(path, raw, 0o644) }
