package incident

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/mail"
)

// Write writes a bundle without the secrets, and with masked addresses. nodes are the names of
// nodes, which look like addresses and stay.
func (b *Bundle) Write(w io.Writer, secrets, nodes []string) error {
	clean := newScrubber(secrets, nodes)
	m := b.Manifest
	m.Format, m.Files = Format, nil
	z := zip.NewWriter(w)
	total := 0
	for _, p := range b.parts() {
		raw, err := p.encode(clean)
		if err != nil {
			return fmt.Errorf("write %s: %w", p.name, err)
		}
		if len(raw) > mostFile || total+len(raw) > mostTotal {
			m.Missing = append(m.Missing, p.name+" is too large, choose a shorter time")
			continue
		}
		total += len(raw)
		hash := sha256.Sum256(raw)
		m.Files = append(m.Files, File{Name: p.name, Size: int64(len(raw)), SHA256: hex.EncodeToString(hash[:])})
		if err := add(z, p.name, raw, m.Created); err != nil {
			return err
		}
	}
	raw, err := part{manifestFile, &m}.encode(clean)
	if err != nil {
		return err
	}
	if err := add(z, manifestFile, raw, m.Created); err != nil {
		return err
	}
	return z.Close()
}

func add(z *zip.Writer, name string, raw []byte, at time.Time) error {
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
	if err != nil {
		return err
	}
	_, err = w.Write(raw)
	return err
}

// scrubber removes what must not be in a bundle. The parts have no secret of their own: they
// come from readers that hide them. It is the last check.
type scrubber struct {
	secrets *strings.Replacer
	nodes   map[string]bool
}

// shortestSecret is the length from which a text is looked for. A shorter one would also
// replace parts of words.
const shortestSecret = 4

func newScrubber(secrets, nodes []string) *scrubber {
	var pairs []string
	for _, s := range config.LongestFirst(slices.Clone(secrets)) { // one may be a part of another one
		if len(s) >= shortestSecret {
			pairs = append(pairs, s, "***")
		}
	}
	c := &scrubber{secrets: strings.NewReplacer(pairs...), nodes: map[string]bool{}}
	for _, n := range nodes {
		c.nodes[n] = true
	}
	return c
}

// address finds addresses of mail, and names of nodes.
var address = regexp.MustCompile(`[\pL\pN._%+'=/!#$&?^{|}~-]+@[\pL\pN][\pL\pN.-]*`)

func (c *scrubber) scrub(text string) string {
	return address.ReplaceAllStringFunc(c.secrets.Replace(text), func(found string) string {
		if c.nodes[found] || c.nodes[strings.TrimRight(found, ".-")] {
			return found
		}
		return mail.MaskAddress(found)
	})
}

// value returns a value as JSON, with all of its texts scrubbed. Texts are scrubbed before they
// are escaped, so that no escape hides one.
func (c *scrubber) value(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err = e.Encode(c.walk(plain))
	return out.Bytes(), err
}

// walk scrubs the texts of a decoded value.
func (c *scrubber) walk(v any) any {
	switch v := v.(type) {
	case string:
		return c.scrub(v)
	case []any:
		for i := range v {
			v[i] = c.walk(v[i])
		}
	case map[string]any:
		clean := make(map[string]any, len(v))
		for name, one := range v {
			clean[c.scrub(name)] = c.walk(one)
		}
		return clean
	}
	return v
}
