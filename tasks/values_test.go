package tasks_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/mail/smtptest"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

// given runs one task with one dictionary, and returns its mails, its result and the reason
// of its dead letter.
func given(t *testing.T, name, data string) (b bench, result string, dead string) {
	t.Helper()
	b = newBench(t, nil)
	args := `[42, ` + data + `]`
	if name == tasks.NameOTP || name == tasks.NameWelcome {
		args = `[` + data + `]`
	}
	o := workertest.Run(t, b.Definitions(), workertest.Call{Task: name, Args: rawList(t, args)})
	if o.State != protocol.StateSuccess {
		t.Fatalf("%s of %s: state %s, %v", name, data, o.State, o.Exception)
	}
	raw, err := protocol.Marshal(o.Result)
	if err != nil {
		t.Fatalf("%s of %s: encode the result: %v", name, data, err)
	}
	return b, strings.NewReplacer(": ", ":", ", ", ",").Replace(string(raw)), o.DeadLetter
}

func rawList(t *testing.T, args string) []any {
	t.Helper()
	all, err := protocol.Raw(args).Elements()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]any, len(all))
	for i, a := range all {
		out[i] = a
	}
	return out
}

// Every key of every task, with values that are missing, of another type, or written in
// another way. A mail has the text "says" and does not have "lacks"; without a mail there
// is an answer, or a dead letter that names the key.
func TestEveryKey(t *testing.T) {
	const (
		decimal = `{"__type__": "decimal", "__value__": "`
		uuid    = `{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678", "version": 4}}`
		moment  = `{"__type__": "datetime", "__value__": "2026-11-23T20:15:00+00:00"}`
	)
	type outcome struct{ says, lacks, answer, dead string }
	says := func(s string) outcome { return outcome{says: s} }
	lacks := func(s string) outcome { return outcome{lacks: s} }
	missing := outcome{answer: "Missing required data"}

	event := map[string]outcome{
		`null`: says("Event:        Event\n"), `""`: says("Event:        Event\n"), `" \u200b\n"`: says("Event:        Event\n"),
		`"Jazz"`: says("Jazz"), `1984`: says("1984\n"), `1984.0`: says("1984\n"), `19.5`: says("19.5\n"), decimal + `19.50"}`: says("19.50\n"),
		uuid: says("12345678-1234-5678-1234-567812345678"), `"Node.js"`: says("Node.js\n"),
		`["Jazz"]`: {dead: "event_name"}, `{"en": "Jazz"}`: {dead: "event_name"}, `true`: {dead: "event_name"}, `NaN`: {dead: "event_name"},
	}
	date := func(label, otherwise string) map[string]outcome {
		m := map[string]outcome{
			`null`: says(otherwise), `""`: says(otherwise),
			`"2026-11-23"`: says("23 November 2026\n"), `"2026-11-23 20:15:00+00"`: says("23 November 2026, 20:15 UTC\n"),
			`"2026-11-24 01:45:00.5+0530"`: says("23 November 2026, 20:15 UTC\n"), `"2026-11-23T20:15:00Z"`: says("23 November 2026, 20:15 UTC\n"),
			moment: says("23 November 2026, 20:15 UTC\n"), `{"__type__": "date", "__value__": "2026-11-23"}`: says("23 November 2026\n"),
			`1795464900`: says("23 November 2026, 20:15 UTC\n"), `1795464900.25`: says("23 November 2026, 20:15 UTC\n"), `1795464900000`: says("23 November 2026, 20:15 UTC\n"),
			`"1795464900"`: says("23 November 2026, 20:15 UTC\n"), `20261123`: says("23 November 2026\n"),
		}
		for _, v := range []string{`"next week"`, `17`, `NaN`, `true`, `[]`, `{}`, `["2026-11-23"]`, `"0001-01-01T00:00:00Z"`, `0`, `"infinity"`} {
			m[v] = lacks(label)
		}
		return m
	}
	amount := func(label string) map[string]outcome {
		m := map[string]outcome{
			`null`: says("0.00\n"), `""`: says("0.00\n"), `"  "`: says("0.00\n"), `0`: says("0.00\n"),
			`59.9`: says("59.90\n"), `"59.90"`: says("59.90\n"), decimal + `59.90"}`: says("59.90\n"), `"1,250.00"`: says("1250.00\n"),
			`59.699999999999996`: says("59.70\n"), `"59.699999999999996"`: says("59.70\n"), decimal + `0.30000000000000004"}`: says("0.30\n"),
			`"€59.90"`: says("59.90 EUR\n"), `"59,90 eur"`: says("59.90 EUR\n"), `1e2`: says("100.00\n"), `12345678901234567890.01`: says("12,345,678,901,234,567,890.01\n"),
		}
		for _, v := range []string{`"a lot"`, `"1,250"`, `{"amount": 5}`, `[5]`, `true`, `NaN`, `Infinity`, `-Infinity`, decimal + `NaN"}`, `1e99`, `-12.5`} {
			m[v] = lacks(label)
		}
		return m
	}
	count := func(label, one, three string) map[string]outcome {
		m := map[string]outcome{
			`null`: says(one), `""`: says(one), `3`: says(three), `3.0`: says(three), `"3"`: says(three), `" 3\n"`: says(three), `"3.0"`: says(three), `3e0`: says(three),
			decimal + `3"}`: says(three), decimal + `3.00"}`: says(three), `"\u200b3"`: says(three), `"３"`: says(three),
		}
		for _, v := range []string{`0`, `-3`, `2.5`, `"many"`, `true`, `[3]`, `{}`, `NaN`, `"0x3"`, `99999999999999999999`, uuid} {
			m[v] = lacks(label)
		}
		return m
	}
	name := func(missing string) map[string]outcome {
		m := map[string]outcome{`null`: says(missing), `{}`: says(missing), `""`: says(missing), `[]`: says(missing), `"bob"`: says(missing), `7`: says(missing), `true`: says(missing)}
		m[`{"username": "bob.lee"}`], m[`{"username": 7}`], m[`{"username": 7.0}`] = says("Hi bob.lee,\n"), says("Hi 7,\n"), says("Hi 7,\n")
		m[`{"username": "bob", "full_name": "Bob B."}`], m[`{"username": "bob", "full_name": ""}`] = says("Hi Bob B.,\n"), says("Hi bob,\n")
		m[`{"username": "bob", "full_name": ["Bob"]}`], m[`{"username": ["bob"], "full_name": null}`], m[`{"username": true}`] = says("Hi bob,\n"), says(missing), says(missing)
		return m
	}
	email := map[string]outcome{
		`null`: missing, `""`: missing, `" \n"`: missing, `"\ufeff"`: missing,
		`" bob@example.com\r\n"`: says("Hi User,"), `"bob\u200b@example.com"`: says("Hi User,"), `"<bob@example.com>"`: says("Hi User,"), `"Bob <bob@example.com>"`: says("Hi User,"),
		`"mailto:bob@example.com"`: says("Hi User,"), `"bob＠example．com"`: says("Hi User,"),
		`5`: {dead: "email"}, `true`: {dead: "email"}, `["bob@example.com"]`: {dead: "email"}, `{}`: {dead: "email"}, `NaN`: {dead: "email"}, decimal + `5"}`: {dead: "email"},
	}
	id := map[string]outcome{
		`null`: says("N/A\n"), `""`: says("N/A\n"), `17`: says("17\n"), `17.0`: says("17\n"), `"17 "`: says("17\n"), `"BK.a"`: says("BK.a\n"), uuid: says("12345678-1234-5678-1234-567812345678\n"),
		`false`: {dead: "booking_id"}, `[17]`: {dead: "booking_id"}, `{"id": 17}`: {dead: "booking_id"}, `NaN`: {dead: "booking_id"},
	}
	otp := map[string]outcome{
		`null`: missing, `""`: missing, `" "`: missing, `"\u200b\n"`: missing,
		`"048213"`: says("\n048213\n"), `48213`: says("\n48213\n"), `123456.0`: says("\n123456\n"), decimal + `123456"}`: says("\n123456\n"),
		decimal + `1.23456E+5"}`: says("\n123456\n"), decimal + `048213"}`: says("\n048213\n"), `"048213\n"`: says("\n048213\n"), `" 048213"`: says("\n048213\n"),
		`"\ufeff048\u200b213"`: says("\n048213\n"), `"4829\u00a013"`: says("\n4829 13\n"), `"12  34"`: says("\n12  34\n"), `"7KQ2-M9XD"`: says("\n7KQ2-M9XD\n"), `"\u0661\u0662"`: says("\n١٢\n"),
	}
	for _, v := range []string{`["1"]`, `{"code": "1"}`, `false`, `NaN`, `123456.5`, `-1`, `"https://evil.example"`, `"evil.example"`, `"a@b"`, `"04\u00008213"`, `"` + strings.Repeat("7", 33) + `"`} {
		otp[v] = outcome{dead: "otp"}
	}
	minutes := map[string]outcome{
		`null`: says("30 minutes"), `""`: says("30 minutes"), `15`: says("15 minutes"), `14.98`: says("14 minutes"), `"15"`: says("15 minutes"), `"14.98"`: says("14 minutes"),
		`"15 minutes"`: says("15 minutes"), `"15 min"`: says("15 minutes"), decimal + `15.5"}`: says("15 minutes"), `1.99`: says("1 minute"), `"\u200b15"`: says("15 minutes"),
	}
	for _, v := range []string{`0`, `-5`, `0.5`, `"soon"`, `true`, `[15]`, `{}`, `NaN`, `1e300`, `"0x10"`} {
		minutes[v] = lacks("Time left")
	}
	reason := map[string]outcome{
		`null`: says("User request\n"), `""`: says("User request\n"), `"Rain"`: says("Rain\n"), `7`: says("7\n"), `["Rain"]`: says("Not stated\n"), `true`: says("Not stated\n"), `{}`: says("Not stated\n"),
	}
	currency := map[string]outcome{
		`null`: says("5.00\n"), `""`: says("5.00\n"), `"eur"`: says("5.00 EUR\n"), `" EUR "`: says("5.00 EUR\n"), `"€"`: says("5.00 EUR\n"), `"XCG"`: says("5.00 XCG\n"), `"MUR"`: says("5.00 MUR\n"),
		`"CLF"`: says("5.0000 CLF\n"), `"jpy"`: says("5 JPY\n"), `["EUR"]`: says("5.00\n"), `"dollars"`: says("5.00\n"), `978`: says("5.00\n"), `true`: says("5.00\n"), `{}`: says("5.00\n"), `"XXX"`: says("5.00\n"),
	}
	url := map[string]outcome{}
	ignored := map[string]outcome{}
	for _, v := range []string{`null`, `""`, `5`, `true`, `[]`, `{}`, `"javascript:alert(1)"`, moment, uuid} {
		url[v], ignored[v] = lacks("Complete your booking:"), says("")
	}
	for task, of := range map[string]map[string]map[string]outcome{
		tasks.NameOTP:                  {"email": email, "otp": otp, "user_data": name("Hi User,\n"), "timestamp": ignored},
		tasks.NameWelcome:              {"email": email, "user_data": name("Hi User,\n"), "timestamp": ignored},
		tasks.NameBookingConfirmation:  {"event_name": event, "booking_id": id, "quantity": count("Quantity", "1 ticket\n", "3 tickets\n"), "total_price": amount("Total"), "booking_date": date("Booked on", "23 November 2026\n"), "currency": currency},
		tasks.NameBookingCancellation:  {"event_name": event, "booking_id": id, "refund_amount": amount("Refund:"), "reason": reason, "cancellation_date": date("Cancelled on", ""), "currency": currency},
		tasks.NameWaitlistNotification: {"event_name": event, "position": count("Position", "Position:     1\n", "Position:     3\n"), "expiry_minutes": minutes, "waitlist_id": ignored, "booking_url": url},
		tasks.NameWaitlistJoined:       {"event_name": event, "position": count("Position", "Position:     1\n", "Position:     3\n"), "joined_date": date("Joined on", "23 November 2026\n"), "waitlist_id": ignored},
		tasks.NameWaitlistCancellation: {"event_name": event, "cancellation_date": date("Left on", "23 November 2026\n"), "waitlist_id": ignored},
	} {
		for key, values := range of {
			t.Run(task+"/"+key, func(t *testing.T) {
				for _, value := range slices.Sorted(maps.Keys(values)) {
					data := `{"email": "bob@example.com", "otp": "1", "total_price": 5, "refund_amount": 5, "` + key + `": ` + value + `}`
					if key == "total_price" || key == "refund_amount" {
						data = `{"` + key + `": ` + value + `}`
					}
					want := values[value]
					b, result, dead := given(t, task, data)
					switch {
					case want.dead != "":
						if !strings.HasPrefix(dead, want.dead+" is not ") || len(b.out.sent) != 0 || !strings.Contains(result, `"success":false,"error":"`+want.dead+` is not `) {
							t.Errorf("%s: %d mails, dead letter %q, result %s; want a dead letter that names it", value, len(b.out.sent), dead, result)
						}
					case want.answer != "":
						if dead != "" || len(b.out.sent) != 0 || !strings.Contains(result, `{"success":false,"error":"`+want.answer+`"`) {
							t.Errorf("%s: %d mails, dead letter %q, result %s; want %q", value, len(b.out.sent), dead, result, want.answer)
						}
					case len(b.out.sent) != 1 || dead != "":
						t.Errorf("%s: %d mails, dead letter %q, result %s", value, len(b.out.sent), dead, result)
					default:
						text := b.out.sent[0].Text
						if !strings.Contains(text, want.says) || want.lacks != "" && strings.Contains(text, want.lacks) {
							t.Errorf("%s: want %q and nothing of %q:\n%s", value, want.says, want.lacks, text)
						}
						if key == "email" && b.out.sent[0].To != "bob@example.com" {
							t.Errorf("%s: sent to %q", value, b.out.sent[0].To)
						}
					}
				}
			})
		}
	}
}

