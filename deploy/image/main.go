// Command image makes the container image without a container engine, as an OCI layout.
//
//	go -C deploy/image run . -out ../../bin/image -version v1.2.3
//
// The image is that of the Dockerfile: the static program, certificate authorities, time zones,
// a user and /tmp. Two builds of one commit are the same bytes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/evently/workers/deploy/image/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options say what is made.
type options struct {
	program.Build
	platforms []string // os/arch
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("image", flag.ExitOnError)
	source := flags.String("source", "../..", "folder of the program's module")
	version := flags.String("version", "unknown", "version of the program")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "platforms, with commas between them")
	out := flags.String("out", "../../bin/image", "folder for the OCI layout; it is replaced")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := replaceable(*out); err != nil { // before the minute that a build can take
		return err
	}
	commit, err := program.CommitOf(ctx, *source)
	if err != nil {
		return err
	}
	if commit.Modified {
		fmt.Fprintln(os.Stderr, "image: the tree has changes that are not committed; another build of this commit will be other bytes")
	}
	o := options{Build: program.Build{Source: *source, Version: *version, Commit: commit}, platforms: strings.Split(*platforms, ",")}
	index, err := build(ctx, o)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(*out); err != nil {
		return err
	}
	path, err := layout.Write(*out, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": *version})); err != nil {
		return err
	}
	return describe(index, *out)
}

// replaceable refuses a folder that is neither empty nor an OCI layout: what is in it would be lost.
func replaceable(folder string) error {
	entries, err := os.ReadDir(folder)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "oci-layout" }) {
		return fmt.Errorf("%s has files and is no OCI layout; name another folder with -out, or empty it", folder)
	}
	return nil
}

// build makes an image for each platform, and the index of them.
func build(ctx context.Context, o options) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range o.platforms {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			return nil, err
		}
		if p.OS != "linux" || p.Architecture == "" || p.Variant != "" {
			return nil, fmt.Errorf("platform %q: write linux/ARCHITECTURE, such as linux/arm64", platform)
		}
		image, err := buildImage(ctx, o, *p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: p}})
	}
	return index, nil
}

func buildImage(ctx context.Context, o options, p v1.Platform) (v1.Image, error) {
	work, err := os.MkdirTemp("", "evently-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	binary := filepath.Join(work, "evently-workers")
	if err := o.Compile(ctx, p.OS, p.Architecture, binary); err != nil {
		return nil, err
	}
	base, err := baseFiles(ctx)
	if err != nil {
		return nil, err
	}
	components, err := o.Components(ctx, binary)
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(filepath.Join(o.Source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	for _, l := range []struct {
		why   string
		files []program.File
	}{
		{"certificate authorities, time zones, user", base},
		{"program and its components", []program.File{
			{Name: "evently-workers", Mode: 0o755, Content: raw},
			{Name: "usr/share/doc/evently-workers/LICENSE", Mode: 0o644, Content: licence},
			{Name: "usr/share/doc/evently-workers/THIRD-PARTY-LICENSES.txt", Mode: 0o644, Content: components.Licences},
			{Name: "usr/share/sbom/evently-workers.cdx.json", Mode: 0o644, Content: components.List},
		}},
	} {
		layer, err := layerOf(l.files, o.Commit.Time)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: o.Commit.Time}, CreatedBy: "deploy/image", Comment: l.why},
		}); err != nil {
			return nil, err
		}
	}
	return configure(image, o, p)
}

// configure sets what a container is started with. TestImage compares it with the Dockerfile.
func configure(image v1.Image, o options, p v1.Platform) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	revision := o.Commit.Name
	if o.Commit.Modified {
		revision += "-dirty"
	}
	file.OS, file.Architecture, file.Created = p.OS, p.Architecture, v1.Time{Time: o.Commit.Time}
	file.Config = v1.Config{
		User: user + ":" + user, Entrypoint: []string{"/evently-workers"}, Cmd: []string{"run"}, StopSignal: "SIGTERM", WorkingDir: "/",
		ExposedPorts: map[string]struct{}{"8004/tcp": {}},
		Env:          []string{"PATH=/", "ZONEINFO=/usr/share/zoneinfo.zip", "SSL_CERT_FILE=/" + authorities},
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "/evently-workers", "health"}, Interval: 15 * time.Second, Timeout: 5 * time.Second, StartPeriod: 20 * time.Second, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title": "evently-workers", "org.opencontainers.image.version": o.Version,
			"org.opencontainers.image.source": "https://github.com/evently/workers", "org.opencontainers.image.created": o.Commit.Time.Format(time.RFC3339),
			"org.opencontainers.image.revision": revision, "org.opencontainers.image.licenses": "MIT",
		},
	}
	return mutate.ConfigFile(image, file)
}

// describe prints what was made.
func describe(index v1.ImageIndex, out string) error {
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	fmt.Printf("%s  %s\n", digest, out)
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		layers, err := image.Layers()
		if err != nil {
			return err
		}
		var size int64
		for _, l := range layers {
			n, err := l.Size()
			if err != nil {
				return err
			}
			size += n
		}
		fmt.Printf("%s  %s, %.1f MB compressed\n", d.Digest, d.Platform, float64(size)/1e6)
	}
	return nil
}
