package incident

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/evently/workers/monitor/summary"
)

// Read opens a bundle of a size. A file that is damaged or not understood is a fault of the
// bundle, which opens nevertheless. The error is [ErrNoBundle] with the reason.
func Read(r io.ReaderAt, size int64) (*Bundle, error) {
	if size > MostSize {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrNoBundle, size, MostSize)
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNoBundle, notZip(r, size))
	}
	if len(z.File) > mostEntries {
		return nil, fmt.Errorf("%w: it has %d files", ErrNoBundle, len(z.File))
	}
	b := new(Bundle)
	known := []string{manifestFile}
	for _, p := range b.parts() {
		known = append(known, p.name)
	}
	contents := map[string][]byte{}
	total := 0
	for _, f := range z.File {
		if !slices.Contains(known, f.Name) {
			return nil, fmt.Errorf("%w: it has a file that none of ours has", ErrNoBundle)
		}
		if _, twice := contents[f.Name]; twice {
			return nil, fmt.Errorf("%w: %s is in it twice", ErrNoBundle, f.Name)
		}
		raw, err := content(f, min(mostFile, mostTotal-total))
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrNoBundle, f.Name, err)
		}
		total += len(raw)
		contents[f.Name] = raw
	}
	if err := json.Unmarshal(contents[manifestFile], &b.Manifest); err != nil || b.Manifest.Format == 0 {
		return nil, fmt.Errorf("%w: it has no manifest", ErrNoBundle)
	}
	if b.Manifest.Format != Format {
		return nil, fmt.Errorf("%w: its format is %d, and this version opens format %d", ErrNoBundle, b.Manifest.Format, Format)
	}
	b.take(contents)
	return b, nil
}

// notZip tells why a file is no zip. The table of a zip is at its end, which a copy that was
// interrupted lacks.
func notZip(r io.ReaderAt, size int64) string {
	begin := make([]byte, 4)
	switch _, err := r.ReadAt(begin, 0); {
	case size == 0:
		return "it is empty"
	case err == nil && string(begin) == "PK\x03\x04":
		return "its end is missing or damaged; copy it again from where it was made"
	}
	return "it is no zip"
}

// content reads one file, up to a number of bytes. The size in the zip may be a lie.
func content(f *zip.File, most int) ([]byte, error) {
	if !f.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a plain file")
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("it cannot be unpacked")
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	switch {
	case len(raw) > most:
		return nil, fmt.Errorf("it is too large")
	case err != nil:
		return nil, fmt.Errorf("it is damaged; copy the bundle again from where it was made")
	}
	return raw, nil
}

// take decodes the files, and compares them with the manifest.
func (b *Bundle) take(contents map[string][]byte) {
	for _, p := range b.parts() {
		raw, ok := contents[p.name]
		i := slices.IndexFunc(b.Manifest.Files, func(f File) bool { return f.Name == p.name })
		switch hash := sha256.Sum256(raw); {
		case !ok && i < 0:
			continue // it was too large, as Missing tells
		case !ok:
			b.fault(p.name + " is missing")
			continue
		case i < 0:
			b.fault(p.name + " is not in the manifest")
		case b.Manifest.Files[i].SHA256 != hex.EncodeToString(hash[:]):
			b.fault(p.name + " was changed since the bundle was made")
		}
		if err := p.decode(raw); err != nil {
			b.fault(p.name + " is not understood")
		}
	}
	if b.Summary == nil {
		b.Summary = new(summary.Summary)
	}
	b.bound()
}

func (b *Bundle) fault(text string) { b.Faults = append(b.Faults, text) }

// bound shortens lists that no bundle of ours has as long.
func (b *Bundle) bound() {
	const most = 5000
	b.Mails, b.Tasks = head(b.Mails, mostMails), head(b.Tasks, mostTasks)
	b.Health.Changes, b.Health.Processes = head(b.Health.Changes, most), head(b.Health.Processes, most)
	b.Configuration, b.Manifest.Missing = head(b.Configuration, most), head(b.Manifest.Missing, mostEntries)
	b.Counts.States, b.Counts.Classes = head(b.Counts.States, most), head(b.Counts.Classes, most)
	s := b.Summary
	s.Findings, s.Workers, s.Breakers = head(s.Findings, most), head(s.Workers, most), head(s.Breakers, most)
	s.Failures, s.Queues.All, s.Missing = head(s.Failures, most), head(s.Queues.All, most), head(s.Missing, most)
	n := 0
	for name, samples := range b.Queues {
		if n++; n > most {
			delete(b.Queues, name)
			continue
		}
		b.Queues[name] = head(samples, mostSamples)
	}
}

func head[T any](all []T, most int) []T { return all[:min(most, len(all))] }
