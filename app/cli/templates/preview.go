package templates

import (
	"context"
	"fmt"
	"html"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/internal/loopback"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/pages/gallery"
	"github.com/evently/workers/monitor/preview"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

type previewCmd struct {
	Dir    string `arg:"" optional:"" help:"Folder; default: TEMPLATES_DIR, or the templates of the program."`
	Out    string `help:"Write the mails to this folder instead, each in light and dark and as text." placeholder:"DIR"`
	Listen string `help:"Address of the pages; a loopback one. The port is a free one unless it is given." default:"127.0.0.1:0" placeholder:"ADDR"`
}

// Help is the long help of the command.
func (previewCmd) Help() string {
	return `Serves the pages of the templates that the monitor has: each mail with samples,
in light, in dark and on a phone, in each language, its text and its checks. The
folder is read again every second, so a reload of the page shows a change. No
mail is sent. It ends with Ctrl-C.

Examples:

    ` + term.ProgramName + ` templates preview mails
    BRAND_NAME=Fest BRAND_COLOR=0a7d4b ` + term.ProgramName + ` templates preview
    ` + term.ProgramName + ` templates preview --out pages mails`
}

// Run shows the mails.
func (c previewCmd) Run(ctx context.Context, t term.Terminal) error {
	ctx, stop := signal.NotifyContext(ctx, app.StopSignals()...)
	defer stop()
	if c.Out != "" {
		return c.write(ctx, t)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil || !loopback.Is(host) {
		return &app.UsageError{Err: fmt.Errorf("--listen: %q is no loopback address with a port; write one such as 127.0.0.1:8080", c.Listen)}
	}
	quiet := slog.New(slog.NewTextHandler(t.Err, &slog.HandlerOptions{Level: slog.LevelError}))
	cfg, err := app.TemplatesConfig()
	if err != nil {
		return err
	}
	if c.Dir != "" {
		cfg.Templates.Dir = c.Dir
	}
	k := app.OpenTemplatesEvery(ctx, cfg, time.Second, quiet)
	if err := k.Err(); err != nil {
		term.Warn(t.Err, "the templates are faulty:\n%s", err)
	}
	site, err := web.New(web.Config{Groups: []web.Group{gallery.New(k)}, Label: "preview", Version: app.Version(), ReadOnly: true, Logger: quiet})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: cannot listen on %s: %w", c.Listen, err)
	}
	if _, err := fmt.Fprintf(t.Out, "http://%s/templates\n", l.Addr()); err != nil {
		l.Close()
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.Run(ctx) })
	g.Go(func() error {
		return monitor.Serve(ctx, monitor.ServerConfig{Name: "preview", Listener: l, Handler: withRoot(site), OnShutdown: site.EndStreams, Logger: quiet})
	})
	return g.Wait()
}

// withRoot leads from the root, where the head of the pages leads to, to the templates.
func withRoot(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/templates", http.StatusSeeOther)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// write writes the mails to files, with a page that leads to them.
func (c previewCmd) write(ctx context.Context, t term.Terminal) error {
	k, err := open(ctx, c.Dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := k.Err(); err != nil {
		return err
	}
	set := k.Set()
	var index strings.Builder
	index.WriteString("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Mails</title>" +
		"<style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}</style><h1>Mails</h1><ul>\n")
	n := 0
	for _, task := range tasks.Mails() {
		m, err := task.SampleFor(set.SiteURL())
		if err != nil {
			return err
		}
		for _, locale := range set.Locales(templates.Kind(task.Kind())) {
			r, err := set.Render(templates.InLocale(m, locale))
			if err != nil {
				return err
			}
			name := task.Kind() + "." + locale
			fmt.Fprintf(&index, "<li>%s (%s): %s — <a href=\"%s.light.html\">light</a>, <a href=\"%s.dark.html\">dark</a>, <a href=\"%s.txt\">text</a>\n",
				html.EscapeString(task.Title), locale, html.EscapeString(r.Subject), name, name, name)
			for file, text := range map[string]string{
				name + ".light.html": preview.Scheme(r.HTML, false), name + ".dark.html": preview.Scheme(r.HTML, true), name + ".txt": r.Text,
			} {
				if err := write(filepath.Join(c.Out, file), text, os.O_WRONLY|os.O_CREATE|os.O_TRUNC); err != nil {
					return err
				}
				n++
			}
		}
	}
	index.WriteString("</ul></html>\n")
	if err := write(filepath.Join(c.Out, "index.html"), index.String(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.Out, "%s written; open %s\n", term.Count(int64(n+1), "file"), filepath.Join(c.Out, "index.html"))
	return err
}
