package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxScripts is the most that all scripts together may have.
const maxScripts = 150_000

// The scripts of others are those of their packages, and all scripts together are small.
func TestVendor(t *testing.T) {
	readme, err := assetFiles.ReadFile("assets/vendor/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("\\| `([^`]+)` \\| [^|]+ \\| [^|]+ \\| `([0-9a-f]{64})` \\|").FindAllStringSubmatch(string(readme), -1)
	if len(rows) != 4 {
		t.Fatalf("%d files in the README", len(rows))
	}
	for _, row := range rows {
		raw, err := assetFiles.ReadFile("assets/vendor/" + row[1])
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != row[2] {
			t.Errorf("%s is not the file of the README", row[1])
		}
	}
	a, err := newAssets()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for name, file := range a.files {
		if strings.HasSuffix(name, ".js") {
			total += len(file.raw)
		}
	}
	if total > maxScripts {
		t.Errorf("all scripts have %d bytes, at most %d", total, maxScripts)
	}
}

// Assets are kept for ever under names that change with them.
func TestAssets(t *testing.T) {
	site, base := serve(t, Config{Groups: []Group{new(samples)}, Guard: as(RolePublic)})
	c := client(t)
	for name := range bundles {
		path, err := site.assets.path(name)
		if err != nil {
			t.Fatal(err)
		}
		got := do(t, c, "GET", base+path, nil)
		if got.status != http.StatusOK || got.body == "" || !strings.Contains(got.header.Get("Cache-Control"), "immutable") || got.header.Get("Content-Type") == "" {
			t.Errorf("%s: status %d, %v", path, got.status, got.header)
		}
		for accepted, want := range map[string]string{"gzip": "gzip", "br, GZIP;q=0.5": "gzip", "gzip;q=0": "", "gzip; q=0.0, identity": "", "identity": "", "xgzip": ""} {
			if got := do(t, c, "GET", base+path, nil, "Accept-Encoding", accepted); got.header.Get("Content-Encoding") != want {
				t.Errorf("%s for %q has the encoding %q, want %q", path, accepted, got.header.Get("Content-Encoding"), want)
			}
		}
	}
	if got := do(t, c, "GET", base+"/assets/app.css", nil); got.status != http.StatusNotFound {
		t.Errorf("a name without a hash: status %d", got.status)
	}
}

// Text has enough contrast to its ground in both schemes (WCAG 2.2, 1.4.3: 4.5 to 1; 1.4.11:
// 3 to 1 for marks and the edges of fields).
func TestContrast(t *testing.T) {
	raw, err := assetFiles.ReadFile("assets/tokens.css")
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string][2]string{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)`).FindAllStringSubmatch(string(raw), -1) {
		tokens[m[1]] = [2]string{m[2], m[3]}
	}
	check := func(front, ground string, least float64) {
		f, ok := tokens[front]
		g, ok2 := tokens[ground]
		if !ok || !ok2 {
			t.Errorf("there is no token %s or %s", front, ground)
			return
		}
		for i, scheme := range []string{"light", "dark"} {
			if c := contrast(t, f[i], g[i]); c < least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, at least %.1f", scheme, front, ground, c, least)
			}
		}
	}
	for _, ground := range []string{"page", "card", "panel", "hover"} {
		for _, front := range []string{"ink", "text", "muted", "accent", "bad", "good", "wait"} {
			check(front, ground, 4.5)
		}
		check("control", ground, 3)
	}
	for _, tone := range []string{"good", "bad", "wait", "info", "calm"} {
		check(tone, tone+"-tint", 4.5)
		check(tone+"-line", "card", 3)
	}
	check("accent", "accent-tint", 4.5)
	check("ink", "accent-tint", 4.5)
	for _, ground := range []string{"button", "button-hover", "danger", "danger-hover"} {
		check("on-button", ground, 4.5)
	}
}

// contrast is the ratio of WCAG 2.2.
func contrast(t *testing.T, a, b string) float64 {
	l, m := luminance(t, a), luminance(t, b)
	return (max(l, m) + 0.05) / (min(l, m) + 0.05)
}

func luminance(t *testing.T, hex string) float64 {
	var parts [3]float64
	for i := range parts {
		n, err := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(fmt.Errorf("colour %s: %w", hex, err))
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			parts[i] = c / 12.92
		} else {
			parts[i] = math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*parts[0] + 0.7152*parts[1] + 0.0722*parts[2]
}
