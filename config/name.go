package config

import (
	"fmt"
	"os"
	"strings"
)

// nodeName fills in the abbreviations of Celery's --hostname option.
func (v *variables) nodeName() string {
	const right = "write name@host, where %h stands for the host with its domain, %n without and %d for the domain alone"
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	short, domain, _ := strings.Cut(host, ".")
	pattern := v.WorkerName.text
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			b.WriteByte(pattern[i])
			continue
		}
		i++
		switch {
		case i == len(pattern):
			v.WorkerName.mistake("it ends in a lone %", right)
		case pattern[i] == 'h':
			b.WriteString(host)
		case pattern[i] == 'n':
			b.WriteString(short)
		case pattern[i] == 'd':
			b.WriteString(domain)
		case pattern[i] == '%':
			b.WriteByte('%')
		default:
			v.WorkerName.mistake(fmt.Sprintf("%%%c is not known", pattern[i]), right)
		}
	}
	name := b.String()
	before, after, at := strings.Cut(name, "@")
	if !at || before == "" || after == "" || strings.ContainsAny(name, " \t/*?[]") {
		v.WorkerName.mistake("it is not a node name", right)
	}
	return name
}
