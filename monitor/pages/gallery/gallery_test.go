package gallery_test

import (
	"net/http"
	"strings"
	"testing"

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
