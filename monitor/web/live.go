package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Times and bounds of live updates.
const (
	liveEvery    = time.Second
	liveShare    = 5                // a render may take this part of the time
	liveQuiet    = 15 * time.Second // between two comments that keep a connection open
	liveLife     = 5 * time.Minute  // of a stream: the guard looks at the reader again
	livePatience = 10 * time.Second // for a reader that takes nothing
	liveStreams  = 128
	liveURL      = 4096 // bytes
)

// hub pushes pages to the readers that have them open (Server-Sent Events, WHATWG HTML
// section 9.2): GET /live?page=<path and query>. It has no goroutine: the first reader of a
// page that comes in a second renders it, and the others take that.
type hub struct {
	site  *Site
	pages *http.ServeMux
	now   func() time.Time
	open  streams
	end   func()
	ended <-chan struct{}
}

func newHub(s *Site, pages *http.ServeMux) *hub {
	ended := make(chan struct{})
	return &hub{
		site: s, pages: pages, now: time.Now, open: streams{views: map[viewKey]*liveView{}},
		ended: ended, end: sync.OnceFunc(func() { close(ended) }),
	}
}

// EndStreams ends the open streams, and all later ones. A server calls it when it shuts down.
func (s *Site) EndStreams() { s.hub.end() }

// viewKey names what readers share. It has no name of a person: a pushed page knows the role
// of its reader alone.
type viewKey struct {
	url  string
	role Role
}

// found is the page of a path.
type found struct {
	page    *Page
	request *http.Request // with the values of its path
}

type foundKey struct{}

// find returns the page that a reader has open.
func (h *hub) find(r *http.Request) (*found, viewKey, error) {
	text := r.URL.Query().Get("page")
	u, err := url.Parse(text)
	if err != nil || len(text) > liveURL || local(text) != text || text == "" {
		return nil, viewKey{}, Invalid("The parameter page must be the path of a page.")
	}
	u.Fragment = ""
	u.RawQuery = u.Query().Encode() // in order
	f := new(found)
	req, err := http.NewRequestWithContext(context.WithValue(context.WithoutCancel(r.Context()), foundKey{}, f), http.MethodGet, u.RequestURI(), nil)
	if err != nil {
		return nil, viewKey{}, Invalid("The parameter page must be the path of a page.")
	}
	req.Host = r.Host
	h.pages.ServeHTTP(discard{}, req)
	if f.page == nil {
		return nil, viewKey{}, NotFound("There is no live page at this path.")
	}
	role := ActorOf(r.Context()).Role
	if role < f.page.Role {
		return nil, viewKey{}, Forbidden(roleProblem(role, f.page.Role, false).Text)
	}
	return f, viewKey{url: u.RequestURI(), role: role}, nil
}

// discard is the answer of a search for a page.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// ServeHTTP implements [http.Handler].
func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, key, err := h.find(r)
	if err != nil {
		p := h.site.problemOf(r, err)
		http.Error(w, p.Text, p.Status)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx passes it on at once
	// Caddy 2.6 compresses streams and keeps them until there is enough. It leaves alone what has
	// an encoding, and browsers know this one as none.
	w.Header().Set("Content-Encoding", "identity")
	stream := &stream{w: w, rc: http.NewResponseController(w), sent: r.Header.Get("Last-Event-ID")}
	view, ok := h.open.enter(key)
	if !ok {
		// The reader tries again later; until then its page stands still.
		stream.write("retry: 15000\nevent: full\ndata: \n\n")
		return
	}
	defer h.open.leave(key, view)
	render := func() frame { return h.render(f, key) }
	end := h.now().Add(liveLife - rand.N(liveLife/5))
	for stream.push(view.get(r.Context(), h.now, render)) && h.now().Before(end) {
		if !h.pause(r.Context(), untilNext(h.now())) {
			return
		}
	}
}

// untilNext returns the time until the next second begins: all readers of a page come at the
// same time.
func untilNext(now time.Time) time.Duration { return liveEvery - now.Sub(now.Truncate(liveEvery)) }

// pause waits, and reports whether the stream goes on.
func (h *hub) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.ended:
		return false
	case <-ctx.Done():
		return false
	}
}

