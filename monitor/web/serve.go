package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// layout is what the frame around a page shows.
type layout struct {
	Title   string
	Content template.HTML
	Menu    []menuSection
	Notice  *Notice
	Actor   Actor
	Label   string
	Hint    string // about the label
	Version string
	Search  string // in the box of the head
	Live    bool
	Plain   bool // without menu: the page for logging in
	Login   string
	Looks   string // why there are no actions; "": there are
}

// request completes a request.
func (s *Site) request(r *http.Request) *Request {
	return &Request{Request: r, Actor: ActorOf(r.Context()), readOnly: s.cfg.ReadOnly}
}

// servePage answers a GET.
func (s *Site) servePage(w http.ResponseWriter, r *http.Request, p *Page) {
	s.showPage(w, s.request(r), p, http.StatusOK)
}

func (s *Site) showPage(w http.ResponseWriter, r *Request, p *Page, status int) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	view, err := s.load(ctx, p, r)
	if err != nil {
		s.fail(w, r.Request, err)
		return
	}
	content, err := s.views.execute(p.Template, view.Data)
	if err != nil {
		s.fail(w, r.Request, err)
		return
	}
	s.write(w, r.Request, status, layout{Title: view.Title, Content: content, Live: s.views.has(p.Template + liveSuffix)})
}

// load calls Load of a page. A panic is an error.
func (s *Site) load(ctx context.Context, p *Page, r *Request) (v View, err error) {
	defer recoverInto(&err)
	return p.Load(ctx, r)
}

func recoverInto(err *error) {
	switch p := recover(); {
	case p == nil:
	case p == http.ErrAbortHandler:
		panic(p)
	default:
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// serveAction answers a POST.
func (s *Site) serveAction(w http.ResponseWriter, req *http.Request, a *Action) {
	req.Body = http.MaxBytesReader(w, req.Body, a.MaxBody)
	if err := parseForm(req, a.MaxBody); err != nil {
		problem := &problem{Status: http.StatusBadRequest, Heading: "Form not read", Text: "The form could not be read."}
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			problem.Status, problem.Text = http.StatusRequestEntityTooLarge, fmt.Sprintf("The form is larger than %d bytes.", a.MaxBody)
		}
		s.showProblem(w, req, problem)
		return
	}
	if !wellFormedForm(req.Form) {
		s.showProblem(w, req, &problem{Status: http.StatusBadRequest, Heading: "Form not read", Text: "A field of the form has characters that are no text."})
		return
	}
	r := s.request(req)
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.ActionTimeout)
	defer cancel()
	done, err := s.do(ctx, r, a)
	if invalid, ok := errors.AsType[*InvalidError](err); ok && a.Page != "" {
		r.Problem = invalid.Text
		s.showPage(w, r, s.page(a.Page), http.StatusUnprocessableEntity)
		return
	}
	if err != nil {
		s.fail(w, req, err)
		return
	}
	setNotice(w, Notice{Text: done.Notice, Tone: cmp.Or(done.Tone, Good)})
	http.Redirect(w, req, local(done.Location), http.StatusSeeOther)
}

func parseForm(r *http.Request, most int64) error {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		return r.ParseMultipartForm(most)
	}
	return r.ParseForm()
}

// do runs an action between the entries of the audit trail.
func (s *Site) do(ctx context.Context, r *Request, a *Action) (done Done, err error) {
	run := func(ctx context.Context) (done Done, err error) {
		defer recoverInto(&err)
		return a.Do(ctx, r)
	}
	if a.Audit == "" {
		return run(ctx)
	}
	subjects := pathValues(a.Pattern, r.Request)
	if a.Subjects != nil {
		subjects = a.Subjects(r)
	}
	return s.cfg.Audit(ctx, AuditEntry{Actor: r.Actor, From: clientOf(r), Action: a.Audit, Subjects: subjects}, run)
}

// pathValues returns the values of the wildcards of a pattern.
func pathValues(pattern string, r *http.Request) (values []string) {
	for _, name := range wildcardsOf(pattern) {
		values = append(values, r.PathValue(name))
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" })
}

func clientOf(r *Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return cmp.Or(r.Actor.From, host)
}

// local returns a path on this site: anything else becomes the overview.
func local(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") || strings.HasPrefix(location, `/\`) {
		return "/"
	}
	return location
}

// fail answers with the page of an error.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, err error) {
	if to, ok := errors.AsType[*RedirectError](err); ok {
		http.Redirect(w, r, local(to.Location), http.StatusSeeOther)
		return
	}
	if r.Context().Err() != nil {
		return // the reader is gone
	}
	s.showProblem(w, r, s.problemOf(r, err))
}

