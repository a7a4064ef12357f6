package hashslot

import (
	"net"
	"strings"
)

// Redirect returns the address in a MOVED or ASK reply of a node, "" for other replies. asking
// tells that it is ASK: the other node wants ASKING before the command. asked is the address of
// the node that has replied. An owner that it does not know a name of has no address here.
func Redirect(reply, asked string) (addr string, asking bool) {
	fields := strings.Fields(reply)
	if len(fields) != 3 || fields[0] != "MOVED" && fields[0] != "ASK" {
		return "", false
	}
	addr = fields[2]
	i := strings.LastIndex(addr, ":") // addresses of IPv6 have no brackets
	if i < 0 || addr[:i] == "?" {
		return "", false
	}
	return Endpoint(strings.Trim(addr[:i], "[]"), addr[i+1:], asked), fields[0] == "ASK"
}

// Endpoint returns host:port of a node. A node that does not know its host is reached where
// asked is: a proxy, or a server without an announced address.
func Endpoint(host, port, asked string) string {
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(asked)
	}
	return net.JoinHostPort(host, port)
}
