package app

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app/secrets"
	"github.com/evently/workers/app/site"
	"github.com/evently/workers/config"
	"github.com/evently/workers/worker/redis/redistest"
)

// The bundle of an incident and the audit trail have no secret of before a replacement, and none of
// after it.
func TestReplacedSecretsInBundleAndAudit(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "smtp")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cAnArY-1")
	env := map[string]string{
		"REDIS_URL": s.URL(0), "SMTP_USERNAME": "u", "SMTP_PASSWORD_FILE": file, "LEDGER_DATABASE_URL": "off",
		"FROM_NAME": "before cAnArY-1, after cAnArY-1-xy", // a place of the bundle that shows it
	}
	load := func(sources ...config.Source) (config.Config, error) {
		return config.Load(func(name string) (string, bool) { text, ok := env[name]; return text, ok }, sources...)
	}
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	keeper := secrets.New(secrets.Config{Initial: cfg, Load: load, Logger: log, FileEvery: 10 * time.Millisecond})
	cfg = keeper.Attach(cfg)
	m, err := openMonitor(cfg, log, keptIn(keeper, site.Parts{}))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = keeper.Run(ctx) }()
	defer func() { cancel(); <-done }()
	write("cAnArY-1-xy")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if l, err := cfg.Relays[0].Logins.Next(t.Context(), nil); err == nil && l.Password == "cAnArY-1-xy" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the new password is not used")
		}
	}
	if text := m.trail.hide("535 for cAnArY-1-xy and cAnArY-1"); text != "535 for *** and ***" {
		t.Errorf("the audit trail has %q", text)
	}
	answer := httptest.NewRecorder()
	m.site.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://localhost/incident/bundle.zip", nil))
	raw := answer.Body.Bytes()
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatalf("%v: %d %s", err, answer.Code, raw[:min(len(raw), 200)])
	}
	all := ""
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(in)
		in.Close()
		all += string(text)
	}
	if strings.Contains(all, "cAnArY") || !strings.Contains(all, "before ***, after ***\"") {
		_, rest, _ := strings.Cut(all, "before ")
		t.Errorf("the bundle has %.80q", rest)
	}
}
