// Package loopback decides whether a connection to a host stays on this machine, so that
// passwords may be sent without TLS.
package loopback

import (
	"net"
	"strings"
)

// Is reports whether host is localhost or a loopback address. Other names could be resolved
// to any machine.
func Is(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
