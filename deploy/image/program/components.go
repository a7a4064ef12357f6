package program

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Components are the modules in a program.
type Components struct {
	List     []byte // CycloneDX 1.6, JSON
	Licences []byte // the texts that must be given away with the program
}

// module is one of a program.
type module struct {
	path, version, sum string
	texts              []string // of its licence
	ids                []string // of the licences, as SPDX names them; none: not known
}

// Components reads the modules from a compiled program, and their licences from the modules that
// it was made of.
func (b Build) Components(ctx context.Context, file string) (Components, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return Components{}, err
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	folders, err := b.folders(ctx, settings["GOOS"], settings["GOARCH"])
	if err != nil {
		return Components{}, err
	}
	modules := []module{{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, module{path: m.Path, version: m.Version, sum: m.Sum})
	}
	for i := range modules {
		if err := modules[i].readLicence(folders[modules[i].path]); err != nil {
			return Components{}, err
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return Components{}, err
	}
	sum := sha256.Sum256(raw)
	list, err := b.list(info, modules, hex.EncodeToString(sum[:]))
	return Components{List: list, Licences: licenceTexts(modules)}, err
}

// folders returns the folders of the modules that the program needs, and that of Go as "std".
func (b Build) folders(ctx context.Context, goos, goarch string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{with .Module}}{{with .Replace}}{{.Path}}\t{{.Dir}}{{else}}{{.Path}}\t{{.Dir}}{{end}}{{end}}", ".")
	cmd.Dir, cmd.Env = b.Source, environment(goos, goarch)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", withStderr(err))
	}
	all := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		all[path] = dir
	}
	all["std"], err = GoRoot(ctx)
	return all, err
}

// GoRoot returns the folder of Go.
func GoRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", withStderr(err))
	}
	return strings.TrimSpace(string(out)), nil
}

// readLicence reads the files of a module that have its licence in their names.
func (m *module) readLicence(folder string) error {
	if folder == "" {
		return nil
	}
	entries, err := os.ReadDir(folder) // sorted
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if !e.Type().IsRegular() || !strings.HasPrefix(name, "licen") && !strings.HasPrefix(name, "copying") && !strings.HasPrefix(name, "notice") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return err
		}
		m.texts = append(m.texts, strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n")))
		if !strings.HasPrefix(name, "notice") {
			m.ids = append(m.ids, licenceIDs(string(text))...)
		}
	}
	slices.Sort(m.ids)
	m.ids = slices.Compact(m.ids)
	return nil
}

// licenceIDs finds licences by the words that all copies of them have.
func licenceIDs(text string) (ids []string) {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(words string) bool { return strings.Contains(text, words) }
	if has("permission is hereby granted, free of charge, to any person obtaining a copy") {
		ids = append(ids, "MIT")
	}
	if has("permission to use, copy, modify, and/or distribute this software for any purpose") || has("permission to use, copy, modify, and distribute this software for any purpose") {
		ids = append(ids, "ISC")
	}
	if has("apache license version 2.0, january 2004") || has("licensed under the apache license, version 2.0") {
		ids = append(ids, "Apache-2.0")
	}
	if has("mozilla public license version 2.0") || has("mozilla public license, version 2.0") {
		ids = append(ids, "MPL-2.0")
	}
	if has("redistribution and use in source and binary forms") {
		if has("to endorse or promote products") {
			ids = append(ids, "BSD-3-Clause")
		} else {
			ids = append(ids, "BSD-2-Clause")
		}
	}
	return ids
}

// licenceTexts returns each text once, below the modules that it belongs to.
func licenceTexts(modules []module) []byte {
	var order []string
	owners := map[string][]string{}
	for _, m := range modules {
		for _, text := range m.texts {
			if owners[text] == nil {
				order = append(order, text)
			}
			owners[text] = append(owners[text], m.path+" "+m.version)
		}
	}
	var b bytes.Buffer
	b.WriteString("The program has parts of these modules of Go, under these licences.\n")
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(owners[text], "\n"), text)
	}
	return b.Bytes()
}

// These are the parts of a list of components that CycloneDX names.
type (
	component struct {
		Ref      string    `json:"bom-ref"`
		Type     string    `json:"type"`
		Name     string    `json:"name"`
		Version  string    `json:"version"`
		Hashes   []hash    `json:"hashes,omitempty"`
		Licences []licence `json:"licenses,omitempty"`
		PURL     string    `json:"purl"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	licence struct {
		Licence    *licenceID `json:"license,omitempty"`
		Expression string     `json:"expression,omitempty"`
	}
	licenceID struct {
		ID string `json:"id"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

func (m module) component() (component, error) {
	c := component{Type: "library", Name: m.path, Version: m.version, PURL: "pkg:golang/" + m.path + "@" + m.version}
	c.Ref = c.PURL
	if sum, ok := strings.CutPrefix(m.sum, "h1:"); ok { // SHA-256 of the names and sums of its files, as in go.sum
		raw, err := base64.StdEncoding.DecodeString(sum)
		if err != nil {
			return c, fmt.Errorf("sum of %s: %w", m.path, err)
		}
		c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
	}
	switch len(m.ids) {
	case 0:
	case 1:
		c.Licences = []licence{{Licence: &licenceID{m.ids[0]}}}
	default: // parts of the module have other licences, and all of them count
		c.Licences = []licence{{Expression: strings.Join(m.ids, " AND ")}}
	}
	return c, nil
}

// list writes the components of a program whose SHA-256 is given.
func (b Build) list(info *debug.BuildInfo, modules []module, sum string) ([]byte, error) {
	self := module{path: info.Main.Path, version: b.Version}
	if err := self.readLicence(b.Source); err != nil {
		return nil, err
	}
	main, err := self.component()
	if err != nil {
		return nil, err
	}
	main.Type, main.Hashes = "application", []hash{{"SHA-256", sum}}
	all, needs := []component{}, []string{}
	for _, m := range modules {
		c, err := m.component()
		if err != nil {
			return nil, err
		}
		all, needs = append(all, c), append(needs, c.Ref)
	}
	properties := []property{}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" {
			properties = append(properties, property{"cdx:gomod:build:env:" + s.Key, s.Value})
		}
	}
	if b.Commit.Name != "" {
		properties = append(properties, property{"vcs:revision", b.Commit.Name})
	}
	metadata := map[string]any{"component": main, "properties": properties, "lifecycles": []any{map[string]string{"phase": "build"}}}
	if !b.Commit.Time.IsZero() {
		metadata["timestamp"] = b.Commit.Time.Format(time.RFC3339)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err = e.Encode(map[string]any{
		"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata": metadata, "components": all, "dependencies": []dependency{{main.Ref, needs}},
	})
	return out.Bytes(), err
}
