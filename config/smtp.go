package config

import (
	"cmp"
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
		TokenFile: v.SMTPTokenFile.text,
		CAFile:    v.SMTPTLSCAFile.text,
		HelloName: v.SMTPHelloName.text,
		MaxConns:  v.SMTPMaxConns.value,

		NoPipelining: !v.SMTPPipelining.value,
		NoChunking:   !v.SMTPChunking.value,
	}
	c.Mail = Mail{
		FromName:       v.FromName.text,
		FromAddress:    v.FromAddress.text,
		ReplyTo:        v.ReplyTo.text,
		SiteURL:        v.SiteURL.text,
		SupportAddress: v.SupportAddr.text,
		LinkHosts:      v.LinkHosts.value,
	}
	c.templates(v)
	c.dkim(v)
	c.bounces(v)
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
	if v.SMTPURLs.given() {
		c.relays(v)
	} else {
		c.relay(v)
	}
	c.connections(v)
}

// bounces reads the domain for bounces and its keys.
func (c *Config) bounces(v *variables) {
	if !v.BounceDomain.given() {
		if v.BounceKey.given() {
			c.warn(v.BounceKey.name, "is not used, because BOUNCE_DOMAIN is not set")
		}
		return
	}
	c.Mail.BounceDomain = v.BounceDomain.text
	c.warn(v.BounceDomain.name, "many relays refuse senders of a domain other than that of the login, and some replace them; look at a first mail")
	if !v.BounceKey.given() {
		v.BounceKey.mistake("it is needed, because BOUNCE_DOMAIN is set", rightKey)
		return
	}
	c.Mail.BounceKeys = v.BounceKey.keys(rightKey)
}

// dkim relates keys to selectors. Package mail checks the rest.
func (c *Config) dkim(v *variables) {
	c.Mail.DKIM = DKIM{KeyFiles: v.DKIMKeyFile.value, Selectors: v.DKIMSelector.value, Domain: v.DKIMDomain.text}
	switch files, selectors := len(v.DKIMKeyFile.value), len(v.DKIMSelector.value); {
	case files == 0 && (selectors > 0 || v.DKIMDomain.given()):
		c.warn("DKIM_KEY_FILE", "is not set: mails are not signed here, and DKIM_SELECTOR and DKIM_DOMAIN mean nothing")
		c.Mail.DKIM = DKIM{}
	case files != selectors:
		v.DKIMSelector.mistake(fmt.Sprintf("it has %d names for %d files in DKIM_KEY_FILE", selectors, files), "write one selector for each file")
		c.Mail.DKIM = DKIM{}
	}
}

