package monitor

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"time"
)

// Profiles says who may fetch profiles of the process from the health server. A
// profile tells how the program spends its time and memory, and recording one
// takes some of both; what the program works on is in none of those served.
type Profiles string

// Values of [Profiles]; the zero value is ProfilesOff.
const (
	ProfilesOff   Profiles = "off"   // nobody: there are no such pages
	ProfilesLocal Profiles = "local" // who connects from this machine, by a loopback address
	ProfilesAll   Profiles = "all"   // whoever reaches the port
)

func (p Profiles) valid() bool {
	switch p {
	case "", ProfilesOff, ProfilesLocal, ProfilesAll:
		return true
	}
	return false
}

// maxProfile is the longest time that a profile may be recorded for.
const maxProfile = time.Minute

// profiles adds the pages of net/http/pprof that are of use here. Its handlers
// put the end of writing off by the time that they record for, so writeTimeout
// may be shorter. cmdline is left out, and so are block and mutex, which are empty
// unless the program asks the runtime to sample them.
func (h *Health) profiles(mux *http.ServeMux) {
	if h.cfg.Profiles != ProfilesLocal && h.cfg.Profiles != ProfilesAll {
		return
	}
	add := func(name string, page http.Handler) {
		mux.Handle("GET /debug/pprof/"+name, h.mayProfile(page))
	}
	add("profile", http.HandlerFunc(pprof.Profile))
	add("trace", http.HandlerFunc(pprof.Trace))
	for _, name := range []string{"allocs", "goroutine", "heap"} {
		add(name, pprof.Handler(name))
	}
}

// mayProfile refuses strangers, and profiles without end.
func (h *Health) mayProfile(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if h.cfg.Profiles == ProfilesLocal && !fromHere(req) {
			http.Error(w, "profiles are for those who connect from the machine itself", http.StatusForbidden)
			return
		}
		if text := req.FormValue("seconds"); text != "" {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil || !(n > 0 && n <= maxProfile.Seconds()) {
				http.Error(w, fmt.Sprintf("seconds must be above 0 and at most %v", maxProfile.Seconds()), http.StatusBadRequest)
				return
			}
		}
		page.ServeHTTP(w, req)
	})
}

// fromHere reports whether a request comes from this machine. What a proxy on it
// hands on looks the same.
func fromHere(req *http.Request) bool {
	from, err := netip.ParseAddrPort(req.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}
