//go:build !unix

package mail

import "net"

// isQuiet knows nothing: the caller has to read.
func isQuiet(net.Conn) bool { return false }
