package gallery_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/pages"
	"github.com/evently/workers/monitor/pages/gallery"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
)

func TestGallery(t *testing.T) {
	for _, site := range []string{"https://evently.com", "https://tickets.example:8443/shop", ""} {
		set, err := tasks.NewTemplates(templates.Options{SiteURL: site, SupportAddress: "help@evently.com"})
		if err != nil {
			t.Fatal(err)
		}
		t.Run("site "+site, func(t *testing.T) { testGallery(t, set) })
	}
	pages.Has(t, pages.Open(t, gallery.New(nil)).Get(t, "/templates"), "No templates")
}

func testGallery(t *testing.T, set *templates.Set) {
	s := pages.Open(t, gallery.New(folder.Fixed(set)))
	s.Role = web.RoleViewer
	list := s.Get(t, "/templates")
	for _, m := range tasks.Mails() {
		pages.Has(t, list, m.Title, set.Version(templates.Kind(m.Kind())), `href="/templates/`+m.Kind()+`"`)
		for _, sample := range []string{"ordinary", "least"} {
			body := s.Get(t, "/templates/"+m.Kind()+"?sample="+sample)
			pages.Has(t, body, "all checks pass", "Contrast", "Text part", `sandbox title="The mail in dark colours"`, "layout.html.tmpl", m.Name)
			resp, err := http.Get(s.URL + "/templates/" + m.Kind() + "/preview?sample=" + sample)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			policy := resp.Header.Get("Content-Security-Policy")
			if resp.StatusCode != http.StatusOK || !strings.HasPrefix(policy, "sandbox; default-src 'none'") || strings.Contains(policy, "script-src") {
				t.Errorf("%s: %d, policy %q", m.Kind(), resp.StatusCode, policy)
			}
		}
	}
	for _, wrong := range []string{"/templates/none", "/templates/otp?sample=x", "/templates/otp/preview?sample=x", "/templates/none/preview"} {
		if status, _, _ := s.Page(t, wrong); status != http.StatusNotFound {
			t.Errorf("%s: %d", wrong, status)
		}
	}
}

// Templates of an operator are shown with their source, their languages and their warnings. Faulty
// ones are told, and the former ones are shown.
func TestOwnTemplates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../../templates/testdata/own")); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, "otp.html.de.tmpl")
	if err := os.WriteFile(part, []byte("<p>"), 0o644); err != nil {
		t.Fatal(err)
	}
	k := folder.Open(t.Context(), folder.Config{Dir: dir, Every: 10 * time.Millisecond, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler), Build: func(files []templates.File) (*templates.Set, error) {
		return tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com", Files: files})
	}})
	s := pages.Open(t, gallery.New(k))
	pages.Has(t, s.Get(t, "/templates"), "otp: de: mails are not sent in this language", "en, de, de-AT", ">own<")
	body := s.Get(t, "/templates/booking_confirmation?locale=de")
	pages.Has(t, body, dir, "files of", "booking_confirmation/html.de.tmpl</span> (own)", "Ihre Buchung ist", `locale=de-AT`, `lang="de"`, "all checks pass")
	if status, _, _ := s.Page(t, "/templates/booking_confirmation?locale=fr"); status != http.StatusNotFound {
		t.Errorf("French: %d", status)
	}
	if err := os.WriteFile(part, []byte("{{.Nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = k.Run(ctx)
	}()
	defer func() { stop(); <-done }()
	// A part alone is not parsed: its language is incomplete. The subject is.
	if err := os.WriteFile(filepath.Join(dir, "otp.subject.tmpl"), []byte("{{.Nothing}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); k.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the fault is not found")
		}
	}
	pages.Has(t, s.Get(t, "/templates"), "are not in use", "otp.subject.tmpl:1:2:", "Verify Your Email - Evently")
}
