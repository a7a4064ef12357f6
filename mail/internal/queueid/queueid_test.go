package queueid_test

import (
	"strings"
	"testing"

	"github.com/evently/workers/mail/internal/queueid"
)

// The texts have the forms of real servers; the ids are invented.
func TestParse(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		// Postfix and servers that copy it
		"2.0.0 Ok: queued as 4F3A12":                                                      "4F3A12",
		"2.0.0 Ok: queued as 4XyZ3k1QbGz9s7r":                                             "4XyZ3k1QbGz9s7r",
		"2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 7C1D220A4F":      "7C1D220A4F",
		"Ok: queued as X2b9rJk3TQ-8kz1mPqLw7A":                                            "X2b9rJk3TQ-8kz1mPqLw7A",                      // SendGrid
		"2.0.0 OK: queued as <202611290930.98210334102@smtp-relay.example>":               "202611290930.98210334102@smtp-relay.example", // Brevo
		"OK queued as 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0":                               "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",        // Mailjet
		"Mail OK queued as gzga-smtp-mta-g2-3,_____wD3v2a9ykpp4n9LBg--.1201S2 1764408000": "gzga-smtp-mta-g2-3,_____wD3v2a9ykpp4n9LBg--.1201S2",
		"2.0.0 Message queued with id 1a2b3c4d5e.":                                        "1a2b3c4d5e", // Stalwart
		"OK: queued as.":   "", // QQ
		"2.0.0 OK: queued": "",
		// Yandex
		"2.0.0 Ok: queued on mail-nwsmtp-12.vla.example as 1764408000-aB3dE5fG7h": "1764408000-aB3dE5fG7h",
		"2.0.0 Ok: queued on mail-nwsmtp-12.vla.example 1764408000-aB3dE5fG7h":    "1764408000-aB3dE5fG7h",
		// Exim and its relatives
		"OK id=1tGkXz-0003Lp-2W":                                             "1tGkXz-0003Lp-2W",
		"OK id=1tGkXz-00000003LpQ-2Wab":                                      "1tGkXz-00000003LpQ-2Wab",
		"Requested mail action okay, completed: id=0MtXyz-1tABCD3fGh-00aBcD": "0MtXyz-1tABCD3fGh-00aBcD", // GMX
		"OK ids=6f1c2ab04d8e11efa0b1deadbeef0001,6f1c2ab04d8e11ef":           "6f1c2ab04d8e11efa0b1deadbeef0001",
		// Exchange and Microsoft 365
		"2.6.0 <8c1f0aa4@evently.example> [InternalId=23850393108498, Hostname=AM0PR04MB1234.eurprd04.prod.outlook.com] 9876 bytes in 0.112, 85.9 KB/sec Queued mail for delivery": "23850393108498",
		"2.6.0 <8c1f0aa4@evently.example> Queued mail for delivery": "",
		// Gmail
		"2.0.0 OK  1764408000 ffacd0b85a97d-42b7f1a2b3csi12345678f8f.90 - gsmtp": "ffacd0b85a97d-42b7f1a2b3csi12345678f8f.90",
		"2.0.0 OK 1764408000 a640c23a62f3a-b7a1b2c3d4esm123456766b.12 - gsmtp":   "a640c23a62f3a-b7a1b2c3d4esm123456766b.12",
		// Amazon SES
		"Ok 0102019ac1b2c3d4-0a1b2c3d-1234-5678-9abc-def012345678-000000": "0102019ac1b2c3d4-0a1b2c3d-1234-5678-9abc-def012345678-000000",
		// Sendmail, OpenSMTPD, Proofpoint, Kerio
		"2.0.0 5AT9U0xx012345 Message accepted for delivery":                                 "5AT9U0xx012345",
		"2.0.0 4f2e1d0c Message accepted for delivery":                                       "4f2e1d0c",
		"2.0.0 49xyzab1cd-1 Message accepted for delivery":                                   "49xyzab1cd-1",
		"Message accepted for delivery":                                                      "", // Domino
		"2.6.0 Message accepted for delivery":                                                "",
		"2.6.0 9876 bytes received in 00:00:00; Message id 20261129A1 accepted for delivery": "20261129A1",
		// Haraka, Halon, hMailServer
		"Message Queued (6F9619FF-8B86-D011-B42D-00CF4FC964FF.1)": "6F9619FF-8B86-D011-B42D-00CF4FC964FF.1",
		"Queued (0.123 seconds)":                                  "",
		// others
		"ok:  Message 40412345 accepted":                                                         "40412345", // Cisco
		"2.5.0 Ok, envelope id MVK3T2AB1CD@outbound.example":                                     "MVK3T2AB1CD@outbound.example",
		"ok 1764408000 qp 12345":                                                                 "1764408000 qp 12345",
		"Ok. 00000000000A1B2C.00000000692AC0DE.00004D2F":                                         "00000000000A1B2C.00000000692AC0DE.00004D2F", // Courier
		"2.0.0 OK B6/D3-29142-1F9CA296":                                                          "B6/D3-29142-1F9CA296",
		"SmtpThread-4321-1764408000@uk-mta-12.uk.mimecast.lan Received OK [a1B2c3D4NzSxYw.uk12]": "a1B2c3D4NzSxYw.uk12",
		// no id
		"OK": "", "": "", "2.0.0 OK": "", "2.6.0 message received": "", "Great success": "", "ok": "",
		"Requested mail action okay, completed": "", "OK , completed": "", "Message received": "",
		"2.6.0 Ok, message saved <Message-ID: 8c1f0aa4@evently.example>": "",
		// unclean ids
		"queued as \x1b[31m4F3A12":               "",
		"queued as 4F3A12\r\n<script>":           "4F3A12",
		"queued as <b>4F3A12</b>":                "",
		"queued as 4F3\u00e412":                  "",
		"queued as 1" + strings.Repeat("x", 100): "",
		"queued as nothing":                      "",
		"id=../../etc/passwd1":                   "",
	} {
		if got := queueid.Parse(reply); got != want {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
}

// An id of any reply is short and harmless.
func FuzzParse(f *testing.F) {
	f.Add("2.0.0 Ok: queued as 4F3A12")
	f.Add("[InternalId=1")
	f.Fuzz(func(t *testing.T, reply string) {
		if id := queueid.Parse(reply); len(id) > 100 || strings.ContainsAny(id, "<>\"'&\r\n\t\x00\x1b") {
			t.Errorf("%q", id)
		}
	})
}
