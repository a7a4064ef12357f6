package config

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"

	"github.com/evently/workers/internal/connurl"
	"github.com/evently/workers/internal/tlsfiles"
)

func (c *Config) database(v *variables) {
	c.Database = Database{
		Host:     v.DBHost.text,
		Port:     v.DBPort.value,
		Name:     v.DBName.text,
		User:     v.DBUser.text,
		Password: v.DBPassword.value,
		SSLMode:  v.DBSSLMode.text,
	}
	c.checkDBHost(v)
	if !v.DatabaseURL.given() {
		return
	}
	for _, other := range []*setting{&v.DBHost.setting, &v.DBPort.setting, &v.DBName.setting, &v.DBUser.setting, &v.DBPassword.setting} {
		if other.given() {
			c.warn(other.name, "is not used, because DATABASE_URL is set")
		}
	}
	p, err := connurl.ParsePostgres(v.DatabaseURL.value.Reveal())
	if err != nil {
		v.DatabaseURL.fault(err)
		return
	}
	for _, note := range p.Notes {
		c.warn(v.DatabaseURL.name, note)
	}
	switch {
	case p.SSLMode() == "":
		p.Params["sslmode"] = c.Database.SSLMode
	case v.DBSSLMode.given():
		c.warn("DB_SSLMODE", "is not used, because DATABASE_URL has an sslmode")
	}
	c.warnOfFiles(v.DatabaseURL.name, p.Params)
	c.Database.URL = NewSecret(p.URL())
	c.databaseInForce(v, p)
}

// databaseInForce shows in the report what the URL says.
func (c *Config) databaseInForce(v *variables, p *connurl.Postgres) {
	from := v.DatabaseURL.name
	v.DBHost.inForce(p.HostNames(), from)
	v.DBPort.inForce(p.Ports(v.DBPort.def), from)
	v.DBName.inForce(p.Database, from)
	v.DBUser.inForce(p.User, from)
	v.DBPassword.inForce(NewSecret(p.Password).String(), from)
	if mode := p.SSLMode(); mode != v.DBSSLMode.text {
		v.DBSSLMode.inForce(mode, from)
	}
}

// warnOfFiles looks at the files that a connection string names: the driver
// misses them at the first connection only. They may still come.
func (c *Config) warnOfFiles(variable string, params map[string]string) {
	if slices.Contains([]string{"disable", "allow"}, params["sslmode"]) || params["sslinline"] != "" {
		return
	}
	if ca := params["sslrootcert"]; ca != "" && ca != "system" {
		if _, err := tlsfiles.ReadCA(ca); err != nil {
			c.warn(variable, "no connection is possible, because of its sslrootcert: "+err.Error())
		}
	}
	if cert, key := params["sslcert"], params["sslkey"]; cert != "" && key != "" {
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			c.warn(variable, "no connection is possible, because of its sslcert or sslkey: "+tlsfiles.Fault(cert, err))
		}
	}
}

// checkDBHost looks at DB_HOST alone. A list with commas is fine, and so is the
// folder of a socket.
func (c *Config) checkDBHost(v *variables) {
	const right = "write a name or an address, such as db or 10.0.0.5, several with commas between them, or the folder of a socket"
	if strings.LastIndex(c.Database.Host, "@") > 0 {
		v.DBHost.mistake("it is not the name of a host", right)
	}
	for host := range strings.SplitSeq(c.Database.Host, ",") {
		switch {
		case strings.Contains(host, "://"):
			v.DBHost.mistake("it is a URL", "put URLs into DATABASE_URL, and the name of the host here")
		case strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@"):
		case strings.ContainsAny(host, "/ ?#\"'"):
			v.DBHost.mistake("it is not the name of a host", right)
		default:
			if h, p, err := net.SplitHostPort(host); err == nil && h != "" && p != "" {
				v.DBHost.mistake("it has a port", "write the port into DB_PORT, or hosts with ports of their own into DATABASE_URL as postgres://user:password@a:5432,b:5433/name")
			}
		}
	}
}