// relay checks the relay of the variables for one.
func (c *Config) relay(v *variables) {
	c.SMTP.TLSMode = c.tlsMode(v)
	c.Relays = []SMTP{c.SMTP}
	v.SMTPTLSMode.derived(c.SMTP.TLSMode, v.SMTPUseTLS.name)
	v.SMTPHost.wantHost("smtp.example.com")
	login := c.SMTP.Username != "" && (c.SMTP.Password.IsSet() || c.SMTP.TokenFile != "")
	switch {
	case c.SMTP.Password.IsSet() && c.SMTP.TokenFile != "":
		v.SMTPTokenFile.mistake("SMTP_PASSWORD is set as well", "set one of them: the relay takes a token or a password")
	case c.SMTP.TokenFile != "" && !login:
		v.SMTPTokenFile.mistake("SMTP_USERNAME is not set", "set SMTP_USERNAME to the user that the token is for")
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

// relays checks the relays of SMTP_URLS. The variables for all relays apply where a URL does
// not say otherwise.
func (c *Config) relays(v *variables) {
	for _, other := range []*setting{
		&v.SMTPHost.setting, &v.SMTPPort.setting, &v.SMTPUsername.setting, &v.SMTPPassword.setting, &v.SMTPTokenFile.setting,
		&v.SMTPUseTLS.setting, &v.SMTPTLSMode.setting,
	} {
		if other.given() {
			c.warn(other.name, "is not used, because SMTP_URLS is set")
		}
	}
	seen := make(map[string]int)
	for i, u := range v.SMTPURLs.value {
		s := SMTP{
			URL: v.SMTPURLs.at[i], Host: u.Host, Port: u.Port, Username: u.User, Password: NewSecret(u.Password), TokenFile: u.TokenFile,
			TLSMode: u.TLSMode, CAFile: cmp.Or(u.CAFile, c.SMTP.CAFile), HelloName: cmp.Or(u.HelloName, c.SMTP.HelloName),
			MaxConns:     cmp.Or(u.MaxConns, c.SMTP.MaxConns),
			NoPipelining: c.SMTP.NoPipelining, NoChunking: c.SMTP.NoChunking,
		}
		c.Relays = append(c.Relays, s)
		name := fmt.Sprintf("URL %d: ", s.URL)
		mistake := func(wrong, right string) { v.SMTPURLs.mistake(name+wrong, right) }
		warn := func(text string) { c.warn(v.SMTPURLs.name, name+text) }
		key := strings.ToLower(fmt.Sprint(s.Host, " ", s.Port, " ", s.Username))
		if first := seen[key]; first > 0 {
			mistake(fmt.Sprintf("it names the same relay as URL %d", first), "name each relay once")
		}
		seen[key] = s.URL
		switch away := !loopback.Is(s.Host); {
		case away && s.TLSMode == "none" && s.Username != "":
			mistake("smtp+plain would send the password in clear", "write smtp or smtps, or leave user and password out")
		case away && s.TLSMode == "none":
			warn("smtp+plain: mails, one-time codes among them, cross the network in clear")
		case s.Port == 587 && s.TLSMode == "implicit":
			warn("587 is the port of STARTTLS, but smtps is implicit TLS; smtp:// selects STARTTLS")
		case s.Port == 465 && s.TLSMode == "starttls":
			warn("465 is the port of implicit TLS, but smtp is STARTTLS; smtps:// selects implicit TLS")
		}
	}
	if len(c.Relays) > 0 {
		c.SMTP = c.Relays[0]
		c.relayInForce(v)
	}
}

// relayInForce shows in the report what the first URL says.
func (c *Config) relayInForce(v *variables) {
	from := v.SMTPURLs.name
	v.SMTPHost.inForce(c.SMTP.Host, from)
	v.SMTPPort.inForce(strconv.Itoa(c.SMTP.Port), from)
	v.SMTPUsername.inForce(c.SMTP.Username, from)
	v.SMTPPassword.inForce(c.SMTP.Password.String(), from)
	v.SMTPTokenFile.inForce(c.SMTP.TokenFile, from)
	v.SMTPTLSMode.inForce(c.SMTP.TLSMode, from)
}

// connections relates the number of connections to that of tasks: a mail that is taken
// from its queue can be sent at once, and does not wait for a connection.
func (c *Config) connections(v *variables) {
	if c.SMTP.MaxConns == 0 {
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
	from := v.SMTPMaxConns.name
	if most != v.SMTPMaxConns.value {
		from = v.SMTPURLs.name
		v.SMTPMaxConns.inForce(strconv.Itoa(most), from)
	}
	v.Concurrency.inForce(strconv.Itoa(most), from)
	wanted.inForce(text, from)
	if wanted.given() {
		c.warn(wanted.name, fmt.Sprintf("at most %d tasks run at once, one for each connection of %s: more would only wait", most, from))
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

// templates reads how the mails look. Package templates checks the rest.
func (c *Config) templates(v *variables) {
	c.Templates = Templates{
		Dir:    v.TemplatesDir.text,
		Locale: v.DefaultLocale.text,
		Brand: Brand{
			Name: v.BrandName.text, Color: colour(v.BrandColor.text), LinkColor: colour(v.BrandLinkColor.text),
			ButtonTextColor: colour(v.BrandButtonText.text), Logo: v.BrandLogo.text, Address: v.BrandAddress.text,
		},
	}
	width, height, ok := strings.Cut(v.BrandLogoSize.text, "x")
	b := &c.Templates.Brand
	var errs [2]error
	b.LogoWidth, errs[0] = strconv.Atoi(strings.TrimSpace(width))
	b.LogoHeight, errs[1] = strconv.Atoi(strings.TrimSpace(height))
	if !ok || errs[0] != nil || errs[1] != nil {
		v.BrandLogoSize.mistake(strconv.Quote(v.BrandLogoSize.text)+" is no size", "write the width and the height in pixels, such as 120x30")
	}
}

// colour returns a colour with its hash, which files of variables take for a comment.
func colour(s string) string {
	if len(s) == 6 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == "" {
		return "#" + s
	}
	return s
}
