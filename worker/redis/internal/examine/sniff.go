package examine

import (
	"context"
	"net"
	"strings"
	"time"
)

// sniffWait bounds the wait for what another server says of itself.
const sniffWait = time.Second

// Foreign tells what a server without the protocol of Redis is, by its greeting or by its answer
// to a question of HTTP. It is empty if that tells nothing.
func Foreign(ctx context.Context, network, address string) string {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(ctx, 2*sniffWait)
	defer cancel()
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return ""
	}
	defer c.Close()
	for _, say := range []string{"", "GET / HTTP/1.0\r\n\r\n"} {
		if c.SetDeadline(time.Now().Add(sniffWait)) != nil {
			return ""
		}
		if _, err := c.Write([]byte(say)); err != nil {
			return ""
		}
		buf := make([]byte, 64)
		n, _ := c.Read(buf)
		if n > 0 {
			return nameForeign(string(buf[:n]))
		}
	}
	return ""
}

// nameForeign returns what a server is by the first octets that it sends.
func nameForeign(text string) string {
	for _, known := range []struct{ begin, name string }{
		{"HTTP/", "a web server"}, {"220", "a mail server"}, {"SSH-", "an SSH server"}, {"AMQP", "an AMQP broker"}, {"\x15\x03", "a server for TLS alone"},
	} {
		if strings.HasPrefix(text, known.begin) {
			return known.name
		}
	}
	return ""
}
