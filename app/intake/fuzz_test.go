package intake_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/mail/verp"
	"github.com/evently/workers/store/ledger"
)

// recorder keeps the last bounce.
type recorder struct{ last ledger.Bounce }

func (r *recorder) Store(_ context.Context, b ledger.Bounce) (ledger.Bounce, bool, error) {
	r.last = b
	return b, true, nil
}

// FuzzTake takes in any message for any recipient. Without the key no message proves anything,
// and a copy has the id of the first one.
func FuzzTake(f *testing.F) {
	v, err := verp.New(domain, rand.Text())
	if err != nil {
		f.Fatal(err)
	}
	other := addressOf(f, key, mail.Reference(task))
	r := unknownUser()
	r.to, r.messageID = other, mail.Reference(task)
	f.Add([]byte(r.String()), other)
	f.Add([]byte("To: "+other+"\n\nx"), "")
	f.Add([]byte("X-Entity-Ref-ID: "+mail.Reference(task)+"\r\n\r\n"), "<>")
	f.Add([]byte("From x\nReceived: y\n z\n\n\n"), "a@b+c")
	f.Fuzz(func(t *testing.T, raw []byte, recipient string) {
		store := &recorder{}
		i, err := intake.New(intake.Config{Store: store, Tagger: v, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		first, err := i.Take(t.Context(), raw, recipient, "stdin")
		if err != nil {
			if len(raw) <= intake.MaxSize {
				t.Error(err)
			}
			return
		}
		if store.last.Proven || len(store.last.References) > 0 && store.last.References[0].By == ledger.MatchTag {
			t.Errorf("proven without the key: %+v", store.last)
		}
		again, err := i.Take(t.Context(), append([]byte("Received: by another way\n"), raw...), recipient, "smtp")
		if err == nil && first.Stored && again.Stored && len(raw) > 0 && raw[0] > ' ' && first.ID != again.ID && first.Kind == again.Kind {
			t.Logf("another id: %s, %s", first.ID, again.ID) // a message without a header
		}
	})
}

// A failure is told for a while, and a renewed certificate is used without a restart.
func TestFailureIsForgotten(t *testing.T) {
	t.Parallel()
	now := noon
	store := &brokenStore{store: &recorder{}}
	store.broken.Store(true)
	i, err := intake.New(intake.Config{Store: store, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	fail := func() {
		if err := i.Ingest(t.Context(), []byte(unknownUser().String()), "", "stdin"); err == nil {
			t.Fatal("stored")
		}
	}
	fail()
	now = now.Add(10 * time.Minute)
	fail()
	now = now.Add(10 * time.Minute)
	if s := i.Status(); !s.Failing.Equal(noon) {
		t.Errorf("failing since %v", s.Failing)
	}
	now = now.Add(10 * time.Minute)
	if s := i.Status(); !s.Failing.IsZero() {
		t.Errorf("still failing since %v", s.Failing)
	}
	fail()
	if s := i.Status(); !s.Failing.Equal(now) {
		t.Errorf("failing again since %v", s.Failing)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := intake.Certificate(certFile, keyFile); err == nil {
		t.Error("no files")
	}
	authority := smtptest.NewAuthority(t)
	write := func(at time.Time, host string) {
		writePair(t, authority.Issue(t, time.Now().Add(time.Hour), host), certFile, keyFile)
		for _, file := range []string{certFile, keyFile} {
			if err := os.Chtimes(file, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(noon, "old.example")
	cfg, err := intake.Certificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		pair, err := cfg.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.DNSNames[0]
	}
	if names() != "old.example" {
		t.Error(names())
	}
	write(noon.Add(time.Minute), "new.example")
	if names() != "new.example" {
		t.Errorf("%s after the renewal", names())
	}
	if err := os.WriteFile(certFile, []byte("half of a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if names() != "new.example" {
		t.Errorf("%s with a broken file", names())
	}
}
