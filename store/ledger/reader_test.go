package ledger_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/store/ledger"
)

func init() {
	suite["List"] = testList
	suite["Find"] = testFind
	suite["Erase"] = testErase
	suite["EraseBeforeTheEvents"] = testEraseBeforeTheEvents
	suite["Stats"] = testStats
	suite["Facets"] = testFacets
	suite["QueueID"] = testQueueID
	suite["Keys"] = testKeys
}

// mailOf returns an event of one of many mails.
func mailOf(i int) ledger.Event {
	kinds := []string{"otp", "welcome", "booking_confirmation"}
	states := []ledger.State{ledger.Accepted, ledger.Accepted, ledger.Accepted, ledger.Deferred, ledger.Dead}
	e := ledger.Event{
		Mail: fmt.Sprintf("mail-%04d", i), TaskID: fmt.Sprintf("task-%04d", i), Kind: kinds[i%3], State: states[i%5],
		FirstSeen: noon.Add(time.Duration(i) * time.Second), Attempt: 1, UserID: int64(i % 10), Booking: fmt.Sprint(i % 7),
		Address: fmt.Sprintf("user%d@domain%d.example", i%10, i%4),
	}
	e.At = e.FirstSeen.Add(time.Duration(i%20) * time.Second)
	if e.State != ledger.Accepted {
		e.Class = "transient"
	}
	return e
}

const manyMails = 200

func (f *fixture) fill() {
	f.t.Helper()
	events := make([]ledger.Event, manyMails)
	for i := range events {
		events[i] = mailOf(i)
	}
	f.write(events...)
}

