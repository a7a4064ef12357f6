//go:build !unix

package mail

import "net"

// isQuiet returns false, because the answer is unknown here. The caller must read.
func isQuiet(net.Conn) bool { return false }
