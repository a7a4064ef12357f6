package main

import (
	"archive/tar"
	"archive/zip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/evently/workers/deploy/image/program"
)

// TestImage makes the image of this machine's platform twice, unpacks it, and runs it as its
// user in its own root folder. make image makes those of all platforms.
func TestImage(t *testing.T) {
	o := options{
		Build: program.Build{
			Source: "../..", Version: "v0.0.0-image-test", Commit: program.Commit{Name: strings.Repeat("0123456789", 4), Time: time.Unix(1_700_000_000, 0).UTC()},
		},
		platforms: []string{"linux/" + runtime.GOARCH},
	}
	index, err := build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// Another machine has other settings.
	t.Setenv("GOFLAGS", "-buildvcs=true -tags=another")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOARM64", "v9.0")
	again, err := build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	first, err1 := index.Digest()
	second, err2 := again.Digest()
	if err := errors.Join(err1, err2); err != nil || first != second {
		t.Errorf("two builds differ: %s, %s (%v)", first, second, err)
	}

	// The layout on the disk is whole, as other programs read it.
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendIndex(index)
	}
	if err != nil {
		t.Fatal(err)
	}
	read, err := layout.ImageIndexFromPath(dir)
	if err == nil {
		err = validate.Index(read)
	}
	if err != nil {
		t.Error(err)
	}

	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	sameAsDockerfile(t, image)
	checkConfig(t, image, o)
	throughRegistry(t, index)
	root := t.TempDir()
	unpacked := unpack(t, image, root)
	t.Logf("%.1f MB compressed, %.1f MB unpacked", float64(compressed(t, image))/1e6, float64(unpacked)/1e6)
	checkFiles(t, root)
	pem, err := os.ReadFile(filepath.Join(root, authorities))
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) || strings.Count(string(pem), "BEGIN") < 100 {
		t.Errorf("no certificate authorities: %v", err)
	}
	components, err := os.ReadFile(filepath.Join(root, "usr/share/sbom/evently-workers.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	checkComponents(t, components, filepath.Join(root, "evently-workers"))
	licences, err := os.ReadFile(filepath.Join(root, "usr/share/doc/evently-workers/THIRD-PARTY-LICENSES.txt"))
	if err != nil || !strings.Contains(string(licences), "github.com/gomodule/redigo v") || !strings.Contains(string(licences), "std 1.") {
		t.Errorf("licences: %v\n%.500s", err, licences)
	}
	if os.Geteuid() == 0 { // only root may change the root folder
		inChroot(t, root)
	}
}

// TestRefusals gives the command what it must not take.
func TestRefusals(t *testing.T) {
	for _, platform := range []string{"", "linux", "darwin/arm64", "linux/arm/v7", "linux/amd64/x/y"} {
		if _, err := build(t.Context(), options{Build: program.Build{Source: "../..", Version: "v1"}, platforms: []string{platform}}); err == nil {
			t.Errorf("platform %q was taken", platform)
		}
	}
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-out", dir}); err == nil || !strings.Contains(err.Error(), "no OCI layout") {
		t.Errorf("a folder of other files: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func compressed(t *testing.T, image v1.Image) (size int64) {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		size += l.Size
	}
	return size
}

// sameAsDockerfile compares what a container is started with.
func sameAsDockerfile(t *testing.T, image v1.Image) {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, last, _ := strings.Cut(string(raw), "\nFROM gcr.io/distroless")
	of := func(instruction string) string {
		m := regexp.MustCompile(`(?m)^` + instruction + ` (.*)$`).FindStringSubmatch(last)
		if m == nil {
			return ""
		}
		return m[1]
	}
	quoted := func(words []string) string { return `["` + strings.Join(words, `", "`) + `"]` }
	c := file.Config
	port := ""
	for p := range c.ExposedPorts {
		port = strings.TrimSuffix(p, "/tcp")
	}
	check := fmt.Sprintf("--interval=%s --timeout=%s --start-period=%s --retries=%d CMD %s",
		c.Healthcheck.Interval, c.Healthcheck.Timeout, c.Healthcheck.StartPeriod, c.Healthcheck.Retries, quoted(c.Healthcheck.Test[1:]))
	for instruction, got := range map[string]string{
		"USER": c.User, "ENTRYPOINT": quoted(c.Entrypoint), "CMD": quoted(c.Cmd), "STOPSIGNAL": c.StopSignal, "EXPOSE": port, "HEALTHCHECK": check,
	} {
		if want := of(instruction); got != want {
			t.Errorf("%s: the image has %s, the Dockerfile %s", instruction, got, want)
		}
	}
}

// checkConfig looks at what the Dockerfile does not have.
func checkConfig(t *testing.T, image v1.Image, o options) {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS != "linux" || file.Architecture != runtime.GOARCH || !file.Created.Equal(o.Commit.Time) {
		t.Errorf("%s/%s, created %s", file.OS, file.Architecture, file.Created)
	}
	want := map[string]string{
		"title": "evently-workers", "version": o.Version, "revision": o.Commit.Name, "licenses": "MIT",
		"source": "https://github.com/evently/workers", "created": "2023-11-14T22:13:20Z",
	}
	got := map[string]string{}
	for name, value := range file.Config.Labels {
		got[strings.TrimPrefix(name, "org.opencontainers.image.")] = value
	}
	if !maps.Equal(got, want) {
		t.Errorf("labels %v, want %v", got, want)
	}
}

// throughRegistry pushes the image to a registry, and pulls what a machine of this kind would.
func throughRegistry(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	tag, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/evently-workers:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatalf("push: %v", err)
	}
	pulled, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err == nil {
		err = validate.Image(pulled)
	}
	if err != nil {
		t.Fatalf("pull: %v", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := pulled.Digest(); err != nil || digest != manifest.Manifests[0].Digest {
		t.Errorf("pulled %s, pushed %s (%v)", digest, manifest.Manifests[0].Digest, err)
	}
}

// checkFiles fails for a missing file, for a file without a use, such as a shell, and for one that
// the user can write.
func checkFiles(t *testing.T, root string) {
	t.Helper()
	var got []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if name := strings.TrimPrefix(path, root+"/"); info.Mode() != 0o644 && !(name == "evently-workers" && info.Mode() == 0o755) {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
		got = append(got, strings.TrimPrefix(path, root+"/"))
		return nil
	})
	want := []string{
		"etc/group", "etc/passwd", authorities, "evently-workers", "usr/share/doc/evently-workers/LICENSE", "usr/share/doc/evently-workers/THIRD-PARTY-LICENSES.txt",
		"usr/share/sbom/evently-workers.cdx.json", "usr/share/zoneinfo.zip",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("files %q, want %q (%v)", got, want, err)
	}
	zones, err := zip.OpenReader(filepath.Join(root, "usr/share/zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer zones.Close()
	if _, err := fs.Stat(zones, "Europe/Berlin"); err != nil {
		t.Error(err)
	}
}

// unpack writes the files of an image, and returns their size.
func unpack(t *testing.T, image v1.Image, root string) (size int64) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		content, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			path, mode := filepath.Join(root, h.Name), os.FileMode(h.Mode&0o777)
			if h.Mode&0o1000 != 0 {
				mode |= os.ModeSticky
			}
			if h.Uid != 0 || h.Gid != 0 {
				t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
			}
			if h.Typeflag == tar.TypeDir {
				err = os.MkdirAll(path, 0o755)
			} else {
				var raw []byte
				if raw, err = io.ReadAll(r); err == nil {
					err = os.WriteFile(path, raw, 0o644)
				}
			}
			if err == nil {
				err = os.Chmod(path, mode)
			}
			if err != nil {
				t.Fatal(err)
			}
			size += h.Size
		}
		content.Close()
	}
	return size
}

