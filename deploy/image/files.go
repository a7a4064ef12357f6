package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/evently/workers/deploy/image/program"
)

// user is the number of the user, as in the images of distroless.
const user = "65532"

// authorities is the file of the certificate authorities.
const authorities = "etc/ssl/certs/ca-certificates.crt"

// baseFiles are the files beside the program. All of them come from Go modules and Go itself,
// so that machines do not differ.
func baseFiles(ctx context.Context) ([]program.File, error) {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // only crypto/x509 would know of it
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	goRoot, err := program.GoRoot(ctx)
	if err != nil {
		return nil, err
	}
	zones, err := os.ReadFile(filepath.Join(goRoot, "lib/time/zoneinfo.zip"))
	if err != nil {
		return nil, fmt.Errorf("time zones of Go: %w", err)
	}
	return []program.File{
		{Name: authorities, Mode: 0o644, Content: roots.Bytes()},
		{Name: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\nnonroot:x:" + user + ":\n")},
		{Name: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:" + user + ":" + user + ":nonroot:/:/sbin/nologin\n")},
		{Name: "tmp/", Mode: 0o1777},
		{Name: "usr/share/zoneinfo.zip", Mode: 0o644, Content: zones},
	}, nil
}

// layerOf packs files.
func layerOf(files []program.File, created time.Time) (v1.Layer, error) {
	raw, err := program.Tar(files, created)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		tarball.WithCompressionLevel(gzip.BestCompression))
}
