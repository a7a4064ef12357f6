package verdict

import (
	"strings"
	"testing"
)

// The codes of real servers do not always mean what RFC 3463 says.
func TestClassify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code   int
		status string
		text   string
		want   Class
	}{
		{550, "5.1.1", "User unknown", BadAddress},
		{550, "5.1.1", "", BadAddress},
		{550, "5.1.1", "<ada@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] said: 550 5.7.1 Service unavailable; client host blocked using Spamhaus (in reply to RCPT TO command)", Reputation},
		{550, "5.1.1", "<ada@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)", Transient},
		{550, "5.1.1", "<ada@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] said: 554 5.7.1 Message rejected due to local policy (in reply to RCPT TO command)", Policy},
		{550, "5.1.1", "<ada@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command)", BadAddress},
		{550, "5.1.1", "undeliverable address: host mx.example.com said: 550-no (in reply to RCPT TO command)", BadAddress},
		{550, "5.1.3", "bad address syntax", BadAddress},
		{550, "5.1.6", "Recipient has moved", BadAddress},
		{550, "5.2.1", "Mailbox disabled for this recipient", BadAddress},
		{550, "5.7.1", "<ada@example.com>... User unknown", BadAddress},
		{550, "", "No such user here", BadAddress},
		{550, "", "Recipient address rejected: Utilisateur inconnu", BadAddress},
		{550, "5.5.0", "unknown user", BadAddress},
		{554, "5.0.0", "delivery error: dd This user doesn't have a mail.example account", BadAddress},
		{550, "5.4.1", "[ada@example.com]: Recipient address rejected: Access denied. AS(201806281)", BadAddress},
		{554, "5.7.1", "<ada@example.com>: Recipient address rejected: Access denied", Policy},
		{550, "5.1.10", "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", BadAddress},
		{556, "5.1.10", "Recipient address has null MX", BadDomain},
		{551, "", "User not local", BadAddress},
		{521, "5.3.2", "<ada@example.com>: this host takes no mail", BadDomain},
		{521, "5.3.0", "DNSBL:RBL 521< 192.0.2.7 >_is_blocked", Reputation},
		{550, "5.1.2", "Host unknown", BadDomain},
		{0, "5.4.4", "", BadDomain},
		{0, "5.4.4", "Sorry, I couldn't find a mail exchanger or IP address.", BadDomain},
		{550, "5.2.2", "over quota", MailboxFull},
		{452, "4.2.2", "over quota", MailboxFull},
		{552, "5.1.1", "sorry, mailbox is over quota", MailboxFull},
		{552, "", "", MailboxFull},
		{452, "4.3.1", "Insufficient system storage", Transient},
		{552, "5.3.4", "Message size exceeds fixed limit", TooBig},
		{550, "5.2.3", "RESOLVER.RST.RecipSizeLimit; message too large for this recipient", TooBig},
		{550, "5.1.1", "your IP address 192.0.2.7 is on our blacklist", Reputation},
		{550, "5.1.1", "rejected by policy", Policy},
		{553, "5.1.3", "https://www.spamhaus.org/query/bl?ip=192.0.2.7", Reputation},
		{550, "5.1.1", "192.0.2.7 has sent to too many recipients this hour", Transient},
		{550, "5.2.1", "The user you are trying to contact is receiving mail at a rate that prevents additional messages", Transient},
		{450, "4.1.1", "User unknown in virtual alias table", Transient},
		{550, "5.7.1", "Greylisted, please try again in 5 minutes", Transient},
		{451, "4.7.1", "Greylisting in action", Transient},
		{550, "4.4.7", "QUEUE.Expired; message expired", Transient},
		{554, "4.0.0", "Blocked - see https://ipcheck.proofpoint.example/?ip=192.0.2.7", Reputation},
		{550, "5.7.1", "Client host rejected: Host not found", Reputation},
		{550, "5.1.8", "Sender address rejected: Domain not found", Sender},
		{550, "", "Sender verify failed: no such user", Sender},
		{550, "5.7.26", "Unauthenticated email from evently.example is not accepted", Auth},
		{550, "5.7.515", "Access denied, sending domain evently.example doesn't meet the required authentication level.", Auth},
		{550, "5.7.1", "message contains a virus", Content},
		{554, "5.6.0", "", Content},
		{550, "5.7.1", "", Policy},
		{554, "", "This message looks like spam", Policy},
		{554, "5.7.1", "Relay access denied", Policy},
		{500, "5.5.1", "command not recognized", Protocol},
		{502, "", "", Protocol},
		{550, "5.1.1", "Amazon SES did not send the message to this address because it is on the suppression list for your account.", BadAddress},
		{550, "", "Rejected", Unknown},
		{550, "5.5.0", "Requested action not taken", Unknown},
		{0, "", "", Unknown},
	} {
		if got := Classify(c.code, c.status, c.text); got != c.want {
			t.Errorf("%d %s %s is %s, want %s", c.code, c.status, c.text, got, c.want)
		}
	}
}

// Each line of texts.txt has the form that normalize gives to texts, so that it can occur.
func TestTextsAreNormalized(t *testing.T) {
	t.Parallel()
	all := texts()
	if len(all) < 300 {
		t.Errorf("%d texts", len(all))
	}
	seen := map[string]bool{}
	for _, line := range all {
		words := strings.TrimSpace(line.words)
		if got := strings.TrimSpace(normalize(strings.ReplaceAll(words, "@", "a@example.com"))); got != words {
			t.Errorf("%q occurs as %q only", words, got)
		}
		if key := line.codes + " " + words; seen[key] {
			t.Errorf("%q is there twice", words)
		} else {
			seen[key] = true
		}
		switch line.class {
		case BadAddress, BadDomain, MailboxFull, TooBig, Content, Policy, Reputation, Auth, Sender, Protocol, Transient:
		default:
			t.Errorf("%q has the class %q", words, line.class)
		}
	}
	for line := range strings.SplitSeq(textsFile, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") && strings.Count(line, "\t") != 2 {
			t.Errorf("line %q has not three fields", line)
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	if got, want := Clean("550\r\n ada@example.com\x1b[31m \u202eok", 100), "550 ***@example.com [31m ok"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Clean(strings.Repeat("ä", 50), 10); got != strings.Repeat("ä", 9)+"…" {
		t.Errorf("%q is not cut", got)
	}
}