// The result has the values of the producer with their types.
func TestEcho(t *testing.T) {
	for value, want := range map[string]string{
		`17`: `17`, `17.0`: `17.0`, `"17 "`: `"17 "`, `""`: `"N/A"`, `null`: `"N/A"`,
		`{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678", "version": 4}}`: `{"__type__":"uuid","__value__":{"hex":"12345678123456781234567812345678","version":4}}`,
	} {
		for _, task := range []string{tasks.NameBookingConfirmation, tasks.NameBookingCancellation} {
			if _, result, _ := given(t, task, `{"booking_id": `+value+`}`); !strings.Contains(result, `"booking_id":`+want+`,`) {
				t.Errorf("%s of %s: %s", task, value, result)
			}
		}
	}
	for value, want := range map[string]string{`3.0`: `3.0`, `"3"`: `"3"`, `""`: `1`, `[3]`: `[3]`} {
		if _, result, _ := given(t, tasks.NameWaitlistJoined, `{"position": `+value+`}`); !strings.Contains(result, `"position":`+want+`,`) {
			t.Errorf("position %s: %s", value, result)
		}
		if _, result, _ := given(t, tasks.NameWaitlistNotification, `{"position": `+value+`}`); !strings.Contains(result, `"waitlist_position":`+want+`,`) {
			t.Errorf("position %s: %s", value, result)
		}
	}
}

