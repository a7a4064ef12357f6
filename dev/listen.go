package dev

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// loopback is the only address that anything of package dev listens on: the
// embedded parts ask nobody for a password.
const loopback = "127.0.0.1"

// steps is how many ports are tried, the preferred one included, before the
// system may choose one.
const steps = 20

// bind calls listen with the preferred port of the loopback address. When
// another program has that port the next ones follow, and at last any free one,
// so that the second `dev` on a machine starts like the first. A preferred port
// that is negative means any free one.
//
// What the system says about a port in use differs between systems, so every
// refusal makes bind go on; the error is that of the last try.
func bind(preferred int, listen func(address string) error) error {
	var ports []int
	if preferred > 0 {
		for port := preferred; port < preferred+steps && port <= 65535; port++ {
			ports = append(ports, port)
		}
	}
	ports = append(ports, 0) // any free port
	var err error
	for _, port := range ports {
		if err = listen(net.JoinHostPort(loopback, strconv.Itoa(port))); err == nil {
			return nil
		}
	}
	return fmt.Errorf("listen on port %d or one after it: %w", max(preferred, 0), err)
}

// bindTCP is bind for everything that takes a listener.
func bindTCP(preferred int) (net.Listener, error) {
	var l net.Listener
	err := bind(preferred, func(address string) (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ignoreClosed drops the error of a listener that was closed on purpose.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
