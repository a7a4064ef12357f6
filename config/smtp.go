package config

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/loopback"
)

func (c *Config) smtp(v *variables) {
	c.SMTP = SMTP{
		Host:      v.SMTPHost.text,
		Port:      v.SMTPPort.value,
		Username:  v.SMTPUsername.text,
		Password:  v.SMTPPassword.value,
		TLSMode:   c.tlsMode(v),
		CAFile:    v.SMTPTLSCAFile.text,
		HelloName: v.SMTPHelloName.text,
		MaxConns:  v.SMTPMaxConns.value,
	}
	c.Mail = Mail{
		FromName:       v.FromName.text,
		FromAddress:    v.FromAddress.text,
		ReplyTo:        v.ReplyTo.text,
		SiteURL:        v.SiteURL.text,
		SupportAddress: v.SupportAddr.text,
		LinkHosts:      v.LinkHosts.value,
	}
	c.connections(v)
	v.SMTPTLSMode.derived(c.SMTP.TLSMode, v.SMTPUseTLS.name)
	v.SMTPHost.wantHost("smtp.example.com")
	if v.SMTPHelloName.given() {
		v.SMTPHelloName.wantHost("mail.example.com")
		if !strings.ContainsAny(c.SMTP.HelloName, ".:") {
			c.warn("SMTP_HELLO_NAME", "a name without a dot; many relays refuse it, or count it as a mark of spam")
		}
	}
	for _, host := range v.LinkHosts.value {
		if strings.ContainsAny(host, "/@") {
			v.LinkHosts.refuse(likeHost, "a list of hosts", "write names such as tickets.example.com, with a port unless it is 443")
		}
	}
	TLSFiles{CA: c.SMTP.CAFile}.check(&v.SMTPTLSCAFile.setting, nil, nil)

	login := c.SMTP.Username != "" && c.SMTP.Password.IsSet()
	switch {
	case login && c.SMTP.TLSMode == "none" && !loopback.Is(c.SMTP.Host):
		v.SMTPTLSMode.mistake("none would send the password in clear",
			"write starttls or implicit, or leave SMTP_USERNAME and SMTP_PASSWORD unset")
	case c.SMTP.Username != "" && !login:
		c.warn("SMTP_USERNAME", "there is no login, because SMTP_PASSWORD is not set")
	case c.SMTP.Password.IsSet() && !login:
		c.warn("SMTP_PASSWORD", "there is no login, because SMTP_USERNAME is not set")
	}
	switch {
	case c.SMTP.Port == 587 && c.SMTP.TLSMode == "implicit":
		c.warn("SMTP_PORT", "587 is the port of STARTTLS, but the mode is implicit TLS; SMTP_USE_TLS=true selects STARTTLS")
	case c.SMTP.Port == 465 && c.SMTP.TLSMode == "starttls":
		c.warn("SMTP_PORT", "465 is the port of implicit TLS, but the mode is STARTTLS; SMTP_TLS_MODE=implicit selects implicit TLS")
	case c.SMTP.TLSMode == "none" && !loopback.Is(c.SMTP.Host):
		c.warn("SMTP_TLS_MODE", "none: mails, one-time codes among them, cross the network in clear")
	}
}

// connections relates the number of connections to that of tasks: a mail that is taken
// from its queue can be sent at once, and does not wait for a connection.
func (c *Config) connections(v *variables) {
	if !v.SMTPMaxConns.given() {
		c.SMTP.MaxConns = c.Worker.Concurrency
		v.SMTPMaxConns.inForce(strconv.Itoa(c.SMTP.MaxConns), v.Concurrency.name)
		return
	}
	most := c.SMTP.MaxConns
	c.Worker.MaxConcurrency = most
	if c.Worker.Concurrency <= most {
		return
	}
	wanted, scale := &v.Concurrency.setting, &c.Worker.Autoscale
	text := strconv.Itoa(most)
	if v.Autoscale.given() {
		wanted = &v.Autoscale.setting
		scale.Max, scale.Min = most, min(scale.Min, most)
		text = fmt.Sprintf("%d,%d", scale.Max, scale.Min)
	}
	c.Worker.Concurrency = most
	v.Concurrency.inForce(strconv.Itoa(most), v.SMTPMaxConns.name)
	wanted.inForce(text, v.SMTPMaxConns.name)
	if wanted.given() {
		c.warn(wanted.name, fmt.Sprintf("at most %d tasks run at once, one for each connection of SMTP_MAX_CONNS: more would only wait", most))
	}
}

// tlsMode keeps what SMTP_USE_TLS has always meant, and says so where that is
// surprising.
func (c *Config) tlsMode(v *variables) string {
	use := strings.ToLower(v.SMTPUseTLS.text)
	switch {
	case v.SMTPTLSMode.given():
		return v.SMTPTLSMode.text
	case use == "true":
		return "starttls"
	case use == "1" || use == "yes" || use == "on":
		c.warn("SMTP_USE_TLS", "only the word true selects STARTTLS; this selects implicit TLS")
	case use != "false" && use != "0" && use != "no" && use != "off":
		c.warn("SMTP_USE_TLS", v.SMTPUseTLS.quoted(likeWord)+" selects implicit TLS, as any word but true does; write true, false or SMTP_TLS_MODE")
	}
	return "implicit"
}

func (t *text) wantHost(example string) {
	if t.text == "" || strings.ContainsAny(t.text, "/@ \"'") || strings.Contains(t.text, ":") && net.ParseIP(t.text) == nil {
		t.refuse(likeHost, "the name of a host", "write a name alone, such as "+example)
	}
}