func testList(t *testing.T, f *fixture) {
	f.fill()
	user := int64(3)
	since, until := noon.Add(50*time.Second), noon.Add(60*time.Second)
	for name, c := range map[string]struct {
		filter ledger.Filter
		want   func(i int, e ledger.Event) bool
	}{
		"all":    {ledger.Filter{}, func(int, ledger.Event) bool { return true }},
		"state":  {ledger.Filter{States: []ledger.State{ledger.Dead}}, func(_ int, e ledger.Event) bool { return e.State == ledger.Dead }},
		"states": {ledger.Filter{States: []ledger.State{ledger.Dead, ledger.Accepted}}, func(_ int, e ledger.Event) bool { return e.State != ledger.Deferred }},
		"kind":   {ledger.Filter{Kinds: []string{"otp"}}, func(_ int, e ledger.Event) bool { return e.Kind == "otp" }},
		"both": {ledger.Filter{Kinds: []string{"otp", "welcome"}, States: []ledger.State{ledger.Dead, ledger.Deferred}}, func(_ int, e ledger.Event) bool {
			return e.Kind != "booking_confirmation" && e.State != ledger.Accepted
		}},
		"address":  {ledger.Filter{Address: "USER3@domain3.example"}, func(_ int, e ledger.Event) bool { return e.Address == "user3@domain3.example" }},
		"user":     {ledger.Filter{UserID: &user}, func(_ int, e ledger.Event) bool { return e.UserID == 3 }},
		"booking":  {ledger.Filter{Booking: "5"}, func(_ int, e ledger.Event) bool { return e.Booking == "5" }},
		"domain":   {ledger.Filter{Domain: "DOMAIN2.example"}, func(_ int, e ledger.Event) bool { return strings.HasSuffix(e.Address, "@domain2.example") }},
		"task":     {ledger.Filter{TaskID: "task-0042"}, func(i int, _ ledger.Event) bool { return i == 42 }},
		"time":     {ledger.Filter{Since: since, Until: until}, func(i int, _ ledger.Event) bool { return i >= 50 && i < 60 }},
		"together": {ledger.Filter{UserID: &user, Kinds: []string{"otp"}, Domain: "domain3.example", Since: since}, func(i int, e ledger.Event) bool { return i%10 == 3 && i%3 == 0 && i%4 == 3 && i >= 50 }},
		"nothing":  {ledger.Filter{Address: "none@example.com"}, func(int, ledger.Event) bool { return false }},
	} {
		var want []string
		for i := manyMails - 1; i >= 0; i-- {
			if e := mailOf(i); c.want(i, e) {
				want = append(want, e.Mail)
			}
		}
		var got []string
		c.filter.Limit = 7
		for pages := 0; ; pages++ {
			page, err := f.reader().List(t.Context(), c.filter)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(page.Mails) > 7 || pages > manyMails {
				t.Fatalf("%s: %d mails on page %d", name, len(page.Mails), pages)
			}
			for _, m := range page.Mails {
				got = append(got, m.Mail)
			}
			if page.Next == "" {
				break
			}
			c.filter.After = page.Next
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
	}
	for _, position := range []string{"x", "!", "MTIz"} {
		if _, err := f.reader().List(t.Context(), ledger.Filter{After: position}); err == nil {
			t.Errorf("the position %q is accepted", position)
		}
	}
}

func testFind(t *testing.T, f *fixture) {
	f.fill()
	for identifier, want := range map[string]int{
		"user3@domain3.example": manyMails / 20,
		"5":                     manyMails/10 + 28 - 3, // user 5 and booking 5, 3 mails of both
		"task-0042":             1,
		"mail-0042":             1,
		"none":                  0,
		"":                      0,
	} {
		found, err := f.reader().Find(t.Context(), identifier, 100)
		if err != nil || len(found) != want {
			t.Errorf("%q: %d mails, want %d; %v", identifier, len(found), want, err)
		}
		for i := 1; i < len(found); i++ {
			if found[i].FirstSeen.After(found[i-1].FirstSeen) {
				t.Errorf("%q: not the newest first", identifier)
			}
		}
	}
	// A Message-ID finds its mail, with and without brackets.
	reference := func(mail string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(mail)))[:32] }
	e := mailOf(0)
	e.Mail, e.TaskID = "by-message", "task-by-message"
	f.stream.add(ledger.Encode(e, f.sealer))
	f.run(f.writer(func(c *ledger.WriterConfig) { c.Reference = reference }), func() bool { return f.stream.length() == 0 })
	r := ledger.NewReader(ledger.ReaderConfig{DB: f.db, Sealer: f.sealer, Reference: reference})
	id := reference("by-message") + "@evently.example"
	for identifier, want := range map[string]int{id: 1, "<" + id + ">": 1, reference("none") + "@evently.example": 0, "x" + id: 0} {
		if found, err := r.Find(t.Context(), identifier, 5); err != nil || len(found) != want || want > 0 && found[0].TaskID != "task-by-message" {
			t.Errorf("%q: %v, %v", identifier, found, err)
		}
	}
	if found, err := f.reader().Find(t.Context(), "5", 4); err != nil || len(found) != 4 {
		t.Errorf("%d mails, want 4; %v", len(found), err)
	}
}

func testErase(t *testing.T, f *fixture) {
	f.fill()
	user := int64(3)
	alone := mailOf(0) // a code, for an address of the user, without the user
	alone.Mail, alone.TaskID, alone.UserID, alone.Address = "alone", "alone", 0, "user3@domain1.example"
	f.write(alone)
	before, err := f.reader().Stats(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.reader().Erase(t.Context(), ledger.Erasure{UserID: &user})
	if err != nil || n != manyMails/10+1 {
		t.Errorf("Erase: %d, %v", n, err)
	}
	if n, err := f.reader().Erase(t.Context(), ledger.Erasure{UserID: &user}); err != nil || n != 0 {
		t.Errorf("Erase again: %d, %v", n, err)
	}
	if found, err := f.reader().Find(t.Context(), "user3@domain3.example", 100); err != nil || len(found) != 0 {
		t.Errorf("found after Erase: %+v, %v", found, err)
	}
	// An event that comes later brings nothing back.
	later := mailOf(3)
	later.State, later.At = ledger.Bounced, noon.Add(time.Minute)
	f.write(later)
	m := f.only(ledger.Filter{TaskID: "task-0003"})
	if !m.Erased || m.State != ledger.Bounced || m.To != "" || m.UserID != nil || m.Address != "" || m.Booking != "" || m.Domain != "" {
		t.Errorf("after Erase: %+v", m)
	}
	if strings.Contains(f.dump(), "u***@domain3.example") && len(f.list(ledger.Filter{Address: "user3@domain3.example"})) > 0 {
		t.Error("the masked address remains")
	}
	n, err = f.reader().Erase(t.Context(), ledger.Erasure{Address: "User7@Domain3.example"})
	if err != nil || n != manyMails/20 {
		t.Errorf("Erase by address: %d, %v", n, err)
	}
	if _, err := f.reader().Erase(t.Context(), ledger.Erasure{}); err == nil {
		t.Error("Erase of no one")
	}
	after, err := f.reader().Stats(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour))
	if err != nil || len(after) != len(before)+1 { // the bounce
		t.Errorf("counts before %+v, after %+v, %v", before, after, err)
	}
}

