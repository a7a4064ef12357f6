package dev

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

// loopback is the only address that package dev listens on, because the embedded parts ask
// for no password.
const loopback = "127.0.0.1"

// steps is how many ports are tried, the preferred one included, before the
// system may choose one.
const steps = 20

// bind calls listen with the preferred port of the loopback address. If that port is in
// use, it tries the next ones and at last any free one, so that the second `dev` on a
// machine starts like the first. A negative port means any free one.
//
// Operating systems have different errors for a port in use, so bind continues after every
// error. It returns the error of the last try.
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

// bindTCP returns a TCP listener that bind has opened.
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

// stepped returns a sentence if a part listens on another port than the preferred one.
func stepped(part string, preferred int, address string) []string {
	_, port, err := net.SplitHostPort(address)
	if err != nil || preferred <= 0 || port == strconv.Itoa(preferred) {
		return nil
	}
	return []string{fmt.Sprintf("%s is on port %s, because another program has port %d.", part, port, preferred)}
}

// ignoreClosed drops the error of a listener that was closed on purpose.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