// problemOf tells people about an error. Its text goes to the log alone, unless a page made it
// for people.
func (s *Site) problemOf(r *http.Request, err error) *problem {
	if e, ok := errors.AsType[*NotFoundError](err); ok {
		return &problem{Status: http.StatusNotFound, Heading: "Not found", Text: e.Text, Links: e.Links}
	}
	if e, ok := errors.AsType[*InvalidError](err); ok {
		return &problem{Status: http.StatusBadRequest, Heading: "That cannot be used", Text: e.Text}
	}
	if e, ok := errors.AsType[*ForbiddenError](err); ok {
		return &problem{Status: http.StatusForbidden, Heading: "Not allowed", Text: e.Text}
	}
	if e, ok := errors.AsType[*MissingError](err); ok {
		return &problem{Status: http.StatusOK, Heading: e.What, Missing: e}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		s.cfg.Logger.Debug("server of a page does not answer", "path", r.URL.Path, "error", err)
		return silentServer(e)
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok && slices.Contains(unreachable, e) {
		s.cfg.Logger.Debug("server of a page does not answer", "path", r.URL.Path, "error", err)
		return silentServer(&net.OpError{Op: "dial", Err: e})
	}
	p := &problem{Status: http.StatusInternalServerError, Heading: "This page cannot be shown", ID: rand.Text()[:10],
		Text: "The log of the monitor says why."}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		p.Status, p.Text = http.StatusGatewayTimeout, "A server did not answer in time. Reload the page to try again."
		if r.Method == http.MethodPost {
			p.Text = "A server did not answer in time, so it is not known whether this was done. Look at the page before you try again."
		}
	}
	level := slog.LevelError
	if _, live := r.Context().Value(foundKey{}).(*found); live {
		level = slog.LevelDebug // it would be logged every second; the page itself was logged when it was opened
	}
	s.cfg.Logger.Log(r.Context(), level, "page failed", "id", p.ID, "path", r.URL.Path, "error", err)
	return p
}

// unreachable are the faults of a server that is down, from clients that name it in their own
// errors and not in a [net.OpError].
var unreachable = []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH}

// silentServer is the page of a server that cannot be reached.
func silentServer(e *net.OpError) *problem {
	where := "A server"
	if e.Addr != nil {
		where = e.Addr.String()
	}
	m := &MissingError{What: where + " does not answer", Advice: "The monitor reads this page from there: " + e.Err.Error() + ".\nIt tries again as soon as the page is loaded again."}
	return &problem{Status: http.StatusOK, Heading: m.What, Missing: m}
}

// notFound answers for all other paths, and for the methods that a path does not take.
func (s *Site) notFound(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	other := map[string]string{http.MethodGet: http.MethodPost, http.MethodHead: http.MethodPost, http.MethodPost: http.MethodGet}[r.Method]
	if _, pattern := mux.Handler(&http.Request{Method: other, URL: r.URL, Host: r.Host}); other != "" && strings.HasPrefix(pattern, other+" ") {
		w.Header().Set("Allow", other)
		p := &problem{Status: http.StatusMethodNotAllowed, Heading: "Not a page", Text: "This is the address of an action: the buttons of the pages send it. Nothing was done."}
		if other == http.MethodGet {
			p.Heading, p.Text = "Nothing was done", "This is the address of a page, which takes no form."
		}
		s.showProblem(w, r, p)
		return
	}
	s.showProblem(w, r, &problem{Status: http.StatusNotFound, Heading: "Not found", Text: "There is no such page."})
}

// showProblem answers with the page of a problem, and programs with a line of text.
func (s *Site) showProblem(w http.ResponseWriter, r *http.Request, p *problem) {
	if page := wantsHTML(r) && (r.Method == http.MethodGet || r.Method == http.MethodHead); p.Missing != nil && !page {
		// Nothing was done, and programs see the status alone.
		p.Status, p.Text = http.StatusServiceUnavailable, strings.ReplaceAll(p.Missing.Advice, "\n", " ")
	}
	if !wantsHTML(r) {
		http.Error(w, p.Heading+": "+p.Text, p.Status)
		return
	}
	p.Back = "/"
	if near := s.currentItem(r.URL.Path); near != r.URL.Path && near != "" {
		p.Back = near
	}
	if u, err := url.Parse(r.Referer()); err == nil && u.Host == r.Host && u.Path != r.URL.Path {
		p.Back = local(u.RequestURI())
	}
	content, err := s.views.execute("frame.problem", p)
	if err != nil {
		s.cfg.Logger.Error("page not rendered", "error", err)
		http.Error(w, p.Text, p.Status)
		return
	}
	s.write(w, r, p.Status, layout{Title: p.Heading, Content: content})
}

// whyNoActions tells a reader why the pages offer no actions; "": they do.
func (s *Site) whyNoActions(a Actor) string {
	switch {
	case s.cfg.ReadOnly:
		return "This monitor is read-only (MONITOR_READ_ONLY): it shows everything, and offers no actions."
	case a.Role != RoleViewer:
		return ""
	case a.Anonymous && s.cfg.Login != "":
		return "Without a login you may look. Actions need the role operator."
	}
	return "Your role is viewer: you may look. Actions need the role operator."
}

// wantsHTML reports whether a browser asks for a document.
func wantsHTML(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "text/html") && !strings.Contains(accept, "text/event-stream")
}

// write answers with a whole document.
func (s *Site) write(w http.ResponseWriter, r *http.Request, status int, l layout) {
	l.Actor, l.Version, l.Login = ActorOf(r.Context()), s.cfg.Version, s.cfg.Login
	l.Label, l.Hint = s.cfg.Label, s.cfg.LabelHint
	l.Plain = l.Actor.Role < RoleViewer
	l.Menu = s.menuFor(l.Actor, r.URL.Path)
	l.Looks = s.whyNoActions(l.Actor)
	l.Notice = takeNotice(w, r)
	text, err := s.views.execute("frame.page", l)
	if err != nil {
		s.cfg.Logger.Error("page not rendered", "path", r.URL.Path, "error", err)
		http.Error(w, "The page could not be rendered; the log of the monitor says why.", http.StatusInternalServerError)
		return
	}
	// A slow reader holds a connection for so long, and no longer.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writePatience))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, string(text))
}

// writePatience bounds the writing of one answer.
const writePatience = 30 * time.Second