// Events that waited in the stream when a person was erased bring nothing back. A mail that is
// made later is a new one.
func testEraseBeforeTheEvents(t *testing.T, f *fixture) {
	f.fill()
	user := int64(3)
	if _, err := f.reader().Erase(t.Context(), ledger.Erasure{UserID: &user}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reader().Erase(t.Context(), ledger.Erasure{Address: "waiting@example.com"}); err != nil {
		t.Fatal(err)
	}
	ofUser, code, other := mailOf(3), mailOf(3), mailOf(4)
	ofUser.Mail, ofUser.TaskID = "waited-user", "waited-user"
	code.Mail, code.TaskID, code.UserID, code.Address = "waited-code", "waited-code", 0, "Waiting@example.com"
	other.Mail, other.TaskID = "other", "other"
	f.writeAt(time.Now().Add(-time.Minute), ofUser, code, other)
	for _, id := range []string{"waited-user", "waited-code"} {
		if m := f.only(ledger.Filter{TaskID: id}); !m.Erased || m.To != "" || m.UserID != nil || m.Booking != "" || m.Domain != "" {
			t.Errorf("%s: %+v", id, m)
		}
	}
	if m := f.only(ledger.Filter{TaskID: "other"}); m.Erased {
		t.Errorf("%+v", m)
	}
	again := ofUser
	again.Mail, again.TaskID = "new", "new"
	f.writeAt(time.Now().Add(time.Minute), again)
	if m := f.only(ledger.Filter{TaskID: "new"}); m.Erased || m.UserID == nil {
		t.Errorf("a mail from after the erasure: %+v", m)
	}
}

func testStats(t *testing.T, f *fixture) {
	f.fill()
	counts, err := f.reader().Stats(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	n, within := int64(0), int64(0)
	for _, c := range counts {
		n, within = n+c.N, within+c.Within
		if c.P50 <= 0 || c.P50 > c.P90 || c.P90 > c.P99 || c.P99 > 20 {
			t.Errorf("percentiles: %+v", c)
		}
	}
	if n != manyMails || within != manyMails/20*11 || len(counts) != 9 {
		t.Errorf("%d events, %d within 10 s, %d counts", n, within, len(counts))
	}
	points, err := f.reader().Chart(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	n = 0
	for _, p := range points {
		n += p.N
	}
	if n != manyMails || len(points) < 4*9-5 {
		t.Errorf("%d events in %d points", n, len(points))
	}
	domains, err := f.reader().Domains(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	n = 0
	for _, d := range domains {
		n += d.N
	}
	if n != manyMails || len(domains) != 12 {
		t.Errorf("%d events in %d counts of domains", n, len(domains))
	}
	classes, err := f.reader().Classes(t.Context(), noon.Add(-time.Hour), noon.Add(time.Hour))
	n = 0
	for _, c := range classes {
		n += c.N
	}
	if err != nil || len(classes) != 6 || n != manyMails/5*2 {
		t.Errorf("classes: %+v, %v", classes, err)
	}
}

// Addresses are found by commands without the secret of the broker, and after the broker has
// lost it.
func testKeys(t *testing.T, f *fixture) {
	f.sealer = sealer(t, ledger.SealerConfig{Secrets: &keeper{secret: "the first"}})
	f.write(mailOf(3))
	f.sealer = sealer(t, ledger.SealerConfig{Secrets: &keeper{secret: "the second"}})
	f.write(mailOf(23)) // of the same address as 3
	for name, s := range map[string]*ledger.Sealer{
		"with the latest secret":     f.sealer,
		"without a broker":           sealer(t, ledger.SealerConfig{}),
		"without a sealer":           nil,
		"with a key of the operator": sealer(t, ledger.SealerConfig{Key: operatorKey}),
	} {
		f.sealer = s
		found := f.list(ledger.Filter{Address: "user3@domain3.example"})
		if len(found) != 2 || found[0].Address != "" {
			t.Errorf("%s: %+v", name, found)
		}
	}
	// A key of the operator is not stored.
	f.sealer = sealer(t, ledger.SealerConfig{Key: operatorKey})
	f.write(mailOf(43))
	if found := f.list(ledger.Filter{Address: "user3@domain3.example"}); len(found) != 3 {
		t.Errorf("with the operator's key: %+v", found)
	}
	f.sealer = sealer(t, ledger.SealerConfig{Key: "the key that replaces it", Former: []string{operatorKey}})
	if found := f.list(ledger.Filter{Address: "user3@domain3.example"}); len(found) != 3 || found[0].Address != "user3@domain3.example" {
		t.Errorf("with a key that replaces the operator's: %+v", found)
	}
	f.sealer = nil
	if found := f.list(ledger.Filter{Address: "user3@domain3.example"}); len(found) != 2 {
		t.Errorf("without it: %+v", found)
	}
}

func testFacets(t *testing.T, f *fixture) {
	f.fill()
	user := int64(3)
	for name, c := range map[string]struct {
		filter ledger.Filter
		want   func(i int, e ledger.Event) bool
	}{
		"all":     {ledger.Filter{}, func(int, ledger.Event) bool { return true }},
		"a state": {ledger.Filter{States: []ledger.State{ledger.Dead}}, func(int, ledger.Event) bool { return true }},
		"kinds":   {ledger.Filter{Kinds: []string{"otp", "welcome"}}, func(_ int, e ledger.Event) bool { return e.Kind != "booking_confirmation" }},
		"domain":  {ledger.Filter{Domain: "domain1.example"}, func(i int, _ ledger.Event) bool { return i%4 == 1 }},
		"user":    {ledger.Filter{UserID: &user}, func(_ int, e ledger.Event) bool { return e.UserID == user }},
		"class":   {ledger.Filter{Classes: []string{"transient"}}, func(_ int, e ledger.Event) bool { return e.Class == "transient" }},
		"none":    {ledger.Filter{Classes: []string{"none"}}, func(int, ledger.Event) bool { return false }},
	} {
		want := map[ledger.State]int64{}
		for i := range manyMails {
			if e := mailOf(i); c.want(i, e) {
				want[e.State]++
			}
		}
		facets, err := f.reader().Facets(t.Context(), c.filter)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := map[ledger.State]int64{}
		for _, facet := range facets {
			got[facet.State] = facet.N
			if facet.Estimated {
				t.Errorf("%s: %+v is estimated", name, facet)
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if mails := f.list(ledger.Filter{Classes: []string{"transient", "none"}}); len(mails) != 50 {
		t.Errorf("%d mails of a class, want a page", len(mails))
	}
}

// A relay tells its queue id to the support of the recipient, who asks with it.
func testQueueID(t *testing.T, f *fixture) {
	f.fill()
	e := mailOf(7)
	e.State, e.QueueID, e.At = ledger.Accepted, "4FzQ2x1Yz3", e.At.Add(time.Second)
	f.write(e)
	found, err := f.reader().Find(t.Context(), " 4FzQ2x1Yz3 ", 10)
	if err != nil || len(found) != 1 || found[0].TaskID != e.TaskID {
		t.Errorf("%+v, %v", found, err)
	}
	if found, err := f.reader().Find(t.Context(), "4FzQ2x1Yz4", 10); err != nil || len(found) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
