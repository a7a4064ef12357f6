package smtptest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"time"
)

// dialogue is one connection of the server.
type dialogue struct {
	server *Server
	raw    net.Conn
	conn   net.Conn // raw, or TLS over it
	in     *bufio.Reader
	out    []byte // not written yet
	number int

	encrypted bool
	hello     string
	login     string
	mail      *Mail // open transaction
	accepted  int
}

func (d *dialogue) run() {
	d.conn, d.in = d.raw, bufio.NewReader(d.raw)
	if d.server.opts.ImplicitTLS && !d.encrypt() {
		return
	}
	if !d.answer("CONNECT", "", "220 smtptest ESMTP") {
		return
	}
	for {
		line, err := d.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		noted := line
		if verb == "AUTH" {
			noted = strings.Join(strings.Fields(line)[:min(2, len(strings.Fields(line)))], " ")
		}
		d.server.note(func() { d.server.commands = append(d.server.commands, noted) })
		if !d.command(verb, line) {
			return
		}
	}
}

// command answers one command. It returns false to close the connection.
func (d *dialogue) command(verb, line string) bool {
	switch verb {
	case "EHLO", "HELO":
		d.mail = nil
		_, d.hello, _ = strings.Cut(line, " ")
		return d.answer(verb, line, d.extensions())
	case "STARTTLS":
		if !d.server.opts.STARTTLS || d.encrypted {
			return d.answer(verb, line, "502 5.5.1 not offered")
		}
		return d.answer(verb, line, "220 2.0.0 go ahead") && d.encrypt()
	case "AUTH":
		return d.auth(line)
	case "MAIL":
		return d.mailFrom(line)
	case "RCPT":
		if d.mail == nil || d.mail.To != "" {
			return d.answer(verb, line, "503 5.5.1 bad sequence")
		}
		return d.answerIf(verb, line, "250 2.1.5 ok", func() { d.mail.To, d.mail.RcptParams = path(line) })
	case "DATA":
		if d.mail == nil || d.mail.To == "" {
			return d.answer(verb, line, "503 5.5.1 bad sequence")
		}
		return d.data(line)
	case "BDAT":
		return d.chunk(line)
	case "RSET":
		d.mail = nil
		return d.answer(verb, line, "250 2.0.0 ok")
	case "NOOP":
		return d.answer(verb, line, "250 2.0.0 ok")
	case "QUIT":
		d.answer(verb, line, "221 2.0.0 bye")
		return false
	}
	return d.answer(verb, line, "500 5.5.1 unknown command")
}

func (d *dialogue) extensions() string {
	opts := &d.server.opts
	lines := append([]string{"smtptest"}, opts.Extensions...)
	if opts.STARTTLS && !d.encrypted {
		lines = append(lines, "STARTTLS")
	}
	if opts.Username != "" && (d.encrypted || !opts.STARTTLS) {
		mechanisms := opts.Mechanisms
		if mechanisms == nil {
			mechanisms = []string{"PLAIN", "LOGIN"}
		}
		lines = append(lines, "AUTH "+strings.Join(mechanisms, " "))
	}
	for i := range lines {
		separator := "-"
		if i == len(lines)-1 {
			separator = " "
		}
		lines[i] = "250" + separator + lines[i]
	}
	return strings.Join(lines, "\r\n")
}

// encrypt runs the TLS handshake.
func (d *dialogue) encrypt() bool {
	if !d.answer("TLS", "", "") {
		return false
	}
	conn := tls.Server(d.raw, d.server.tls)
	if err := conn.Handshake(); err != nil {
		return false
	}
	d.conn, d.in, d.encrypted = conn, bufio.NewReader(conn), true
	d.server.note(func() { d.server.open[d.raw] = conn })
	return true
}

func (d *dialogue) auth(line string) bool {
	opts := &d.server.opts
	fields := strings.Fields(line)
	if opts.Username == "" || len(fields) < 2 {
		return d.answer("AUTH", "AUTH", "502 5.5.1 not offered")
	}
	var user, password string
	ok := false
	step := "AUTH " + strings.ToUpper(fields[1]) // without the credentials
	switch strings.ToUpper(fields[1]) {
	case "PLAIN":
		if len(fields) == 2 { // RFC 4954 section 4: the credentials follow an empty challenge
			answer, sent := d.prompt("")
			fields = append(fields, base64.StdEncoding.EncodeToString([]byte(answer)))
			ok = sent
		}
		if len(fields) == 3 {
			decoded, _ := base64.StdEncoding.DecodeString(fields[2])
			if parts := strings.Split(string(decoded), "\x00"); len(parts) == 3 {
				user, password, ok = parts[1], parts[2], true
			}
		}
	case "XOAUTH2", "OAUTHBEARER":
		return d.authToken(step, fields)
	case "LOGIN":
		user, ok = d.prompt("User Name")
		if ok {
			password, ok = d.prompt("Pass phrase")
		}
	}
	if !ok || !d.server.knows(user, password) {
		return d.answer("AUTH", step, "535 5.7.8 wrong user name or password")
	}
	return d.answerIf("AUTH", step, "235 2.7.0 welcome", func() { d.login = user })
}