// frame is a rendered page. The id is a hash of it.
type frame struct {
	id   string
	text template.HTML
}

// render loads a page and renders its live part. An error is shown there.
func (h *hub) render(f *found, key viewKey) frame {
	s := h.site
	// The reader that renders may leave meanwhile. The others wait for this frame.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.request.Context()), s.cfg.Timeout)
	defer cancel()
	ctx = WithActor(ctx, Actor{Role: key.role})
	r := s.request(f.request.WithContext(ctx))
	r.Live = true
	var text template.HTML
	view, err := s.load(ctx, f.page, r)
	if err == nil {
		text, err = s.views.execute(f.page.Template+liveSuffix, view.Data)
	}
	if err != nil {
		p := s.problemOf(r.Request, err)
		p.ID = "" // it would change every second
		if text, err = s.views.execute("frame.problem", p); err != nil {
			return frame{}
		}
	}
	sum := sha256.Sum256([]byte(text))
	return frame{id: hex.EncodeToString(sum[:8]), text: text}
}

// stream writes to one reader.
type stream struct {
	w     io.Writer
	rc    *http.ResponseController
	sent  string    // id of the frame that the reader has
	wrote time.Time // zero: nothing yet
}

// push sends a frame, if the reader does not have it. It reports whether the reader is there.
func (s *stream) push(f frame) bool {
	switch {
	case f.id != "" && f.id != s.sent:
		var b bytes.Buffer
		fmt.Fprintf(&b, "id: %s\n", f.id)
		for line := range strings.Lines(string(f.text)) {
			b.WriteString("data: ")
			b.WriteString(strings.TrimRight(line, "\r\n"))
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
		s.sent = f.id
		return s.write(b.String())
	case time.Since(s.wrote) > liveQuiet:
		return s.write(": still here\n\n")
	}
	return true
}

func (s *stream) write(text string) bool {
	s.wrote = time.Now()
	if s.rc.SetWriteDeadline(s.wrote.Add(livePatience)) != nil {
		return false
	}
	_, err := io.WriteString(s.w, text)
	return err == nil && s.rc.Flush() == nil
}

// streams are the open streams, by what they show.
type streams struct {
	mu    sync.Mutex
	views map[viewKey]*liveView
	count int
}

// enter returns the view of a further reader, or false if there are too many.
func (s *streams) enter(key viewKey) (*liveView, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= liveStreams {
		return nil, false
	}
	s.count++
	v := cmp.Or(s.views[key], &liveView{})
	s.views[key] = v
	v.readers++
	return v, true
}

func (s *streams) leave(key viewKey, v *liveView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if v.readers--; v.readers == 0 {
		delete(s.views, key)
	}
}

// liveView is a page that readers have open.
type liveView struct {
	readers int // guarded by streams

	mu      sync.Mutex
	last    frame
	next    time.Time     // when the page may be rendered again
	running chan struct{} // closed when the render in progress ends; nil: there is none
}

// get returns the frame of this second. One caller renders it, and the others wait.
func (v *liveView) get(ctx context.Context, now func() time.Time, render func() frame) frame {
	begin, running, last := v.begin(now())
	switch {
	case begin:
		f := frame{}
		started := now()
		defer func() { v.done(f, started, now()) }()
		f = render()
		return f
	case running != nil:
		select {
		case <-running:
		case <-ctx.Done():
		}
		return v.latest()
	}
	return last
}

// begin reports whether the caller must render. Otherwise it returns the render in progress,
// or the last frame.
func (v *liveView) begin(now time.Time) (begin bool, running chan struct{}, last frame) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running != nil || now.Before(v.next) {
		return false, v.running, v.last
	}
	v.running = make(chan struct{})
	return true, nil, v.last
}

// done notes a frame. A page that is slow to load is loaded less often.
func (v *liveView) done(f frame, started, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = f
	v.next = started.Truncate(liveEvery).Add(liveEvery)
	if slow := started.Add(liveShare * now.Sub(started)); slow.After(v.next) {
		v.next = slow
	}
	close(v.running)
	v.running = nil
}

func (v *liveView) latest() frame {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}
