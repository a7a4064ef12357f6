package protocol_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/worker/protocol"
)

// What Celery 5.6 has published is published by us byte for byte.
func TestEncodeAsCelery(t *testing.T) {
	// Where the texts differ: what protocol 1, compression and the encoding of
	// the body are on the wire does not survive, and times become UTC.
	different := map[string]bool{
		"protocol1": true, "protocol1-eta-expires": true, "protocol1-group--0": true, "protocol1-group--1": true,
		"compression-gzip": true, "compression-zlib": true, "compression-bzip2": true, "compression-lzma": true,
		"body-encoding-none": true,
		"eta-naive":          true, "eta-newyork": true, "eta-plus0530": true, "eta-string": true, "expires-naive": true,
		"timezone-berlin": true, "timezone-berlin-noutc": true,
	}
	same := 0
	for _, folder := range []string{"celery-5.6.2", "celery-main"} {
		for _, r := range records(t, folder+"/produced.jsonl") {
			if _, refused := notDecoded[r.Name]; refused {
				continue
			}
			got, err := protocol.Encode(decode(t, r.Raw))
			if err != nil {
				t.Errorf("%s/%s: %v", folder, r.Name, err)
				continue
			}
			if different[r.Name] {
				if string(got) == r.Raw {
					t.Errorf("%s/%s is the same; take it off the list", folder, r.Name)
				}
				continue
			}
			if diff := cmp.Diff(r.Raw, string(got)); diff != "" {
				t.Errorf("%s/%s (-Celery +ours):\n%s", folder, r.Name, diff)
			}
			same++
		}
	}
	if same < 150 {
		t.Errorf("only %d messages compared", same)
	}
}

