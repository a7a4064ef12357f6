package mail_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/mail/smtptest"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	var answer atomic.Value // of the RCPT
	answer.Store(smtptest.Action{})
	server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "RCPT" {
			return answer.Load().(smtptest.Action)
		}
		return smtptest.Action{}
	}})
	sender := newSender(t, config(server))
	if got := sender.Status(); got != (mail.Status{}) {
		t.Errorf("before the first mail: %+v", got)
	}
	send := func(ctx context.Context, a smtptest.Action) mail.Status {
		answer.Store(a)
		_, _ = sender.Send(ctx, message())
		return sender.Status()
	}
	begin := time.Now()
	ok := send(t.Context(), smtptest.Action{})
	if ok.Accepted.Before(begin) || ok.Fault != nil {
		t.Errorf("after a mail: %+v", ok)
	}
	down := send(t.Context(), smtptest.Action{Reply: "421 4.3.2 going down, " + recipient})
	if down.Fault == nil || down.Since.Before(ok.Accepted) || down.Tried != down.Since || down.Accepted != ok.Accepted {
		t.Errorf("after a 421: %+v", down)
	}
	if got := down.Fault.Summary(); got != "421 4.3.2 at RCPT" {
		t.Errorf("summary %q", got)
	}
	still := send(t.Context(), smtptest.Action{Then: smtptest.Close})
	if still.Fault.Summary() != "no answer at RCPT" || still.Since != down.Since || !still.Tried.After(down.Tried) {
		t.Errorf("after two faults: %+v", still)
	}
	// Our own haste is no fault of the server, nor any news.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if got := send(cancelled, smtptest.Action{}); got != still {
		t.Errorf("after a mail that was not sent: %+v", got)
	}
	// A server that refuses one mail works.
	if got := send(t.Context(), smtptest.Action{Reply: "550 5.1.1 no such user"}); got.Fault != nil || got.Accepted != ok.Accepted {
		t.Errorf("after a refused mail: %+v", got)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*mail.SendError{
		"no answer at DIAL":         {Command: "DIAL"},
		"535 5.7.8 at AUTH":         {Command: "AUTH", Code: 535, EnhancedCode: [3]int{5, 7, 8}, Text: "secret"},
		"450 at end of data":        {Command: ".", Code: 450, Text: "words"},
		"no answer at end of data":  {Command: "."},
		"552 5.3.4 at MAIL":         {Command: "MAIL", Code: 552, EnhancedCode: [3]int{5, 3, 4}},
		"421 4.3.2 at GREETING":     {Command: "GREETING", Code: 421, EnhancedCode: [3]int{4, 3, 2}},
		"554 5.6.0 at end of data":  {Command: ".", Code: 554, EnhancedCode: [3]int{5, 6, 0}},
		"no answer at STARTTLS":     {Command: "STARTTLS"},
		"454 4.7.0 at AUTH":         {Command: "AUTH", Code: 454, EnhancedCode: [3]int{4, 7, 0}},
		"no answer at TLS":          {Command: "TLS"},
		"no answer at BODY":         {Command: "BODY"},
		"550 5.1.10 at end of data": {Command: ".", Code: 550, EnhancedCode: [3]int{5, 1, 10}},
	} {
		if got := e.Summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*mail.SendError{
		"553 5.7.1 at RCPT: Sender address rejected":           {Command: "RCPT", Code: 553, EnhancedCode: [3]int{5, 7, 1}, Text: "Sender address rejected", Recipients: 1},
		"550 at RCPT: no (the same for 5 recipients in a row)": {Command: "RCPT", Code: 550, Text: "no", Recipients: 5},
		"450 at end of data":                                   {Command: ".", Code: 450},
		"no answer at DIAL: connection refused":                {Command: "DIAL", Err: errors.New("connection\r\nrefused")},
		"certificate not trusted at TLS: tls: failed to verify certificate: x509: certificate signed by unknown authority": {
			Command: "TLS", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		},
	} {
		if got := e.Explain(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A refusal of us stands until a mail is taken: another refusal may have come first.
func TestStatusOfRefusedAccount(t *testing.T) {
	t.Parallel()
	var reply atomic.Value
	reply.Store("554 5.7.1 Relay access denied")
	server := smtptest.New(t, smtptest.Options{Script: func(s smtptest.Step) smtptest.Action {
		if s.Command == "RCPT" {
			return smtptest.Action{Reply: reply.Load().(string)}
		}
		return smtptest.Action{}
	}})
	sender := newSender(t, config(server))
	for _, text := range []string{"554 5.7.1 Relay access denied", "550 5.1.1 user unknown"} {
		reply.Store(text)
		_, _ = sender.Send(t.Context(), message())
		if fault := sender.Status().Fault; fault == nil || fault.Explain() != "554 5.7.1 at RCPT: Relay access denied" {
			t.Errorf("after %q: %v", text, fault)
		}
	}
	reply.Store("")
	if _, err := sender.Send(t.Context(), message()); err != nil || sender.Status().Fault != nil {
		t.Errorf("after a mail that was taken: %v, %+v", err, sender.Status())
	}
}
