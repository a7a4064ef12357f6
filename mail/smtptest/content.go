package smtptest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (d *dialogue) data(line string) bool {
	begun := false
	if !d.answerIf("DATA", line, "354 go ahead", func() { begun = true }) {
		return false
	}
	if !begun {
		return true
	}
	if action := d.ask("BODY", ""); action != (Action{}) {
		return d.act(action, "")
	}
	raw, err := readData(d.in, d.server.opts.LenientEnd)
	if err != nil {
		return false
	}
	mail := *d.mail
	mail.Raw = raw
	mail.Data = unstuff(raw)
	return d.end(mail)
}

// end takes a complete mail.
func (d *dialogue) end(mail Mail) bool {
	d.mail = nil
	action := d.ask(".", "")
	if action.Reply == "" && action.Then != Freeze || strings.HasPrefix(action.Reply, "2") {
		// A failure after the end of data does not undo the acceptance.
		d.accepted++
		mail.At = time.Now()
		d.server.note(func() { d.server.mails = append(d.server.mails, mail) })
	}
	return d.act(action, fmt.Sprintf("250 2.0.0 Ok: queued as Q%d", d.accepted))
}

// chunk takes a command BDAT, RFC 3030. The octets of a refused chunk are read, too.
func (d *dialogue) chunk(line string) bool {
	fields := strings.Fields(line)
	if !slices.ContainsFunc(d.server.opts.Extensions, func(e string) bool { return strings.EqualFold(e, "CHUNKING") }) {
		return d.answer("BDAT", line, "502 5.5.1 not offered") // its octets are read as commands
	}
	size, err := strconv.Atoi(fields[min(1, len(fields)-1)])
	last := len(fields) == 3 && strings.EqualFold(fields[2], "LAST")
	if err != nil || size < 0 || len(fields) > 2 != last {
		return d.answer("BDAT", line, "501 5.5.4 bad chunk")
	}
	action := Action{}
	open := d.mail != nil && d.mail.To != ""
	if open {
		action = d.ask(map[bool]string{false: "BDAT", true: "BODY"}[last], line)
	}
	if last && action != (Action{}) || action.Then == Unread {
		return d.act(action, "")
	}
	octets := make([]byte, size)
	if _, err := io.ReadFull(d.in, octets); err != nil {
		return false
	}
	if !open {
		return d.answer("BDAT", line, "503 5.5.1 bad sequence")
	}
	if action.Reply == "" || action.Reply[0] == '2' {
		d.mail.Raw = append(d.mail.Raw, octets...)
	} else {
		d.mail = nil
	}
	if !last {
		return d.act(action, "250 2.0.0 octets received")
	}
	mail := *d.mail
	mail.Data, mail.Chunked = mail.Raw, true
	return d.end(mail)
}

// readData reads up to and including the end of data.
func readData(in *bufio.Reader, lenient bool) ([]byte, error) {
	raw := []byte("\r\n") // the end of data may be the first line
	for {
		c, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		raw = append(raw, c)
		if c != '\n' {
			continue
		}
		if bytes.HasSuffix(raw, []byte("\r\n.\r\n")) ||
			lenient && (bytes.HasSuffix(raw, []byte("\n.\n")) || bytes.HasSuffix(raw, []byte("\n.\r\n"))) {
			return raw[2:], nil
		}
	}
}

// unstuff removes the end of data and the doubled dots.
func unstuff(raw []byte) []byte {
	lines := bytes.SplitAfter(raw, []byte("\n"))
	var out []byte
	for i, line := range lines {
		if i >= len(lines)-2 && bytes.HasPrefix(line, []byte(".")) && len(bytes.TrimRight(line, "\r\n")) == 1 {
			break
		}
		out = append(out, bytes.TrimPrefix(line, []byte("."))...)
	}
	return out
}
