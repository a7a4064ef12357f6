package guard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/evently/workers/internal/loopback"
)

// ParseNetworks reads addresses and networks such as 10.0.0.0/8.
func ParseNetworks(items []string) (nets []netip.Prefix, err error) {
	for _, item := range items {
		if addr, err := netip.ParseAddr(item); err == nil {
			nets = append(nets, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, err
		}
		nets = append(nets, p.Masked())
	}
	return nets, nil
}

// proxies are the networks whose headers are believed.
type proxies []netip.Prefix

func (p proxies) has(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(addr.Unmap()) })
}

// peer returns the address at the other end of the connection.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// client returns the address of the client: that of the connection, or, behind a trusted
// proxy, the last one of X-Forwarded-For that is no trusted proxy.
func (p proxies) client(r *http.Request) netip.Addr {
	from := peer(r)
	if !p.has(from) {
		return from
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := parseHop(strings.TrimSpace(hop))
		if err != nil {
			return from
		}
		if from = addr.Unmap().WithZone(""); !p.has(from) {
			return from
		}
	}
	return from
}

// parseHop reads an address of X-Forwarded-For. Some proxies add the port, such as the
// application gateways of Azure.
func parseHop(text string) (netip.Addr, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr(), nil
	}
	return netip.ParseAddr(strings.Trim(text, "[]"))
}

// secure reports whether the browser speaks TLS, to us or to a trusted proxy.
func (p proxies) secure(r *http.Request) bool {
	return r.TLS != nil || p.has(peer(r)) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// ignored reports whether a program on this machine or network says that it is a proxy, and is
// not believed. The headers of other clients are no hint at a setting.
func (p proxies) ignored(r *http.Request) bool {
	from := peer(r)
	return (from.IsLoopback() || from.IsPrivate()) && !p.has(from) && (r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("X-Forwarded-Proto") != "")
}

// Origin returns the origin of a URL as browsers write it, "" for none.
func Origin(text string) string {
	u, err := url.Parse(strings.ToLower(text))
	if err != nil || u.Host == "" {
		return ""
	}
	if usual := map[string]string{"http": "80", "https": "443"}[u.Scheme]; u.Port() == usual {
		u.Host = strings.TrimSuffix(u.Host, ":"+usual)
	}
	return u.Scheme + "://" + strings.TrimSuffix(u.Host, ":")
}

// hosts are the names by which the monitor is asked for; nil: any.
//
// A page of another site may give its name the address of this machine after it was
// loaded (DNS rebinding). The browser then asks us as part of that site, and only the Host
// header tells.
type hosts []string

func (h hosts) allows(host string) bool {
	if h == nil || host == "" {
		return true
	}
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if loopback.Is(name) || strings.HasSuffix(name, ".localhost") {
		return true
	}
	// Nothing is resolved for an address, so nothing can be bound anew.
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return slices.Contains(h, name)
}