// inChroot starts the worker as a container would: as its user, in its root folder, with its
// environment.
func inChroot(t *testing.T, root string) {
	t.Helper()
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // its user must reach it
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	probe := exec.CommandContext(t.Context(), "/bin/mount", "--bind", root, root)
	probe.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	mounts := probe.Run() == nil
	t.Logf("root folder read-only by a mount: %t", mounts)
	if !mounts { // its user can write nowhere
		if err := os.Chmod(filepath.Join(root, "tmp"), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	redis, health := freePort(t), freePort(t)
	server := exec.CommandContext(t.Context(), "redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })

	command := func(ctx context.Context, args ...string) *exec.Cmd {
		// The root folder is read-only, /tmp too: in a space of mounts that ends with the process.
		cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{
			"-c", `/bin/mount --bind "$0" "$0" && /bin/mount -o remount,bind,ro "$0" && exec /usr/sbin/chroot --userspec=65532:65532 "$0" /evently-workers "$@"`, root,
		}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		if !mounts {
			cmd = exec.CommandContext(ctx, "/evently-workers", args...)
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		}
		cmd.Env = []string{
			"PATH=/", "ZONEINFO=/usr/share/zoneinfo.zip", "SSL_CERT_FILE=/" + authorities, "REDIS_URL=redis://127.0.0.1:" + redis + "/0",
			"HEALTH_ADDR=127.0.0.1:" + health, "LEDGER_DATABASE_URL=off", "DB_HOST=127.0.0.1", "SMTP_HOST=127.0.0.1", "SMTP_TLS_MODE=none",
		}
		return cmd
	}
	worker := command(context.Background(), "run")
	var stderr strings.Builder // read after Wait
	worker.Stderr = &stderr
	begin := time.Now()
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer worker.Process.Kill()
	until := func(path string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if answer, err := http.Get("http://127.0.0.1:" + health + path); err == nil {
				answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					return
				}
			}
			if time.Now().After(end) {
				worker.Process.Kill()
				worker.Wait()
				t.Fatalf("%s is not 200\n%s", path, stderr.String())
			}
		}
	}
	until("/livez")
	t.Logf("from start to /livez: %s", time.Since(begin).Round(time.Millisecond))
	until("/readyz")
	if out, err := command(t.Context(), "health").CombinedOutput(); err != nil {
		t.Errorf("health: %v\n%s", err, out)
	}
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, stderr.String())
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
