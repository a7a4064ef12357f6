package ledger_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/store/ledger"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 123456000, time.UTC)

// fullEvent returns an event with a value in each field.
func fullEvent() ledger.Event {
	return ledger.Event{
		Mail: "0123456789abcdef0123456789abcdef", TaskID: "booking-7", Kind: "booking_confirmation",
		State: ledger.Deferred, At: noon, FirstSeen: noon.Add(-time.Minute), Attempt: 2,
		Reason: "relay deferred the mail", NextAt: noon.Add(time.Minute), UserID: 42, Booking: "7",
		Address: "Ada@Example.COM", Stage: "RCPT", Code: 451, Enhanced: "4.7.1", Class: "transient",
		Text: "Greylisted, see you later", Endpoint: "relay.example:587", TLS: "TLS 1.3",
		QueueID: "4FzQ", MessageID: "<x@evently.example>", Worker: "celery@a",
		Phases: []ledger.Phase{{Name: "lookup", Took: 1500 * time.Microsecond}, {Name: "rcpt", Took: time.Second}},
	}
}

func sealer(t *testing.T, cfg ledger.SealerConfig) *ledger.Sealer {
	t.Helper()
	s, err := ledger.NewSealer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const operatorKey = "a key of the operator, long enough"

func mask(address string) string {
	return address[:1] + "***" + address[strings.LastIndexByte(address, '@'):]
}

func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	s := sealer(t, ledger.SealerConfig{Key: operatorKey, Mask: mask})
	sent := fullEvent()
	fields := ledger.Encode(sent, s)
	if text := strings.ToLower(strings.Join(fields, " ")); strings.Contains(text, "ada@") {
		t.Errorf("the address is in the entry: %q", fields)
	}
	got, err := ledger.Decode(fields)
	if err != nil {
		t.Fatal(err)
	}
	address, err := s.Open(got.Recipient.Sealed)
	if err != nil || address != "ada@example.com" {
		t.Errorf("Open: %q, %v", address, err)
	}
	want := sent
	want.Address = ""
	want.Recipient = ledger.Recipient{Hash: s.Seal("ada@example.com").Hash, Masked: "a***@example.com", Domain: "example.com", Sealed: got.Recipient.Sealed}
	if len(want.Recipient.Hash) == 0 {
		t.Error("no hash of the address")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed on its way (-sent +got):\n%s", diff)
	}
	if again := ledger.Encode(got, nil); !slices.Equal(again, fields) {
		t.Errorf("another encoding of the same event:\n%q\n%q", again, fields)
	}
}