// Ids of users, as databases and their drivers write them.
func TestUserIDs(t *testing.T) {
	const nobody = `"success":false,"error":"User email not found"`
	for id, want := range map[string]string{
		`42`: `"success":true`, `42.0`: `"success":true`, `"42"`: `"success":true`, `" 42\n"`: `"success":true`, `"42.0"`: `"success":true`, `"\ufeff42"`: `"success":true`,
		`{"__type__": "decimal", "__value__": "42"}`: `"success":true`,
		`null`: nobody, `""`: nobody, `41`: nobody, `"bob"`: nobody, `"42abc"`: nobody,
		`{"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678", "version": 4}}`: nobody,
		`true`: `user_id is not a number`, `[42]`: `user_id is not a number`, `{"id": 42}`: `user_id is not a number`, `42.5`: `user_id is not a number`, `NaN`: `user_id is not a number`,
	} {
		b := newBench(t, nil)
		o := workertest.Run(t, b.Definitions(), workertest.Call{Task: tasks.NameWaitlistJoined, Args: rawList(t, `[`+id+`, {}]`)})
		told := strings.NewReplacer(": ", ":", ", ", ",").Replace(string(o.Result))
		if o.State != protocol.StateSuccess || !strings.Contains(told, want) || (o.DeadLetter != "") != strings.HasPrefix(want, "user_id") {
			t.Errorf("%s: %s, dead letter %q", id, told, o.DeadLetter)
		}
	}
}