// authToken reads an access token. After a refusal it sends the challenge of the mechanism,
// which an honest server fills with a status, and this one with the token as well.
func (d *dialogue) authToken(step string, fields []string) bool {
	var response string
	ok := true
	if len(fields) == 3 {
		decoded, err := base64.StdEncoding.DecodeString(fields[2])
		response, ok = string(decoded), err == nil
	} else {
		response, ok = d.prompt("")
	}
	user, token := "", ""
	for part := range strings.SplitSeq(response, "\x01") {
		if rest, found := strings.CutPrefix(part, "auth=Bearer "); found {
			token = rest
		}
		for _, prefix := range []string{"user=", "n,a="} {
			if rest, found := strings.CutPrefix(part, prefix); found {
				user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(strings.TrimSuffix(rest, ","))
			}
		}
	}
	if opts := &d.server.opts; ok && user == opts.Username && opts.Token != nil && opts.Token(token) {
		return d.answerIf("AUTH", step, "235 2.7.0 welcome", func() { d.login = user })
	}
	status, want := `{"status":"401","scope":"`+token+`"}`, ""
	if strings.HasSuffix(step, "BEARER") {
		status, want = `{"status":"invalid_token","openid-configuration":"https://example.com/`+token+`"}`, "\x01"
	}
	if got, ok := d.prompt(status); !ok || got != want {
		return d.answer("AUTH", step, "501 5.5.2 not the end of the exchange")
	}
	return d.answer("AUTH", step, "535 5.7.8 token "+token+" refused")
}

func (d *dialogue) prompt(text string) (string, bool) {
	if !d.write("334 " + base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n") {
		return "", false
	}
	line, err := d.in.ReadString('\n')
	if err != nil {
		return "", false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimRight(line, "\r\n"))
	return string(decoded), err == nil
}

func (d *dialogue) mailFrom(line string) bool {
	switch {
	case d.mail != nil:
		return d.answer("MAIL", line, "503 5.5.1 nested MAIL")
	case d.server.opts.Username != "" && d.login == "":
		return d.answer("MAIL", line, "530 5.7.0 authentication required")
	}
	return d.answerIf("MAIL", line, "250 2.1.0 ok", func() {
		from, params := path(line)
		d.mail = &Mail{From: from, Params: params, Hello: d.hello, Login: d.login, TLS: d.encrypted, Conn: d.number}
	})
}

// path returns the address and the parameters of MAIL and RCPT.
func path(line string) (address string, params []string) {
	_, rest, _ := strings.Cut(line, "<")
	address, rest, _ = strings.Cut(rest, ">")
	return address, strings.Fields(rest)
}

func (d *dialogue) ask(command, line string) Action {
	if d.server.opts.Script == nil {
		return Action{}
	}
	return d.server.opts.Script(Step{
		Conn: d.number, Command: command, Line: line, Mails: d.accepted, Grouped: d.in != nil && d.in.Buffered() > 0,
	})
}

// answer performs the action of the script. friendly is the reply if the action has none.
func (d *dialogue) answer(command, line, friendly string) bool {
	return d.act(d.ask(command, line), friendly)
}

// answerIf performs the action of the script, and calls done before if it is no refusal.
func (d *dialogue) answerIf(command, line, friendly string, done func()) bool {
	action := d.ask(command, line)
	if action.Reply == "" || slices.Contains([]byte("23"), action.Reply[0]) {
		done()
	}
	return d.act(action, friendly)
}

func (d *dialogue) act(a Action, friendly string) bool {
	reply := a.Reply
	if reply == "" && (a.Then == Go || a.Then == Discard || a.Then == Split) {
		reply = friendly
	}
	switch a.Then {
	case Trickle:
		return d.trickle(reply)
	case Discard:
		_, _ = d.in.Discard(d.in.Buffered())
	case Split:
		for _, octet := range []byte(reply) {
			if !d.write(string(octet)) {
				return false
			}
		}
		reply = ""
		if !d.write("\r") || !d.write("\n") {
			return false
		}
	}
	if reply != "" && !d.write(reply+"\r\n") {
		return false
	}
	switch a.Then {
	case Close:
		_, _ = d.conn.Write(d.out)
		return false
	case Reset:
		if tcp, ok := d.raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return false
	case Freeze:
		<-d.server.done
		return false
	}
	return true
}

// trickle writes reply in single octets, over and over, until the server stops.
func (d *dialogue) trickle(reply string) bool {
	if reply == "" {
		reply = "250-" + strings.Repeat("drip ", 50) + "\r\n"
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-d.server.done:
			return false
		}
		if !d.write(reply[i%len(reply) : i%len(reply)+1]) {
			return false
		}
	}
}

// write writes s. A server that gathers replies keeps s until it has no more commands to read.
func (d *dialogue) write(s string) bool {
	d.out = append(d.out, s...)
	if d.server.opts.Gather && d.in.Buffered() > 0 {
		return true
	}
	_, err := d.conn.Write(d.out)
	d.out = nil
	return err == nil
}
