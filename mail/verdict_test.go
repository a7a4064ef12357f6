package mail_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

// outcome names in one word what a caller makes of a failure.
func outcome(e *mail.SendError) string {
	switch {
	case e.ConfigurationFault():
		return "account"
	case e.Quota():
		return "quota"
	case e.Throttled():
		return "rate"
	case e.AddressFault():
		return "address"
	case !e.Retryable():
		return "mail"
	case e.Code >= 500:
		return "unclear"
	}
	return "later"
}

// Replies that servers give, at the stage where they give them. account, quota
// and rate cost the mail no attempt; later and unclear cost one; address and mail
// are final.
var realReplies = []struct{ stage, reply, outcome string }{
	// Postfix, which delays its verdict until RCPT
	{"RCPT", "553 5.7.1 <mail@evently.example>: Sender address rejected: not owned by user mailer", "account"},
	{"RCPT", "553 5.7.1 <mail@evently.example>: Sender address rejected: not logged in", "account"},
	{"RCPT", "550 5.1.0 <mail@evently.example>: Sender address rejected: User unknown in virtual mailbox table", "account"},
	{"RCPT", "550 5.1.8 <mail@evently.example>: Sender address rejected: Domain not found", "account"},
	{"RCPT", "450 4.1.8 <mail@evently.example>: Sender address rejected: Domain not found", "account"},
	{"RCPT", "504 5.5.2 <worker-1>: Helo command rejected: need fully-qualified hostname", "account"},
	{"RCPT", "450 4.7.1 <worker-1.evently.example>: Helo command rejected: Host not found", "account"},
	{"RCPT", "501 5.5.2 <worker_1>: Helo command rejected: Invalid name", "account"},
	{"RCPT", "554 5.7.1 <jane.roe@example.com>: Relay access denied", "account"},
	{"RCPT", "454 4.7.1 <jane.roe@example.com>: Relay access denied", "account"},
	{"RCPT", "554 5.7.1 <jane.roe@example.com>: Recipient address rejected: Relay access denied", "account"},
	{"RCPT", "554 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied", "account"},
	{"RCPT", "450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.7]", "account"},
	{"RCPT", "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.7", "account"},
	{"RCPT", "530 5.7.0 Must issue a STARTTLS command first", "account"},
	{"RCPT", "550 5.7.23 <jane.roe@example.com>: Recipient address rejected: Message rejected due to: SPF fail - not authorized. Please see http://www.openspf.net/Why", "account"},
	{"RCPT", "550 5.7.1 <jane.roe@example.com>: Recipient address rejected: Mail appeared to be SPAM or forged. Ask your Mail/DNS-Administrator to correct HELO and DNS MX settings or to get removed from DNSBLs", "account"},
	{"RCPT", "450 4.7.1 <mail@evently.example>: Recipient address rejected: Policy Rejection- Sender rate limit exceeded", "rate"},
	{"RCPT", "450 4.7.1 Error: too much mail from 192.0.2.7", "rate"},
	{"RCPT", "421 4.7.0 worker-1.evently.example Error: too many errors", "rate"},
	{"RCPT", "550 5.1.1 <jane.roe@example.com>: Recipient address rejected: User unknown in local recipient table", "address"},
	{"RCPT", "550 5.1.1 <jane.roe@example.com>: Recipient address rejected: User unknown in relay recipient table", "address"},
	{"RCPT", "550 <jane.roe@example.com>: Recipient address rejected: User unknown in relay recipient table", "address"},
	{"RCPT", "550 5.1.1 <jane.roe@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] said: 550 sender blocked", "address"},
	{"RCPT", "450 4.1.1 <jane.roe@example.com>: Recipient address rejected: unverified address: Address verification in progress", "later"},
	{"RCPT", "450 4.1.2 <jane.roe@example.com>: Recipient address rejected: Domain not found", "later"},
	{"RCPT", "450 4.2.0 <jane.roe@example.com>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.com.html", "later"},
	{"RCPT", "451 4.7.1 Greylisting in action, sender, IP and HELO must come back in 00:04:59", "later"},
	{"RCPT", "550 5.7.1 Greylisted, please try again in 5 minutes", "unclear"},
	{"MAIL", "451 4.7.1 Greylisting in action", "later"},
	{"RCPT", "452 4.3.1 Insufficient system storage", "later"},
	{"RCPT", "451 4.3.0 <jane.roe@example.com>: Temporary lookup failure", "later"},
	{"RCPT", "554 5.7.1 <jane.roe@example.com>: Recipient address rejected: Access denied", "unclear"},
	{"MAIL", "553 5.7.1 <mail@evently.example>: Sender address rejected: not owned by user mailer", "account"},
	{"MAIL", "552 5.3.4 Message size exceeds fixed limit", "mail"},
	{".", "554 5.7.1 Spam message rejected", "mail"},
	{".", "550 5.7.1 message content rejected", "mail"},
	{".", "554 5.6.0 Reject, id=12345-01 - BAD HEADER", "mail"},
	{".", "554 5.4.6 Error: too many hops", "mail"},
	{"DATA", "554 5.5.1 Error: no valid recipients", "address"},

	// Exim and cPanel
	{"RCPT", "550 relay not permitted", "account"},
	{"RCPT", "550-Please turn on SMTP Authentication in your mail client.\r\n550-worker-1.evently.example [192.0.2.7]:41234 is not permitted to relay through this\r\n550 server without authentication.", "account"},
	{"RCPT", "550-Verification failed for <mail@evently.example>\r\n550-No Such User Here\r\n550 Sender verify failed", "account"},
	{"RCPT", "451 Could not complete sender verify callout", "account"},
	{"RCPT", "550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", "account"},
	{"RCPT", "550 authentication required", "account"},
	{"RCPT", "550 Rejected because 192.0.2.7 is in a black list at zen.spamhaus.org", "account"},
	{"RCPT", "550-\"JunkMail rejected - (worker-1) [192.0.2.7]:41234 is in an RBL: Client host\r\n550 blocked using Spamhaus\"", "account"},
	{".", "550 Domain evently.example has exceeded the max emails per hour (151/150 (100%)) allowed.  Message discarded.", "quota"},
	{"RCPT", "550 Administrative prohibition", "unclear"},
	{"RCPT", "550 Unrouteable address", "address"},
	{"RCPT", "550 No Such User Here", "address"},
	{"RCPT", "550 Unknown user", "address"},
	{"RCPT", "501 <jane.roe@example.com>: recipient address must contain a domain", "unclear"},
	{".", "550 This message contains malware (Eicar-Test-Signature)", "mail"},
	{".", "550 High probability of spam", "mail"},

	// Exchange and Microsoft 365
	{"RCPT", "550 5.7.1 Unable to relay", "account"},
	{"RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "account"},
	{"RCPT", "550 5.7.64 TenantAttribution; Relay Access Denied [AM5EUR02FT029.eop-EUR02.prod.protection.outlook.com]", "account"},
	{"MAIL", "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM", "account"},
	{".", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "account"},
	{".", "554 5.2.252 SendAsDenied; mailer@evently.example not allowed to send as mail@evently.example; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied", "account"},
	{".", "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP. For more information please go to http://go.microsoft.com/fwlink/?LinkId=526653", "account"},
	{".", "550 5.7.501 Service unavailable. Access denied, spam abuse detected", "account"},
	{".", "550 5.7.705 Service unavailable. Access denied, tenant has exceeded threshold.", "account"},
	{".", "550 5.7.509 Access denied, sending domain evently.example does not pass DMARC verification and has a DMARC policy of reject.", "account"},
	{"RCPT", "550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).", "account"},
	{".", "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients.", "quota"},
	{".", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception", "quota"},
	{".", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "rate"},
	{"MAIL", "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.", "rate"},
	{"RCPT", "451 4.7.500 Server busy. Please try again later from [192.0.2.7]. (S77719)", "rate"},
	{"RCPT", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "address"},
	{"RCPT", "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", "address"},
	{"RCPT", "550 5.7.1 User unknown", "address"},
	{"RCPT", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", "unclear"},
	{".", "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required", "mail"},
	{".", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed because the sender was not authenticated when sending to this group", "mail"},
	{".", "550 5.7.124 RESOLVER.RST.NotAuthorizedToGroup; not authorized to send to the distribution list", "mail"},
	{".", "550 5.7.1 Message rejected as spam by Content Filtering.", "mail"},
	{"RCPT", "552 5.2.2 mailbox full", "mail"},
	{".", "550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large for this recipient", "mail"},

	// Gmail
	{"RCPT", "550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n550-5.1.1 double-checking the recipient's email address for typos or\r\n550 5.1.1 unnecessary spaces. For more information, go to https://support.google.com/mail/?p=NoSuchUser - gsmtp", "address"},
	{"RCPT", "550 5.2.1 The email account that you tried to reach is disabled. For more information, go to https://support.google.com/mail/?p=DisabledUser - gsmtp", "address"},
	{"RCPT", "450 4.2.1 The user you are trying to contact is receiving mail too quickly. Please resend your message at a later time. - gsmtp", "later"},
	{"RCPT", "452 4.2.2 The recipient's inbox is out of storage space. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaTemp - gsmtp", "later"},
	{"RCPT", "450 4.2.1 Peak SMTP relay limit exceeded for customer. This is a temporary error. - gsmtp", "rate"},
	{"DATA", "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail sending limits go to https://support.google.com/a/answer/166852 - gsmtp", "quota"},
	{".", "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from\r\n421-4.7.28 your IP address. To protect our users from spam, mail sent from your IP\r\n421 4.7.28 address has been temporarily rate limited. - gsmtp", "rate"},
	{".", "421 4.7.0 Our system has detected an unusual rate of unsolicited mail originating from your IP address. - gsmtp", "rate"},
	{"MAIL", "421 4.7.0 Try again later, closing connection. - gsmtp", "rate"},
	{".", "550-5.7.26 This mail has been blocked because the sender is unauthenticated.\r\n550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.\r\n550 5.7.26 DKIM = did not pass SPF [evently.example] with ip: [192.0.2.7] = did not pass - gsmtp", "account"},
	{".", "550-5.7.1 [192.0.2.7] Our system has detected that this message is likely\r\n550-5.7.1 suspicious due to the very low reputation of the sending IP address. - gsmtp\r\n550 5.7.1 see https://support.google.com/mail/answer/188131", "account"},
	{".", "550-5.7.1 [192.0.2.7] Our system has detected that this message is likely\r\n550-5.7.1 unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been\r\n550 5.7.1 blocked. - gsmtp", "mail"},
	{".", "552-5.7.0 This message was blocked because its content presents a potential security\r\n552 5.7.0 issue. Please visit https://support.google.com/mail/?p=BlockedMessage - gsmtp", "mail"},
	{"RCPT", "550-5.7.1 Invalid credentials for relay [192.0.2.7]. The IP address you've registered in\r\n550 5.7.1 your Workspace SMTP Relay service doesn't match the domain of the account. - gsmtp", "account"},

	// Amazon SES, which judges the mail after it
	{".", "554 Message rejected: Email address is not verified. The following identities failed the check in region EU-WEST-1: mail@evently.example", "account"},
	{".", "554 Message rejected: Sending suspended for this account. For more information, please check the inbox of the email address associated with your AWS account.", "account"},
	{".", "554 Message rejected: Sending paused for this account.", "account"},
	{".", "554 Access denied: User `arn:aws:iam::123456789012:user/mailer' is not authorized to perform `ses:SendRawEmail' on resource `arn:aws:ses:eu-west-1:123456789012:identity/evently.example'", "account"},
	{".", "454 Throttling failure: Maximum sending rate exceeded.", "rate"},
	{".", "454 Throttling failure: Daily message quota exceeded.", "rate"},
	{".", "451 Temporary service failure", "later"},

	// SendGrid, Mailgun, Brevo, Postmark, SparkPost
	{".", "550 The from address does not match a verified Sender Identity. Mail cannot be sent until this error is resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender Identity requirements", "account"},
	{"MAIL", "550 Unauthenticated senders not allowed", "account"},
	{"MAIL", "451 You have exceeded your messaging limits", "rate"},
	{"AUTH", "451 Authentication failed: Maximum credits exceeded", "rate"},
	{"RCPT", "550 5.7.1 Relaying denied", "account"},
	{".", "421 Domain sandbox123.mailgun.org is not allowed to send: Sandbox subdomains are for test purposes only. Please add your own domain or add the address to authorized recipients in Account Settings.", "account"},
	{".", "421 Domain evently.example is not allowed to send: Please activate your Mailgun account.", "account"},
	{"AUTH", "525 5.7.1 Unauthorized IP address", "account"},
	{"MAIL", "502 5.7.0 Your SMTP account is not yet activated. Please contact us", "account"},
	{".", "550 5.7.1 The 'From' address you supplied (mail@evently.example) is not a Sender Signature on your account.", "account"},
	{".", "412 While your account is pending approval, all recipient addresses must share the same domain as the 'From' address.", "account"},
	{".", "406 You tried to send to a recipient that has been marked as inactive.", "later"},
	{"RCPT", "550 5.7.1 relaying denied: unconfigured Sending Domain <evently.example>", "account"},

	// Zoho, OVH, Yandex, mail.ru, Fastmail, iCloud, Yahoo, GMX, QQ, T-Online
	{".", "553 Relaying disallowed as mail@evently.example", "account"},
	{"RCPT", "550 5.4.6 Unusual sending activity detected. Please try after sometime.", "rate"},
	{"MAIL", "554 5.1.8 Email Outgoing Blocked.", "account"},
	{".", "552 5.7.1 virus Eicar-Test-Signature detected by Zoho Mail", "mail"},
	{"RCPT", "550 5.7.1 <mail@evently.example>: Sender address rejected: sender denied", "account"},
	{"RCPT", "553 5.7.1 Sender address rejected: not owned by auth user.", "account"},
	{".", "554 5.7.1 Message rejected under suspicion of SPAM; https://ya.cc/1IrBc", "mail"},
	{"RCPT", "550 5.7.1 Policy rejection on the target address", "mail"},
	{"RCPT", "550 not local sender over smtp", "account"},
	{".", "551 5.7.1 Not authorised to send from this header address", "account"},
	{".", "550 5.7.0 From address is not one of your addresses", "account"},
	{".", "554 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137", "unclear"},
	{".", "554 5.7.1 Your message was rejected due to evently.example's DMARC policy. See https://support.apple.com/en-us/HT204137", "unclear"},
	{"MAIL", "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.7, because the ip is in Spamhaus's list; see http://postmaster.yahoo.com/550-bl23.html", "account"},
	{"MAIL", "421 4.7.0 [TSS04] Messages from 192.0.2.7 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes", "rate"},
	{".", "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes", "account"},
	{".", "554 delivery error: dd This user doesn't have a yahoo.com account (jane.roe@example.com) [0] - mta1234.mail.bf1.yahoo.com", "address"},
	{"RCPT", "550-Requested action not taken: mailbox unavailable\r\n550 Sender address is not allowed.", "account"},
	{".", "554 Transaction failed. Reject due to policy restrictions.", "unclear"},
	{"MAIL", "501 mail from address must be same as authorization user", "account"},
	{"RCPT", "550 Connection frequency limited", "rate"},
	{"CONNECT", "554 IP=192.0.2.7 - A problem occurred. (Ask your postmaster for help or to contact tosa@rx.t-online.de to clarify.)", "account"},

	// qmail, Sendmail, Courier, Lotus
	{"RCPT", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", "account"},
	{"RCPT", "550 sorry, no mailbox here by that name. (#5.1.1 - chkuser)", "address"},
	{"MAIL", "553 5.1.8 <mail@evently.example>... Domain of sender address mail@evently.example does not exist", "account"},
	{"RCPT", "550 5.7.1 <jane.roe@example.com>... Relaying denied. Proper authentication required.", "account"},
	{"RCPT", "550 5.1.1 <jane.roe@example.com>... User unknown", "address"},
	{"RCPT", "550 #5.1.0 Address rejected.", "address"},
	{"RCPT", "511 sorry, no mailbox here by that name (#5.1.1 - chkuser)", "address"},
	{"RCPT", "554 Relay rejected for policy reasons.", "account"},
	{"RCPT", "513 Relaying denied.", "account"},

	// The same words about another subject
	{"RCPT", "550 5.7.1 <jane.roe@example.com>: Recipient address rejected: SPF Permanent Error: Too many DNS lookups", "account"},
	{"RCPT", "550 5.7.0 Blocked by sender policy: Sender [mail@evently.example] does not belong to user", "account"},
	{"RCPT", "553 5.7.2 [TSS09] All messages from 192.0.2.7 will be permanently deferred; Retrying will NOT succeed. See https://postmaster.yahooinc.com/error-codes", "account"},
	{"RCPT", "550 5.1.2 <jane.roe@example.com> Relaying not allowed", "account"},
	{"RCPT", "571 Delivery not authorized, message refused: relaying denied", "account"},
	{"RCPT", "550 5.7.1 Session encryption is required", "account"},
	{"RCPT", "550 High risk domain - evently.example", "account"},
	{"RCPT", "550 Your authorization failed. Please check your credentials", "account"},
	{".", "554 5.7.1 Service unavailable; account blocked for spam, change your password", "account"},
	{".", "550 5.7.1 The user has been blocked from sending because of spam", "account"},
	{".", "554 Message rejected: Identity evently.example is paused by the tenant", "account"},
	{".", "554 Configuration set does not exist", "account"},
	{".", "550 5.7.1 Message rejected: Domain evently.example is disabled", "account"},
	{".", "550 Message cannot be sent: Free accounts are for test purposes only.", "account"},
	{".", "550 5.7.1 Payment required: account past due", "account"},
	{".", "550 Your subscription has expired", "account"},
	{".", "450 You can only send testing emails to your own email address. To send emails to other recipients, please verify a domain", "account"},
	{".", "554 5.7.1 You've reached the maximum of 300 emails", "quota"},
	{".", "450 4.7.1 You have exceeded the number of messages allowed today", "rate"},
	{"RCPT", "550 Sender rate overlimit - 101.2 / 1h", "rate"},
	{"RCPT", "421 4.3.2 Service not available", "rate"},
	{"RCPT", "450 4.7.0 Proxy session setup failed on Frontend with '451 4.4.0 Primary target IP address responded with: \"421 4.4.2 Connection dropped due to TimedOut.\"'", "rate"},
	{"RCPT", "450 4.2.1 <jane.roe@example.com>: Recipient address rejected: this mailbox receives too many messages", "later"},
	{"RCPT", "450 4.2.1 too many messages for this recipient, try again later", "later"},
	{"RCPT", "432 4.2.0 Recipient thread limit exceeded", "later"},
	{"RCPT", "550 5.7.1 The user's mailbox is over its quota", "mail"},
	{".", "554 Message rejected: Address is on the suppression list for your account", "mail"},
	{".", "550 permanent failure for one or more recipients (jane.roe@example.com:blocked)", "mail"},
	{".", "550 5.7.1 This message is not RFC 5322 compliant. - gsmtp", "mail"},
	{"RCPT", "550-The mail server could not deliver mail to jane.roe@example.com.  The account\r\n550-or domain may not exist, they may be blacklisted, or missing the proper dns\r\n550 entries.", "address"},
	{"RCPT", "504 5.5.2 <jane.roe>: Recipient address rejected: need fully-qualified address", "address"},
	{"RCPT", "550 5.7.1 No such account", "address"},
	{"RCPT", "554 5.7.1 Nonexistent user", "address"},

	// Who is named in a reply steers nothing.
	{"RCPT", "550 <relay.blacklist@spf.example>: no such user", "address"},
	{"RCPT", "550 no such user (host relay.sender.example[192.0.2.1])", "address"},
	{"RCPT", "550 rejected", "address"},
	{"RCPT", "550 Access denied", "unclear"},
	{"RCPT", "550 Mailbox unavailable or access denied", "unclear"},
	{"RCPT", "550 5.7.1 quota for sending exceeded", "quota"},
	{"RCPT", "550 quota", "unclear"},
	{"RCPT", "550 The sending account is disabled", "account"},
	{"RCPT", "550 5.7.1 account locked, see support", "account"},
	{"RCPT", "550 5.7.1 TLS connection required", "account"},
	{"RCPT", "550 #5.7.1 Your access to submit messages to this e-mail system has been rejected.", "account"},
	{"RCPT", "550 5.7.1 Delivery not authorized, message refused", "unclear"},
	{"RCPT", "550 5.7.1 You are not authorized to send to this recipient", "mail"},
	{"RCPT", "503 5.5.4 Error: send AUTH command first", "account"},
	{".", "550 5.7.515 Access denied, sending domain evently.example doesn't meet the required authentication level.", "account"},
	{"RCPT", "521 5.3.0 flpd575 DNSBL:RBL 521< 192.0.2.7 >_is_blocked.For assistance forward this error to abuse_rbl@example.net", "account"},
	{".", "554 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.7", "account"},
	{".", "550 Local CT IP Reputation Policy - Rejected", "account"},
	{"RCPT", "552 Requested mailbox exceeds quota.", "mail"},
	{"RCPT", "551 User not local; please try <jane@example.org>", "address"},
	{".", "554 Computer says no", "unclear"},
}

func TestRealReplies(t *testing.T) { eachWay(t, testRealReplies) }

func testRealReplies(t *testing.T, w way) {
	t.Parallel()
	if n := len(realReplies); n < 80 {
		t.Errorf("%d replies, want 80 at least", n)
	}
	for i, tt := range realReplies {
		t.Run(fmt.Sprintf("%d %s %.40s", i, tt.stage, tt.reply), func(t *testing.T) {
			t.Parallel()
			opts := smtptest.Options{Script: at(tt.stage, smtptest.Action{Reply: tt.reply})}
			if tt.stage == "AUTH" {
				opts.Username, opts.Password = "evently", canaryPassword
			}
			cfg := config(smtptest.New(t, w.in(opts)))
			cfg.Username, cfg.Password = opts.Username, opts.Password
			_, err := newSender(t, cfg).Send(t.Context(), message())
			failed := sendError(t, err)
			if got := outcome(failed); got != tt.outcome {
				t.Errorf("%v\nis about %s, want %s", err, got, tt.outcome)
			}
		})
	}
}

// Quoted words of a message must not decide the verdict over it.
func TestQuotedMessageSteersNothing(t *testing.T) {
	t.Parallel()
	m := message()
	m.Subject = "Relay access denied: the concert of your account blacklist"
	server := smtptest.New(t, smtptest.Options{Script: at(".", smtptest.Action{Reply: "554 5.7.1 spam: " + m.Subject})})
	_, err := newSender(t, config(server)).Send(t.Context(), m)
	if got := outcome(sendError(t, err)); got != "mail" {
		t.Errorf("%v is about %s, want mail", err, got)
	}
}

// The same refusal of one recipient after the other is about us, whatever its
// words, until a mail is taken.
func TestSameRefusalOfManyRecipients(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ reply, first, fifth string }{
		{"554 5.0.0 no thanks, id %d", "unclear", "account"},
		{"550 no thanks", "address", "account"},
		{"550 5.1.1 user unknown", "address", "account"},
		{"554 5.7.1 spam", "mail", "account"},
		{"451 4.3.0 queue file write error in A%d", "later", "rate"},
		{"451 4.7.1 greylisted", "later", "later"},
		{"552 5.2.2 mailbox full", "mail", "account"},
	} {
		t.Run(tt.reply, func(t *testing.T) {
			t.Parallel()
			var accept atomic.Bool
			var n atomic.Int64
			server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
				if s.Command != "RCPT" || accept.Load() {
					return smtptest.Action{}
				}
				return smtptest.Action{Reply: strings.Replace(tt.reply, "%d", strconv.FormatInt(n.Add(1), 10), 1)}
			}})
			sender := newSender(t, config(server))
			send := func(to string) string {
				m := message()
				m.To = to
				_, err := sender.Send(t.Context(), m)
				return outcome(sendError(t, err))
			}
			expect := func(to, want string) {
				t.Helper()
				if got := send(to); got != want {
					t.Errorf("%s is refused for %s, want %s", to, got, want)
				}
			}
			for range 6 {
				expect("always@example.com", tt.first) // one recipient says nothing of the others
			}
			for _, name := range []string{"b", "c", "d"} {
				expect(name+"@example.com", tt.first)
			}
			expect("e@example.com", tt.fifth)
			expect("always@example.com", tt.fifth)
			if degraded := sender.Status().Fault != nil; degraded != (tt.fifth != "later") {
				t.Errorf("status %+v", sender.Status())
			}
			accept.Store(true)
			if _, err := sender.Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			accept.Store(false)
			expect("e@example.com", tt.first)
		})
	}
}
