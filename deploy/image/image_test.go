package main

import (
	"archive/tar"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestImage makes the image of this machine's platform twice, unpacks it, and runs it as its
// user in its own root folder. make image makes those of all platforms.
func TestImage(t *testing.T) {
	o := options{source: "../..", version: "v0.0.0-image-test", platforms: []string{"linux/" + runtime.GOARCH}, created: time.Unix(1_700_000_000, 0).UTC()}
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
	root := t.TempDir()
	unpacked := unpack(t, image, root)
	t.Logf("%.1f MB compressed, %.1f MB unpacked", float64(compressed(t, image))/1e6, float64(unpacked)/1e6)
	pem, err := os.ReadFile(filepath.Join(root, authorities))
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) || strings.Count(string(pem), "BEGIN") < 100 {
		t.Errorf("no certificate authorities: %v", err)
	}
	components, err := os.ReadFile(filepath.Join(root, "usr/share/sbom/evently-workers.cdx.json"))
	if err != nil || !strings.Contains(string(components), "pkg:golang/github.com/gomodule/redigo@v") {
		t.Errorf("no list of components: %v\n%.500s", err, components)
	}
	if os.Geteuid() == 0 { // only root may change the root folder
		inChroot(t, root)
	}
}

// TestRefusals gives the command what it must not take.
func TestRefusals(t *testing.T) {
	for _, platform := range []string{"", "linux", "darwin/arm64", "linux/arm/v7", "linux/amd64/x/y"} {
		if _, err := build(t.Context(), options{source: "../..", platforms: []string{platform}}); err == nil {
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
	redis, health := freePort(t), freePort(t)
	server := exec.CommandContext(t.Context(), "redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })

	command := func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "/evently-workers", args...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		cmd.Env = []string{
			"PATH=/", "ZONEINFO=/usr/share/zoneinfo.zip", "SSL_CERT_FILE=/" + authorities, "REDIS_URL=redis://127.0.0.1:" + redis + "/0",
			"HEALTH_ADDR=127.0.0.1:" + health, "LEDGER_DATABASE_URL=off", "DB_HOST=127.0.0.1", "SMTP_HOST=127.0.0.1", "SMTP_TLS_MODE=none",
		}
		return cmd
	}
	worker := command(context.Background(), "run")
	var log strings.Builder // read after Wait
	worker.Stderr = &log
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
				t.Fatalf("%s is not 200\n%s", path, log.String())
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
		t.Errorf("after SIGTERM: %v\n%s", err, log.String())
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
