package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// bundles are the files that pages load, with their parts in order. A folder stands for the
// files in it. htmx begins with a task of its own, which on a busy machine can run between two
// files of scripts: so it is in one file with the scripts that it must find.
var bundles = map[string][]string{
	"app.css":  {"layers.css", "vendor/uPlot.min.css", "tokens.css", "base.css", "parts.css", "frame.css", "styles"},
	"uplot.js": {"vendor/uPlot.iife.min.js"},
	"app.js":   {"vendor/htmx.min.js", "vendor/hx-sse.min.js", "app.js", "keys.js", "charts.js"},
	"icon.svg": {"icon.svg"},
}

// assets are the files, by names that change with their content, so that browsers keep them
// for ever.
type assets struct {
	names map[string]string // app.css: app.1a2b3c4d.css
	files map[string]asset  // by the name with the hash
}

type asset struct {
	kind         string
	raw, gzipped []byte
}

func newAssets() (*assets, error) {
	a := &assets{names: map[string]string{}, files: map[string]asset{}}
	for name, parts := range bundles {
		raw, err := bundle(parts)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sum := sha256.Sum256(raw)
		ext := path.Ext(name)
		hashed := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:5]) + ext
		a.names[name] = hashed
		a.files[hashed] = asset{kind: mime.TypeByExtension(ext), raw: raw, gzipped: compress(raw)}
	}
	return a, nil
}

// bundle joins files.
func bundle(parts []string) ([]byte, error) {
	var all bytes.Buffer
	for _, part := range parts {
		err := fs.WalkDir(assetFiles, "assets/"+part, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(file) == ".md" {
				return err
			}
			raw, err := assetFiles.ReadFile(file)
			if strings.HasPrefix(part, "vendor/") && path.Ext(file) == ".css" {
				raw = slices.Concat([]byte("@layer vendor{"), raw, []byte("}"))
			}
			all.Write(raw)
			all.WriteByte('\n')
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

func compress(raw []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a valid one
	_, err := z.Write(raw)
	if z.Close() != nil || err != nil || b.Len() >= len(raw) {
		return nil
	}
	return b.Bytes()
}

// path returns the path of a file. Its name is one of bundles.
func (a *assets) path(name string) (string, error) {
	hashed, ok := a.names[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return "/assets/" + hashed, nil
}

// ServeHTTP implements [http.Handler].
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file, ok := a.files[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", file.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := file.raw
	if file.gzipped != nil && acceptsGzip(r.Header) {
		h.Set("Content-Encoding", "gzip")
		body = file.gzipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// acceptsGzip reports whether a client takes gzip: "gzip;q=0" refuses it.
func acceptsGzip(h http.Header) bool {
	for coding := range strings.SplitSeq(strings.Join(h.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, q, _ := strings.Cut(weight, "=")
			f, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			return err != nil || f > 0
		}
	}
	return false
}