// A minimal event needs five fields of the entry, and its first claim is its time.
func TestEncodeLeavesOutWhatIsUnknown(t *testing.T) {
	t.Parallel()
	fields := ledger.Encode(ledger.Event{Mail: "m", TaskID: "t", Kind: "otp", State: ledger.Sending, At: noon}, nil)
	if len(fields) != 12 {
		t.Errorf("%d names and values, want 12: %q", len(fields), fields)
	}
	e, err := ledger.Decode(append(fields, "a field of the future", "x"))
	if err != nil || !e.FirstSeen.Equal(noon) {
		t.Errorf("Decode: %+v, %v", e, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good := ledger.Encode(fullEvent(), sealer(t, ledger.SealerConfig{Key: operatorKey}))
	with := func(name, value string) []string {
		fields := slices.Clone(good)
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == name {
				fields[i+1] = value
				return fields
			}
		}
		return append(fields, name, value)
	}
	for name, fields := range map[string][]string{
		"nothing":             nil,
		"odd":                 good[:len(good)-1],
		"version":             with("v", "2"),
		"no mail":             with("m", ""),
		"no task":             with("t", ""),
		"no kind":             with("k", ""),
		"no time":             with("at", ""),
		"state":               with("s", "lost"),
		"time":                with("at", "noon"),
		"time of the past":    with("at", "1"),
		"time of the future":  with("fs", "99999999999999999"),
		"negative attempt":    with("n", "-1"),
		"attempt beyond all":  with("n", "40000"),
		"code":                with("c", "1000"),
		"user":                with("u", "99999999999999999999"),
		"hash":                with("h", "not base64!"),
		"long hash":           with("h", strings.Repeat("A", 44)),
		"long sealed address": with("x", strings.Repeat("A", 4000)),
		"phases":              with("ph", "dial"),
		"negative phase":      with("ph", "dial:-1"),
		"too many phases":     with("ph", strings.Repeat("dial:1,", 30)+"dial:1"),
	} {
		if e, err := ledger.Decode(fields); err == nil {
			t.Errorf("%s: decoded as %+v", name, e)
		} else if strings.Contains(err.Error(), "booking-7") {
			t.Errorf("%s: the error shows a value: %v", name, err)
		}
	}
}

// Texts are bounded, stay on one line and lose the secrets of the producer.
func TestEncodeTidies(t *testing.T) {
	t.Parallel()
	const code, token = "482913", "https://evently.example/reset?token=abc"
	e := fullEvent()
	e.Secrets = []string{code, token, "42"}
	e.Text = "550 message with " + code + "\r\n refused: \x1b[31m" + token + strings.Repeat("ä", 1000)
	e.Reason = "code " + code
	e.QueueID = code
	e.Endpoint, e.TLS = token, code
	e.TaskID = strings.Repeat("x", 1000) + "\x00"
	e.Mail = strings.Repeat("m", 100)
	fields := ledger.Encode(e, nil)
	for _, secret := range []string{code, token, "\n", "\x1b", "\x00"} {
		if strings.Contains(strings.Join(fields, ""), secret) {
			t.Errorf("%q is in the entry: %q", secret, fields)
		}
	}
	got, err := ledger.Decode(fields)
	if err != nil {
		t.Fatal(err)
	}
	if n := len([]rune(got.Text)); n != 300 {
		t.Errorf("%d characters of text, want 300", n)
	}
	if len(got.TaskID) != 255 || len(got.Mail) != 32 || got.Secrets != nil {
		t.Errorf("task %d, mail %d bytes, secrets %q", len(got.TaskID), len(got.Mail), got.Secrets)
	}
	if !strings.HasPrefix(got.Text, "550 message with ***   refused: ") {
		t.Errorf("text %q", got.Text)
	}
}

func FuzzDecode(f *testing.F) {
	s, err := ledger.NewSealer(ledger.SealerConfig{Key: operatorKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(strings.Join(ledger.Encode(fullEvent(), s), "\n"))
	f.Add("v\n1\nm\nx\nt\nx\nk\nx\ns\naccepted\nat\n1764417600000000\nph\n:0,:0")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ledger.Decode(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		again, err := ledger.Decode(ledger.Encode(e, nil))
		if err != nil {
			t.Fatalf("decoded, but not after encoding: %v", err)
		}
		if diff := cmp.Diff(e, again); diff != "" {
			t.Errorf("changed on its way:\n%s", diff)
		}
		if len(e.Mail) > 64 || len([]rune(e.TaskID)) > 255 || strings.ContainsAny(e.Text, "\x00\r\n") {
			t.Errorf("not tidy: %+v", e)
		}
	})
}

func TestSealer(t *testing.T) {
	t.Parallel()
	keyed := sealer(t, ledger.SealerConfig{Key: operatorKey})
	a, b := keyed.Seal("Ada@Bücher.example"), keyed.Seal(" ada@xn--bcher-kva.example. ")
	if string(a.Hash) != string(b.Hash) || len(a.Hash) != 16 || a.Domain != "xn--bcher-kva.example" || b.Masked != "***@xn--bcher-kva.example" {
		t.Errorf("two spellings of an address: %+v, %+v", a, b)
	}
	if string(a.Sealed) == string(b.Sealed) {
		t.Error("equal addresses are encrypted alike")
	}
	if c := keyed.Seal("bob@bücher.example"); string(c.Hash) == string(a.Hash) {
		t.Error("two addresses have one hash")
	}
	other := sealer(t, ledger.SealerConfig{Key: operatorKey + "!"})
	if _, err := other.Open(a.Sealed); !errors.Is(err, ledger.ErrWrongKey) {
		t.Errorf("another key opens: %v", err)
	}
	if string(other.Seal("ada@bücher.example").Hash) == string(a.Hash) {
		t.Error("the hash does not depend on the key")
	}
	if _, err := keyed.Open([]byte("x")); !errors.Is(err, ledger.ErrWrongKey) {
		t.Errorf("rubbish opens: %v", err)
	}
	replaced := sealer(t, ledger.SealerConfig{Key: operatorKey + "!", Former: []string{operatorKey}})
	if got, err := replaced.Open(a.Sealed); err != nil || got != "ada@xn--bcher-kva.example" {
		t.Errorf("an address of a former key: %q, %v", got, err)
	}
	if _, err := ledger.NewSealer(ledger.SealerConfig{Key: operatorKey, Former: []string{"short"}}); err == nil {
		t.Error("a short former key is accepted")
	}
	var none *ledger.Sealer
	if r := none.Seal("ada@example.com"); r.Hash != nil || r.Masked != "***@example.com" {
		t.Errorf("a nil sealer: %+v", r)
	}
	if _, err := none.Open(a.Sealed); !errors.Is(err, ledger.ErrNoKey) {
		t.Errorf("a nil sealer opens: %v", err)
	}
	if _, err := ledger.NewSealer(ledger.SealerConfig{Key: "short"}); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short key: %v", err)
	}
}

// keeper is a broker with a secret. The first answers are errors.
type keeper struct {
	asked  int
	errors int
	secret string
}

func (k *keeper) Secret(context.Context) ([]byte, error) {
	k.asked++
	if k.asked <= k.errors {
		return nil, errors.New("broker unavailable")
	}
	return []byte(k.secret), nil
}

func TestSealerWithTheSecretOfTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{errors: 1, secret: "of all workers"}
		s := sealer(t, ledger.SealerConfig{Secrets: k})
		if r := s.Seal("ada@example.com"); r.Hash != nil || r.Domain != "example.com" {
			t.Errorf("without the secret: %+v", r)
		}
		if s.Seal("ada@example.com"); k.asked != 1 {
			t.Errorf("asked %d times at once", k.asked)
		}
		time.Sleep(2 * time.Second)
		a := s.Seal("ada@example.com")
		if a.Hash == nil || a.Sealed != nil || s.Encrypts() {
			t.Errorf("with the secret: %+v", a)
		}
		if s.Seal("ada@example.com"); k.asked != 2 {
			t.Errorf("asked %d times, want 2", k.asked)
		}
		same := sealer(t, ledger.SealerConfig{Secrets: &keeper{secret: "of all workers"}})
		if b := same.Seal("ada@example.com"); string(b.Hash) != string(a.Hash) {
			t.Error("two workers have different hashes")
		}
	})
}
