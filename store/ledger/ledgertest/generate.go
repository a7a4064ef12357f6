// Package ledgertest fills the tables of the history of mails with made-up mails, for tests that
// look at times and plans of queries.
package ledgertest

import (
	"strconv"
	"strings"
)

// Statements returns the SQL that fills empty tables in PostgreSQL with that many mails, until
// noon of 29 November 2026.
func Statements(rows int) []string {
	all := make([]string, len(generated))
	for i, s := range generated {
		all[i] = strings.ReplaceAll(s, "{rows}", strconv.Itoa(rows))
	}
	return all
}

// generated fills the tables for the last 100 days: mails of half a million users at two
// thousand domains, most of them accepted, two events each.
var generated = []string{
	`INSERT INTO evently_mail.mails SELECT md5(i::text), first_seen, 'task-' || i,
		(ARRAY['otp', 'otp', 'otp', 'welcome', 'booking_confirmation', 'booking_confirmation', 'booking_cancellation', 'waitlist_joined', 'waitlist_notification'])[1 + i % 9],
		CASE WHEN i % 100 < 96 THEN 100 ELSE (ARRAY[30, 40, 52, 53, 50, 51, 110, 120])[1 + (i / 100) % 8] END,
		first_seen + interval '1 second', 1, NULL, CASE WHEN i % 100 < 96 THEN first_seen + interval '1 second' END,
		i % ({rows} / 10), ((i * 7) % {rows})::text, decode(md5((i % ({rows} / 10))::text), 'hex'), 'u***@example.com',
		CASE WHEN i % 10 < 4 THEN 'gmail.com' WHEN i % 10 < 6 THEN 'gmx.de' ELSE 'domain' || (i % 2003) || '.example' END,
		NULL, '', CASE WHEN i % 100 < 96 THEN 0 ELSE 550 END, '', CASE WHEN i % 100 < 96 THEN '' ELSE 'bad_address' END, '', false,
		('x' || substr(md5('ref' || i), 1, 15))::bit(60)::bigint
	FROM (SELECT i, timestamptz '2026-11-29 12:00:00+00' - i * (interval '100 days' / {rows}) AS first_seen FROM generate_series(1, {rows}) i) g`,
	`INSERT INTO evently_mail.events SELECT mail, (extract(epoch FROM first_seen) * 1000)::bigint + s, 0, first_seen + s * interval '500 milliseconds',
		CASE s WHEN 1 THEN 20 ELSE state END, 1, '', NULL, CASE s WHEN 1 THEN '' ELSE '.' END, CASE s WHEN 1 THEN 0 ELSE 250 END, '', class,
		CASE s WHEN 1 THEN '' ELSE '2.0.0 Ok: queued as 4FzQ2x1Yz3' END, 'smtp.relay.example:587', 'TLS 1.3', CASE s WHEN 1 THEN '' ELSE '4FzQ' || substr(task_id, 6) END,
		'<' || mail || '@evently.example>', 'celery@worker-1', CASE s WHEN 1 THEN '' ELSE 'lookup:812,render:120,wait:3,mail:20100,rcpt:20000,data:20300,dot:41000' END
	FROM evently_mail.mails, generate_series(1, 2) s`,
	`INSERT INTO evently_mail.counts SELECT span, date_bin(span * interval '1 second', first_seen, timestamptz '2026-01-01 00:00:00+00'), kind, state,
		('x' || substr(mail, 1, 1))::bit(4)::int % 6, count(*)
	FROM evently_mail.mails, unnest(ARRAY[60, 3600, 86400]) span
	WHERE span > 60 OR first_seen > timestamptz '2026-11-22 12:00:00+00' GROUP BY 1, 2, 3, 4, 5`,
	`INSERT INTO evently_mail.classes SELECT date_trunc('hour', first_seen), kind, state, class, count(*) FROM evently_mail.mails WHERE class <> '' GROUP BY 1, 2, 3, 4`,
	`INSERT INTO evently_mail.bounces SELECT md5('bounce' || mail), state_at, 'lmtp', 'failed', 'tag', true, md5('ref' || mail), mail, first_seen,
		rcpt_hash, rcpt_masked, rcpt_domain, 'failed', code, enhanced, class, 'user unknown', 'mx.example.com', 'relay.example.com', false, 4000
	FROM evently_mail.mails WHERE state > 100 OR state = 52`,
	`INSERT INTO evently_mail.domains SELECT date_trunc('day', first_seen), rcpt_domain, state, class, count(*) FROM evently_mail.mails GROUP BY 1, 2, 3, 4`,
}
