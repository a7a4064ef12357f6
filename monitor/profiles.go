package monitor

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Profiles says who may fetch profiles of the process from the health server. A
// profile tells how the program spends its time and memory, and recording one
// takes some of both. They have names of functions, addresses and numbers, and nothing
// of what the program works on.
type Profiles string

// Values of [Profiles]; the zero value is ProfilesOff.
const (
	ProfilesOff   Profiles = "off"   // none: there are no such pages
	ProfilesLocal Profiles = "local" // clients on this machine, by a loopback address
	ProfilesAll   Profiles = "all"   // every client that reaches the port
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

// Durations of a profile that is asked for without one, as net/http/pprof has them.
const (
	cpuProfile = 30 * time.Second
	traceTime  = time.Second
)

// profiles adds the pages that go tool pprof and go tool trace read, under the paths of
// net/http/pprof. That package itself would add its pages to http.DefaultServeMux,
// for whatever program imports this one. Block and mutex are left out, as they are
// empty unless the program asks the runtime to sample them.
func (h *Health) profiles(mux *http.ServeMux) {
	if h.cfg.Profiles != ProfilesLocal && h.cfg.Profiles != ProfilesAll {
		return
	}
	add := func(name string, page http.HandlerFunc) {
		mux.Handle("GET /debug/pprof/"+name, h.mayProfile(page))
	}
	add("profile", record(cpuProfile, pprof.StartCPUProfile, pprof.StopCPUProfile))
	add("trace", record(traceTime, trace.Start, trace.Stop))
	for _, name := range []string{"allocs", "goroutine", "heap"} {
		add(name, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_ = pprof.Lookup(name).WriteTo(w, 0) // else the reader has gone
		})
	}
}

// record serves what is recorded from start to stop. The end of writing is put off by
// as much.
func record(usual time.Duration, start func(io.Writer) error, stop func()) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		d := usual
		if s, err := strconv.ParseFloat(req.FormValue("seconds"), 64); err == nil {
			d = time.Duration(s * float64(time.Second))
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + writeTimeout)); err != nil {
			http.Error(w, "the connection does not allow so long a wait", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := start(w); err != nil {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			http.Error(w, "another one is being recorded", http.StatusConflict)
			return
		}
		defer stop()
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-req.Context().Done():
		}
	}
}

// mayProfile refuses strangers, and profiles without end.
func (h *Health) mayProfile(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if h.cfg.Profiles == ProfilesLocal && !fromHere(req) {
			http.Error(w, "profiles are for clients on the machine itself", http.StatusForbidden)
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

// fromHere reports whether a request comes from this machine. Requests that a proxy on it
// forwards look the same.
func fromHere(req *http.Request) bool {
	from, err := netip.ParseAddrPort(req.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}