// The log has the keys of the values that a mail leaves out, and none of the values.
func TestLeftOutIsLogged(t *testing.T) {
	logged := func(data string) string {
		b := newBench(t, nil)
		if _, err := b.run(t.Context(), task(tasks.NameBookingConfirmation, `[42, `+data+`]`, `{}`)); err != nil {
			t.Fatal(err)
		}
		return b.logs.String()
	}
	logs := logged(`{"quantity": "many", "total_price": "canary", "currency": "canary", "booking_date": "canary"}`)
	if !strings.Contains(logs, `"keys":["quantity","total_price","booking_date"]`) || strings.Contains(logs, "canary") {
		t.Errorf("logged:\n%s", logs)
	}
	if logs := logged(`{}`); strings.Contains(logs, "keys") {
		t.Errorf("logged of nothing:\n%s", logs)
	}
}

// Addresses of the user table and of producers reach a real server in the form of the RFC.
func TestAddressesOnTheWire(t *testing.T) {
	server, parts := realParts(t, &logBuffer{}, smtptest.Options{})
	b := newBench(t, parts)
	for in, want := range map[string]string{
		`"a..b@docomo.ne.jp"`:                `"a..b"@docomo.ne.jp`,
		`"a.@docomo.ne.jp"`:                  `"a."@docomo.ne.jp`,
		`"\ufeffbob@Example.COM.\u200b"`:     "bob@example.com",
		`"bob@bu\u0308cher.example"`:         "bob@xn--bcher-kva.example",
		`"bob＠例え。jp"`:                        "bob@xn--r8jz45g.jp",
		`"Bob <mailto:bob@example.com?a=b>"`: "bob@example.com",
	} {
		before := len(server.Mails())
		o := workertest.Run(t, b.Definitions(), workertest.Call{Task: tasks.NameOTP, Args: rawList(t, `[{"email": `+in+`, "otp": "048213"}]`)})
		mails := server.Mails()[before:]
		if len(mails) != 1 || mails[0].To != want || !strings.Contains(mails[0].Text(), "\nTo: "+want+"\n") {
			t.Errorf("%s: %d mails, result %s; want one to %s", in, len(mails), o.Result, want)
		}
	}
}
