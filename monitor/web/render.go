package web

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

//go:embed html
var frameFiles embed.FS

// liveSuffix ends the name of the part of a page that is pushed.
const liveSuffix = ".live"

// views are all templates. They are executed by many requests at once: nothing about a
// request is bound to them.
type views struct {
	set    *template.Template
	origin map[string]string // file of each template
}

// parseViews parses the frame and the groups.
func parseViews(a *assets, groups []Group) (*views, error) {
	v := &views{set: template.New("").Funcs(functions(a)), origin: map[string]string{}}
	errs := []error{v.parse(frameFiles, functions(a))}
	for _, g := range groups {
		errs = append(errs, v.parse(g.Templates(), functions(a)))
	}
	return v, errors.Join(errs...)
}

// parse adds the templates of all *.html files.
func (v *views) parse(files fs.FS, funcs template.FuncMap) error {
	return fs.WalkDir(files, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(file) != ".html" {
			return err
		}
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return err
		}
		if fault := inline.FindString(string(text)); fault != "" {
			return fmt.Errorf("%s has %q: the policy of the pages forbids inline scripts and styles", file, fault)
		}
		parsed, err := template.New("file " + file).Funcs(funcs).Parse(string(text))
		if err != nil {
			return err
		}
		for _, t := range parsed.Templates() {
			if err := checkCalls(t, funcs); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if err := v.add(t, file); err != nil {
				return err
			}
		}
		return nil
	})
}

// inline matches the markup that the policy of the pages would stop, and the attributes of
// htmx that evaluate code.
var inline = regexp.MustCompile(`(?i)<script\b[^>]*>[^<]|<style\b|\sstyle\s*=|\son[a-z]+\s*=\s*["']|\bhx-on\b|javascript:|["'\s]js:|hx-trigger\s*=\s*["'][^"']*\[`)

func (v *views) add(t *template.Template, file string) error {
	name := t.Name()
	if strings.HasPrefix(name, "file ") {
		if t.Tree != nil && strings.TrimSpace(t.Tree.Root.String()) != "" {
			return fmt.Errorf("%s has text outside of its templates", file)
		}
		return nil
	}
	if !strings.Contains(name, ".") {
		return fmt.Errorf("%s: the name of template %q must begin with that of its group and a dot", file, name)
	}
	if other, ok := v.origin[name]; ok {
		return fmt.Errorf("%s: template %q is in %s, too", file, name, other)
	}
	v.origin[name] = file
	_, err := v.set.AddParseTree(name, t.Tree)
	return err
}

func (v *views) has(name string) bool { _, ok := v.origin[name]; return ok }

// check makes html/template look at each template, which it does at the first execution. It
// finds calls of templates that do not exist, and places where no value can be escaped.
func (v *views) check() error {
	var errs []error
	for name := range v.origin {
		err := v.set.ExecuteTemplate(io.Discard, name, nil)
		if fault, ok := errors.AsType[*template.Error](err); ok {
			errs = append(errs, fmt.Errorf("%s: %w", v.origin[name], fault))
		}
	}
	return errors.Join(errs...)
}

// execute returns a rendered template.
func (v *views) execute(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := v.set.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return template.HTML(showOdd(b.String())), nil // the output of html/template
}