// sameTask compares messages but for what the wire format of the producer left
// in them.
func sameTask(t *testing.T, want, got *protocol.Message) {
	t.Helper()
	clean := func(m *protocol.Message) protocol.Message {
		c := *m
		c.Headers = nil
		c.Protocol, c.Compression, c.ContentEncoding = 2, "", "utf-8"
		c.RootID, c.CorrelationID, c.Lang = or(c.RootID, c.ID), or(c.CorrelationID, c.ID), or(c.Lang, "py")
		c.Redelivered = false
		c.ETA, c.Expires = c.ETA.Truncate(time.Microsecond), c.Expires.Truncate(time.Microsecond)
		if c.IgnoreResult == nil {
			c.IgnoreResult = new(bool)
		}
		if c.Stamps == nil {
			c.Stamps = protocol.Raw("{}")
		}
		return c
	}
	if diff := cmp.Diff(clean(want), clean(got)); diff != "" {
		t.Errorf("changed on its way (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(want.Headers, got.Headers); diff != "" {
		t.Errorf("custom headers changed on their way (-before +after):\n%s", diff)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, r := range messages(t) {
		m := decode(t, r.Raw)
		raw, err := protocol.Encode(m)
		if err != nil {
			t.Errorf("%s/%s: %v", r.folder, r.Name, err)
			continue
		}
		sameTask(t, m, decode(t, string(raw)))
	}
}

func TestEncodeNeedsItsFields(t *testing.T) {
	whole := protocol.Message{ID: "i", Task: "t", DeliveryTag: "d"}
	if _, err := protocol.Encode(&whole); err != nil {
		t.Fatalf("smallest message: %v", err)
	}
	for name, spoil := range map[string]func(*protocol.Message){
		"id":       func(m *protocol.Message) { m.ID = "" },
		"task":     func(m *protocol.Message) { m.Task = "" },
		"tag":      func(m *protocol.Message) { m.DeliveryTag = "" },
		"args":     func(m *protocol.Message) { m.Args = protocol.Raw("{}") },
		"no args":  func(m *protocol.Message) { m.Args = protocol.Raw(" ") },
		"kwargs":   func(m *protocol.Message) { m.Kwargs = protocol.Raw("[]") },
		"cut args": func(m *protocol.Message) { m.Args = protocol.Raw("[1") },
		"chain":    func(m *protocol.Message) { m.Chain = protocol.Raw("[] []") },
		"stamps":   func(m *protocol.Message) { m.Stamps = protocol.Raw("{") },
		"header":   func(m *protocol.Message) { m.Headers = []protocol.Header{{Name: "x", Value: protocol.Raw("y")}} },
	} {
		m := whole
		spoil(&m)
		if b, err := protocol.Encode(&m); err == nil {
			t.Errorf("%s: encoded as %s", name, b)
		}
	}
}

func TestEncodeIsASCII(t *testing.T) {
	m := &protocol.Message{ID: "é", Task: "t", DeliveryTag: "d", Shadow: "\U0001f600\x7f",
		Headers: []protocol.Header{{Name: "ü", Value: protocol.Raw(`{"k":["ß",1.0]}`)}}}
	raw, err := protocol.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"id": "\u00e9"`, `"shadow": "\ud83d\ude00\u007f"`, `"\u00fc": {"k": ["\u00df", 1.0]}`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	for _, c := range raw {
		if c < ' ' || c > '~' {
			t.Fatalf("byte %#x in %s", c, raw)
		}
	}
}

// A retry as Celery publishes it, byte for byte, when the new values are the
// same.
func TestEncodeRetryAsCelery(t *testing.T) {
	for _, r := range records(t, "celery-*/retries.jsonl") {
		t.Run(r.folder+"/"+r.Name, func(t *testing.T) {
			before, after := decode(t, r.Raw), decode(t, r.After)
			o := protocol.RetryOptions{ETA: after.ETA, DeliveryTag: after.DeliveryTag, Origin: after.Origin, Queue: after.RoutingKey}
			if after.Expiration != "" {
				ms, err := time.ParseDuration(after.Expiration + "ms")
				if err != nil {
					t.Fatal(err)
				}
				o.Now = after.Expires.Add(-ms)
			}
			raw, err := protocol.EncodeRetry(before, o)
			if err != nil {
				t.Fatal(err)
			}
			got := string(raw)
			// Python's repr of a list or tuple is only shown; it is not made anew.
			want := strings.Replace(r.After, quote(t, after.ArgsRepr), quote(t, before.ArgsRepr), 1)
			if r.folder == "celery-5.2.6" {
				// It has no stamps yet, loses custom headers, and has the nesting
				// among the properties.
				want = strings.Replace(want, `"replaced_task_nesting": 0, `, "", 1)
				modern := `"ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}`
				if before.Header("X-Tenant") != nil {
					modern += `, "X-Tenant": "acme"`
				}
				want = strings.Replace(want, `"ignore_result": false`, modern, 1)
			}
			if !before.ETA.IsZero() || strings.Contains(want, "+01:00") { // a worker in the time zone of Berlin
				want = strings.Replace(want, member(t, member(t, r.After, "headers"), "eta"), `"`+protocol.FormatTime(after.ETA)+`"`, 1)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-Celery +ours):\n%s", diff)
			}
		})
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := protocol.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEncodeRetryKeepsAndChanges(t *testing.T) {
	at := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	ignored := true
	m := &protocol.Message{
		ID: "id", Task: "t", RootID: "root", Group: "g", GroupIndex: new(int), Retries: 2, Origin: "gen1@a", Shadow: "s",
		Expires: at.Add(time.Minute), ETA: at, HardTimeLimit: 2 * time.Second, SoftTimeLimit: 1500 * time.Millisecond,
		Args:      protocol.Raw(`[1.0, 1180591620717411303424, NaN,"\ud800",  {"b":1,"a":2}]`),
		Kwargs:    protocol.Raw(`{"z": 1e5, "a": -0.0}`),
		Callbacks: protocol.Raw(`[{"task": "x"}]`), Chain: protocol.Raw(`[]`), Chord: protocol.Raw(`{"task": "c"}`),
		CorrelationID: "c", ReplyTo: "r", DeliveryTag: "old", RoutingKey: "elsewhere", Exchange: "ex", Priority: 7, Redelivered: true,
		Compression: "zlib", IgnoreResult: &ignored,
		StampedHeaders: []string{"tenant"}, Stamps: protocol.Raw(`{"tenant": "acme"}`),
		Headers: []protocol.Header{{Name: "compression", Value: protocol.Raw(`"zlib"`)}, {Name: "redelivered", Value: protocol.Raw("true")},
			{Name: "trace", Value: protocol.Raw(`{"id": 1.0}`)}},
		Properties: []protocol.Field{{Name: "app_id", Value: protocol.Raw(`"shop"`)}},
	}
	raw, err := protocol.EncodeRetry(m, protocol.RetryOptions{DeliveryTag: "new", Origin: "gen2@b", Queue: "q", Now: at})
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, string(raw))
	want := *m
	want.Retries, want.ETA, want.DeliveryTag, want.Origin, want.ParentID = 3, time.Time{}, "new", "gen2@b", "id"
	want.Exchange, want.RoutingKey, want.Expiration, want.IgnoreResult = "", "q", "60000", nil
	want.ContentType = "application/json"
	want.Headers = want.Headers[2:] // what is Celery's and kombu's was none of the application
	want.Properties = []protocol.Field{{Name: "origin", Value: protocol.Raw(`"gen1@a"`)}}
	sameTask(t, &want, got)
	if got.Redelivered || got.Compression != "" || strings.Contains(string(raw), `"compression"`) {
		t.Errorf("compression or redelivery copied: %s", raw)
	}
	if !strings.Contains(string(raw), `"origin": "gen1@a", "delivery_mode"`) {
		t.Errorf("first origin is no property: %s", raw)
	}
	if m.Retries != 2 || m.DeliveryTag != "old" {
		t.Error("EncodeRetry changed its argument")
	}

	three := 3
	raw, err = protocol.EncodeRetry(&want, protocol.RetryOptions{DeliveryTag: "d", Retries: &three, Now: at.Add(time.Hour), IgnoreResult: true})
	if err != nil {
		t.Fatal(err)
	}
	got = decode(t, string(raw))
	if got.Retries != 3 || got.Expiration != "0" || got.ParentID != "id" || !*got.IgnoreResult || got.RoutingKey != "q" {
		t.Errorf("second retry: %s", raw)
	}
}
