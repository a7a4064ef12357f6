package workertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

func claimExcept(t *testing.T, f Fixture, max int, names ...string) []broker.Delivery {
	t.Helper()
	ds, err := f.can.Selector.ClaimExcept(context.Background(), names, max)
	if err != nil {
		t.Fatalf("ClaimExcept: %v", err)
	}
	return ds
}

func ofTask(name string) func(*protocol.Message) {
	return func(m *protocol.Message) { m.Task = name }
}

func testSelect(t *testing.T, f Fixture) {
	var held, others []string
	for i := range 300 {
		name := "shop.tasks.mail"
		if i%7 == 3 {
			name = "shop.tasks.other"
		}
		id, raw := message(t, ofTask(name))
		f.Push("a", 0, raw)
		if name == "shop.tasks.mail" {
			held = append(held, id)
		} else {
			others = append(others, id)
		}
	}
	if n := len(claimExcept(t, f, 5, "shop.tasks.mail")); n > 5 {
		t.Errorf("claimed %d, want 5 at most", n)
	} else {
		others = others[n:]
	}
	urgent, raw := message(t, ofTask("shop.tasks.other"), func(m *protocol.Message) { m.Priority = 9 })
	f.Push("b", 9, raw)
	var got []string
	eventually(t, "all others are claimed", func() bool {
		got = append(got, delivered(t, claimExcept(t, f, 10, "shop.tasks.mail", "unheard of"))...)
		return len(got) >= len(others)+1
	})
	slices.Sort(got)
	want := append(slices.Clone(others), urgent)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("claimed %v, want %v", got, want)
	}
	if got := ids(t, f.Queued("a")); !slices.Equal(got, held) {
		t.Errorf("queue is %v, want the held messages in their order", got)
	}
	for _, raw := range f.Queued("a") {
		if m, err := protocol.Decode(raw, protocol.Limits{}); err != nil || m.Redelivered {
			t.Fatalf("a held message has changed: %v", err)
		}
	}
	// Nothing was lost: what was claimed is held, and settles.
	ds := claim(t, f, 20)
	if got := delivered(t, ds); len(got) == 0 || !slices.Equal(got, held[:len(got)]) {
		t.Errorf("Claim after it takes %v, want the held messages in their order", got)
	}
	if err := f.Broker.Return(context.Background(), ds); err != nil {
		t.Fatalf("Return: %v", err)
	}
	if n := f.Unacked(); n != 300-len(held)+1 {
		t.Errorf("%d claims, want those of the others alone, %d", n, 300-len(held)+1)
	}
}

// The name of a task is the one that the worker reads, however a producer writes it.
func testSelectNames(t *testing.T, f Fixture) {
	body := `"body": "W1tdLCB7fSwge31d", "content-type": "application/json", "content-encoding": "utf-8", "properties": {"body_encoding": "base64", ` +
		`"delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "a"}}`
	old := `{"body": "eyJ0YXNrIjogIm1haWwiLCAiaWQiOiAib2xkIiwgImFyZ3MiOiBbXSwgImt3YXJncyI6IHt9fQ==", "content-type": "application/json", ` +
		`"content-encoding": "utf-8", "headers": {}, "properties": {"body_encoding": "base64", "delivery_tag": "d", "delivery_info": {"exchange": "", "routing_key": "a"}}}`
	var want []string
	for _, headers := range []string{
		`{"task": "mail", "id": "1"}`, `{"id":"2","task":"mail"}`, `{"task": "\u006dail", "id": "3"}`, `{"task": "other", "task": "mail", "id": "4"}`,
		`{"task" : "m\u00e4il", "id": "5"}`, `{"task": "mäil", "id": "6"}`,
	} {
		f.Push("a", 0, []byte(`{`+body+`, "headers": `+headers+`}`))
		want = append(want, fmt.Sprint(len(want)+1))
	}
	f.Push("a", 0, []byte(old))
	f.Push("a", 0, []byte("not a message"))
	for _, name := range []string{"mai", "mail2", "Mail", "\"mail\"", "x"} {
		_, raw := message(t, ofTask(name), func(m *protocol.Message) {
			m.Args = protocol.Raw(`["\"task\": \"mail\""]`)
			m.ArgsRepr = `'"task": "mail"'`
		})
		f.Push("a", 0, raw)
	}
	n := 0
	eventually(t, "the others are claimed", func() bool {
		for _, d := range claimExcept(t, f, 10, "mail", "mäil") {
			n++
			if m, err := protocol.Decode(d.Raw, protocol.Limits{}); err != nil || slices.Contains([]string{"mail", "mäil"}, m.Task) {
				t.Errorf("%s is claimed", d.Raw)
			}
		}
		return n >= 5
	})
	claimExcept(t, f, 10, "mail", "mäil")
	var left []string
	for _, raw := range f.Queued("a") {
		if env, err := protocol.ParseEnvelope(raw); err == nil && env.ID != "" {
			left = append(left, env.ID)
		} else {
			left = append(left, strings.TrimSpace(string(raw[:min(len(raw), 13)])))
		}
	}
	if n := len(left); n != 8 || !slices.Equal(left[:6], want) {
		t.Errorf("left are %q, want %q, the message of protocol 1 and the unreadable one", left, want)
	}
}

// A message that was delivered before is claimed with its count, as by Claim.
func testSelectRedelivered(t *testing.T, f Fixture) {
	for range 3 {
		_, raw := message(t, ofTask("mail"))
		f.Push("a", 0, raw)
	}
	id, raw := message(t, ofTask("other"))
	marked, err := protocol.MarkRedelivered(raw)
	if err != nil {
		t.Fatal(err)
	}
	f.Push("a", 0, marked)
	var ds []broker.Delivery
	eventually(t, "it is claimed", func() bool { ds = claimExcept(t, f, 10, "mail"); return len(ds) > 0 })
	if len(ds) != 1 || ds[0].Crashes != 1 || ds[0].Queue != "a" {
		t.Fatalf("claimed %+v, want one message that was delivered before", ds)
	}
	if s, err := f.Broker.Start(context.Background(), ds[0], broker.Start{}); s.Crashed != 1 || err != nil {
		t.Errorf("Start = %+v, %v, want one crash", s, err)
	}
	if err := settle(t, f, broker.Settlement{Delivery: ds[0], Result: success(id)}); err != nil {
		t.Errorf("Settle: %v", err)
	}
	if n := f.Unacked(); n != 0 {
		t.Errorf("%d unacknowledged, want none", n)
	}
}
