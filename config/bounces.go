package config

import (
	"net"
	"strconv"
	"strings"
)

// Bounces is where a worker takes bounces in.
type Bounces struct {
	Network, Address string // "tcp" or "unix", and what to listen on; "": no mail server
	LMTP             bool   // instead of SMTP
	CertFile         string // for STARTTLS; "": it is not offered
	KeyFile          string

	WebhookAddr string   // "": no webhooks
	WebhookKeys []Secret // the one in use first
}

// BounceListenForm tells how BOUNCE_LISTEN is written.
const BounceListenForm = "write host:port or smtp://host:port for SMTP, lmtp://host:port or lmtp+unix:///path for LMTP, or off"

// mailListen is where a mail server listens, and its protocol.
type mailListen struct {
	setting
	network, address string
	lmtp             bool
}

func (l *mailListen) Decode(value string) error {
	l.network, l.address, l.lmtp = "", "", false
	if !l.take(value) {
		return nil
	}
	if strings.EqualFold(l.text, "off") {
		l.text = "off"
		return nil
	}
	if path, ok := strings.CutPrefix(l.text, "lmtp+unix://"); ok {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#") || len(path) > 100 {
			l.mistake("it is not the path of a socket", BounceListenForm)
			return nil
		}
		l.network, l.address, l.lmtp = "unix", path, true
		return nil
	}
	address := l.text
	if rest, ok := strings.CutPrefix(address, "lmtp://"); ok {
		address, l.lmtp = rest, true
	} else {
		address = strings.TrimPrefix(address, "smtp://")
	}
	host, port, err := net.SplitHostPort(address)
	_, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || strings.ContainsAny(host, "/ @") {
		l.refuse(likeListener, "an address to listen on", BounceListenForm)
		return nil
	}
	l.network, l.address = "tcp", address
	return nil
}

func (l *mailListen) kind() string { return "address or off" }

// intake reads where bounces are taken in.
func (c *Config) intake(v *variables) {
	b := Bounces{
		Network: v.BounceListen.network, Address: v.BounceListen.address, LMTP: v.BounceListen.lmtp,
		CertFile: v.BounceCertFile.text, KeyFile: v.BounceKeyFile.text, WebhookAddr: v.WebhookAddr.value(),
	}
	if v.WebhookKey.given() && v.WebhookKey.value.IsSet() {
		b.WebhookKeys = v.WebhookKey.keys(rightKey)
	}
	c.Bounces = b
	if b.Address != "" && c.Mail.BounceDomain == "" {
		v.BounceListen.mistake("it needs BOUNCE_DOMAIN, the domain of the addresses that it takes mails for", "set BOUNCE_DOMAIN and BOUNCE_KEY, or BOUNCE_LISTEN=off")
	}
	if b.WebhookAddr != "" && len(b.WebhookKeys) == 0 {
		v.WebhookKey.mistake("it is needed, because WEBHOOK_ADDR is set", rightKey)
	}
	for _, s := range []*setting{&v.BounceListen.setting, &v.WebhookAddr.setting} {
		if on := s.text != "" && s.text != "off"; on && c.Ledger.Off {
			s.mistake("it needs the history of mails, and LEDGER_DATABASE_URL is off", "set LEDGER_DATABASE_URL, or "+s.name+"=off")
		}
	}
	if (b.CertFile == "") != (b.KeyFile == "") {
		one, other := &v.BounceCertFile, &v.BounceKeyFile
		if b.CertFile != "" {
			one, other = other, one
		}
		one.mistake("it is needed, because "+other.name+" is set", "set both or none")
	}
	if b.CertFile != "" && b.Address == "" {
		c.warn(v.BounceCertFile.name, "is not used, because BOUNCE_LISTEN is off")
	}
	for _, other := range []*listen{&v.HealthAddr, &v.MonitorAddr, &v.MetricsAddr} {
		if a := b.WebhookAddr; a != "" && a == other.value() {
			v.WebhookAddr.mistake("it is the same as "+other.name, "write two different addresses")
		}
	}
	if b.WebhookAddr != "" && b.WebhookAddr == b.Address {
		v.WebhookAddr.mistake("it is the same as BOUNCE_LISTEN", "write two different addresses")
	}
}
