package suppressions_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/internal/testkit/pages"
	. "github.com/evently/workers/monitor/pages/suppressions"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	store "github.com/evently/workers/store/ledger/suppressions"
)

// rig is a site with the pages, before a real database.
type rig struct {
	*pages.Site
	store  *store.Store
	db     *sqlx.DB
	sealer *ledger.Sealer
	keyErr error
}

func newRig(t *testing.T) *rig {
	db, sealer := pages.Ledger(t)
	r := &rig{store: store.New(store.Config{DB: db, Sealer: sealer}), db: db, sealer: sealer}
	r.Site = pages.Open(t, New(Config{Store: r.store, CheckKey: func(context.Context) error { return r.keyErr }}))
	return r
}

// evidence stores evidence that suppresses an address.
func (r *rig) evidence(t *testing.T, address string, class store.Class, times int) {
	t.Helper()
	db := ledger.NewDB(r.db, 0)
	err := db.Transact(t.Context(), func(ctx context.Context, tx *sqlx.Tx) error {
		if err := db.LockMails(ctx, tx); err != nil {
			return err
		}
		for i := range times {
			_, err := r.store.Record(ctx, tx, store.Evidence{
				ID: fmt.Sprint(address, class, i), Recipient: r.sealer.Seal(address), At: time.Now().Add(-time.Duration(times-i) * time.Hour), Class: class, Source: store.FromReply,
				Mail: fmt.Sprint("mail", i), TaskID: "task-" + pages.Hostile, Kind: "welcome", Code: 550, Enhanced: "5.1.1", Diagnostic: "no such user " + pages.Hostile,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) inForce(t *testing.T) int64 {
	t.Helper()
	n, _, err := r.store.Count(t.Context(), store.Filter{State: store.Active})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestListAndEvidence(t *testing.T) {
	r := newRig(t)
	pages.Has(t, r.Get(t, "/suppressions"), "No address is suppressed")
	r.evidence(t, "adalovelace@example.com", store.BadAddress, 1)
	r.evidence(t, "bob.builder@example.org", store.MailboxFull, 3)
	body := r.Get(t, "/suppressions")
	pages.Has(t, body, "a***@example.com", "b***@example.org", "bad address", "mailbox full", "no such user", "until released", "ends in 6 days")
	if strings.Contains(body, "adalovelace") {
		t.Error("the list shows a whole address")
	}
	for query, n := range map[string]int{
		"?class=bad_address": 1, "?q=@example.org": 1, "?q=example.org": 1, "?kind=welcome": 2, "?kind=otp": 0, "?source=bounce": 0, "?source=reply": 2,
		"?since=30m": 0, "?since=2d": 2, "?state=released": 0, "?state=all": 2, "?q=carol@example.com": 0,
	} {
		if got := strings.Count(r.Get(t, "/suppressions"+query), `class="row"`); got != n {
			t.Errorf("%s: %d rows, want %d", query, got, n)
		}
	}
	status, _, to := r.Page(t, "/suppressions?q="+url.QueryEscape("AdaLovelace@example.com"))
	if status != http.StatusSeeOther || !strings.HasPrefix(to, "/suppressions/") || len(to) != len("/suppressions/")+32 {
		t.Fatalf("a search by address leads to %d %s", status, to)
	}
	pages.Has(t, r.Get(t, to), "a***@example.com", "Evidence, the latest first", "550 5.1.1 no such user", "welcome", "when released", "Release")
	if _, _, again := r.Page(t, "/suppressions?q="+to[14:22]); again != to {
		t.Errorf("a search by the beginning of the id leads to %s", again)
	}
	for _, wrong := range []string{"?state=x", "?class=x", "?source=x", "?since=x", "?after=x"} {
		if status, body, _ := r.Page(t, "/suppressions"+wrong); status != http.StatusBadRequest {
			t.Errorf("%s: %d\n%s", wrong, status, pages.Main(body))
		}
	}
	if status, _, _ := r.Page(t, "/suppressions/"+strings.Repeat("0", 32)); status != http.StatusNotFound {
		t.Errorf("no such id: %d", status)
	}
	r.Role = web.RoleViewer
	if body := r.Get(t, to) + r.Get(t, "/suppressions"); strings.Contains(pages.Main(body), `method="post"`) {
		t.Error("a viewer sees forms")
	}
	for _, path := range []string{"/suppressions/add", "/suppressions/import", "/suppressions/export", to + "/release"} {
		if status, _, _ := r.Post(t, path, nil); status != http.StatusForbidden {
			t.Errorf("a viewer may post %s: %d", path, status)
		}
	}
}

func TestAddAndRelease(t *testing.T) {
	r := newRig(t)
	form := url.Values{"address": {"adalovelace@example.com"}, "scope": {"all"}, "until": {"30d"}, "reason": {"asked by phone " + pages.Hostile}}
	for field, wrong := range map[string]string{"address": "ada", "scope": "some", "until": "soon", "reason": " "} {
		bad := url.Values{}
		for k, v := range form {
			bad[k] = v
		}
		bad.Set(field, wrong)
		r.Refused(t, "/suppressions/add", bad, "notice bad")
	}
	one := r.Posted(t, "/suppressions/add", form)
	pages.Has(t, r.Get(t, one), "a***@example.com", "asked by phone", "by a person", "ada", "in 29 days")
	entry, details := r.Entry()
	if text := fmt.Sprint(entry, details); strings.Contains(text, "lovelace") || !strings.Contains(text, "a***@example.com") {
		t.Errorf("the audit trail has %s", text)
	}
	r.Refused(t, one+"/release", nil, "Say why")
	r.Posted(t, one+"/release", url.Values{"reason": {"new mailbox"}})
	pages.Has(t, r.Get(t, one), "released", "new mailbox")
	r.Refused(t, one+"/release", url.Values{"reason": {"again"}}, "not suppressed any more")
	r.keyErr = errors.New("LEDGER_KEY is not that of the workers")
	r.Refused(t, "/suppressions/add", form, "Nothing was added")
	pages.Has(t, r.Get(t, "/suppressions"), "LEDGER_KEY is not that of the workers.")
	if got, want := r.Audited(), strings.Repeat("suppressions.add ", 5)+strings.Repeat("suppressions.release ", 3)+"suppressions.add"; got != want {
		t.Errorf("audited: %s\nwant:    %s", got, want)
	}
}

func TestReleaseMany(t *testing.T) {
	r := newRig(t)
	for i := range 12 {
		r.evidence(t, fmt.Sprintf("user%d@example.com", i), store.BadAddress, 1)
	}
	r.evidence(t, "other@example.org", store.BadAddress, 1)
	list := "/suppressions?q=" + url.QueryEscape("@example.com")
	pages.Has(t, r.Get(t, list), "Release all of these…")
	pages.Has(t, r.Get(t, strings.Replace(list, "?", "/release?", 1)), "Release 12 suppressions", "release 12", "bad address")
	form := url.Values{"q": {"@example.com"}, "reason": {"the relay was wrong"}, "word": {"yes"}}
	r.Refused(t, "/suppressions/release", form, "Type release 12 to confirm")
	form.Set("word", "release 12")
	form.Del("reason")
	r.Refused(t, "/suppressions/release", form, "Say why")
	form.Set("reason", "the relay was wrong")
	form.Del("q")
	if status, body, _ := r.Post(t, "/suppressions/release", form); status != http.StatusBadRequest && status != http.StatusUnprocessableEntity || r.inForce(t) != 13 {
		t.Errorf("all at once: %d, %d are in force\n%s", status, r.inForce(t), pages.Main(body))
	}
	form.Set("q", "@example.com")
	r.Posted(t, "/suppressions/release", form)
	if n := r.inForce(t); n != 1 {
		t.Errorf("%d are in force", n)
	}
	if _, details := r.Entry(); details["released"] != "12" || details["domain"] != "example.com" || details["reason"] == "" {
		t.Errorf("audited: %v", details)
	}
}

func TestFiles(t *testing.T) {
	r := newRig(t)
	r.Refused(t, "/suppressions/check", url.Values{"text": {"  "}}, "Choose a file")
	r.Refused(t, "/suppressions/check", url.Values{"text": {"address,class\nada@example.com,nonsense\nbob," + pages.Hostile}}, "line 2", "line 3")
	to := r.Posted(t, "/suppressions/check", url.Values{"text": {"address,class,note\nadalovelace@example.com,bad_address,=HYPERLINK(1)\nbob.builder@example.com,operator,<img src=x>"}})
	pages.Has(t, r.Get(t, to), "The file is right", "<dd>2</dd>")
	if r.inForce(t) != 0 {
		t.Error("a check imports")
	}
	ticket := to[strings.Index(to, "=")+1:]
	r.Refused(t, "/suppressions/import", url.Values{"file": {ticket}}, "Say why", "The file is right")
	r.Posted(t, "/suppressions/import", url.Values{"file": {ticket}, "reason": {"old system"}})
	if r.inForce(t) != 2 {
		t.Errorf("%d are in force", r.inForce(t))
	}
	r.Refused(t, "/suppressions/import", url.Values{"file": {ticket}, "reason": {"old system"}}, "Choose it again")

	// A file that a browser uploads.
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, _ := w.CreateFormFile("upload", "<img src=x>.csv")
	_, _ = part.Write([]byte("carol@example.com\n"))
	_ = w.Close()
	req, _ := http.NewRequest("POST", r.URL+"/suppressions/check", &b)
	req.Header.Set("Content-Type", w.FormDataContentType())
	if status, body, to := r.Do(t, req); status != http.StatusSeeOther || !strings.Contains(to, "file=") {
		t.Errorf("an upload: %d %s\n%s", status, to, pages.Main(body))
	}

	// The export has whole addresses, so it is an audited click.
	file := r.Posted(t, "/suppressions/export", url.Values{"class": {"bad_address"}})
	req, _ = http.NewRequest("GET", r.URL+file, nil)
	status, body, _ := r.Do(t, req)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if status != http.StatusOK || err != nil || len(rows) != 2 || rows[1][1] != "adalovelace@example.com" || rows[1][len(rows[1])-1] != "'=HYPERLINK(1)" {
		t.Errorf("%d %v\n%s", status, err, body)
	}
	if entry, _ := r.Entry(); entry.Action != "suppressions.export" {
		t.Errorf("audited: %+v", entry)
	}
	if status, _, _ := r.Page(t, "/suppressions/export/other"); status != http.StatusGone {
		t.Errorf("another ticket: %d", status)
	}
	r.Role = web.RoleViewer
	if status, _, _ := r.Page(t, file); status != http.StatusForbidden {
		t.Errorf("a viewer gets the file: %d", status)
	}
}

func TestMissing(t *testing.T) {
	for want, c := range map[string]Config{"SUPPRESSIONS is off": {Off: true}, "LEDGER_DATABASE_URL is off": {}} {
		s := pages.Open(t, New(c))
		for _, path := range []string{"/suppressions", "/suppressions/abcd", "/suppressions/add", "/suppressions/release?class=unknown", "/suppressions/import"} {
			pages.Has(t, s.Get(t, path), want)
		}
	}
	db, sealer := pages.Ledger(t)
	_ = db.Close()
	s := pages.Open(t, New(Config{Store: store.New(store.Config{DB: db, Sealer: sealer})}))
	if status, body, _ := s.Page(t, "/suppressions"); status == http.StatusOK && !strings.Contains(body, "cannot be read") {
		t.Errorf("%d\n%s", status, pages.Main(body))
	}
}
