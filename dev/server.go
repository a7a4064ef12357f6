package dev

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed assets
var assets embed.FS

// Policies of the two kinds of documents (Content Security Policy level 3).
//
// The page runs its own script only. A mail runs no script and loads nothing: the sandbox
// directive makes it a separate origin, even if a person opens its address outside of the
// frame.
const (
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; " +
		"frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)

// site is the page.
type site struct {
	inbox     *Inbox
	tasks     *tasklog
	changed   *pulse
	send      func(ctx context.Context, o Order) (id string, err error)
	users     []User
	addresses Addresses
	logger    *slog.Logger
	now       func() time.Time
	views     *template.Template
}

// handler returns the routes, behind the checks that keep other web sites out.
func (s *site) handler() (http.Handler, error) {
	views, err := template.New("").Funcs(viewFuncs()).ParseFS(assets, "assets/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("parse the page: %w", err)
	}
	s.views = views
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, fmt.Errorf("open the assets of the page: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /connect", s.page)
	mux.HandleFunc("GET /send", s.page)
	mux.HandleFunc("GET /mails/{mail}", s.page)
	mux.HandleFunc("GET /tasks", s.page)
	mux.HandleFunc("GET /tasks/{task}", s.page)
	mux.HandleFunc("GET /mails/{mail}/html", s.mailHTML)
	mux.HandleFunc("GET /mails/{mail}/source", s.mailSource)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("POST /tasks", s.postTask)
	mux.HandleFunc("POST /clear", s.postClear)
	for _, name := range []string{"app.css", "app.js", "icon.svg"} {
		mux.HandleFunc("GET /assets/"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, files, name)
		})
	}
	return onlyLocal(secure(http.NewCrossOriginProtection().Handler(mux))), nil
}

// serve answers on l until ctx ends. It closes l.
func (s *site) serve(ctx context.Context, l net.Listener) error {
	handler, err := s.handler()
	if err != nil {
		l.Close()
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15 * time.Second, // the event stream sets its own
		IdleTimeout:       time.Minute,
		// The requests end with the server: an event stream does not end by itself.
		BaseContext: func(net.Listener) context.Context { return gctx },
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the page: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-gctx.Done()
		wait, cancel := context.WithTimeout(context.WithoutCancel(gctx), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(wait); err != nil {
			server.Close()
			return fmt.Errorf("stop serving the page: %w", err)
		}
		return nil
	})
	return g.Wait()
}

// onlyLocal refuses requests for other hosts. A foreign web site can point its name at
// 127.0.0.1 and is then the same origin as this page for the browser (DNS rebinding). But
// it cannot choose the Host field.
func onlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		switch strings.ToLower(strings.Trim(host, "[]")) {
		case "localhost", loopback, "::1":
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "This page is only for http://localhost and http://"+loopback+".", http.StatusMisdirectedRequest)
		}
	})
}

func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// page answers requests for all documents that a person opens.
func (s *site) page(w http.ResponseWriter, r *http.Request) {
	v := s.view(r)
	status := http.StatusOK
	if v.Missing != "" {
		status = http.StatusNotFound
	}
	s.render(w, status, v)
}

func (s *site) render(w http.ResponseWriter, status int, v view) {
	var b strings.Builder
	if err := s.views.ExecuteTemplate(&b, "page", v); err != nil {
		s.logger.Error("page not rendered", "error", err)
		http.Error(w, "The page could not be rendered; see the log.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, b.String())
}

// mail returns the mail that the path names, or answers 404 and returns nil.
func (s *site) mail(w http.ResponseWriter, r *http.Request) *Mail {
	id, err := strconv.Atoi(r.PathValue("mail"))
	if err == nil {
		if m := s.inbox.get(id); m != nil {
			return m
		}
	}
	http.Error(w, "There is no such mail.", http.StatusNotFound)
	return nil
}

func (s *site) mailHTML(w http.ResponseWriter, r *http.Request) {
	m := s.mail(w, r)
	if m == nil {
		return
	}
	w.Header().Set("Content-Security-Policy", mailPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, linksOutside(m.HTML))
}

// linksOutside makes the links of a mail open in another window, because the policy of the
// page stops them in the frame.
func linksOutside(html string) string {
	const base = `<base target="_blank">`
	head := strings.Index(strings.ToLower(html), "<head>")
	if head < 0 || len(strings.ToLower(html)) != len(html) {
		return html
	}
	head += len("<head>")
	return html[:head] + base + html[head:]
}

func (s *site) mailSource(w http.ResponseWriter, r *http.Request) {
	m := s.mail(w, r)
	if m == nil {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Query().Has("download") {
		w.Header().Set("Content-Type", "message/rfc822")
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=mail-%d.eml", m.ID))
	}
	w.Write(m.Raw)
}

// postTask sends the task of the form. It answers the script of the page in JSON, and a
// browser without script with the page of the task.
func (s *site) postTask(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form could not be read.", http.StatusBadRequest)
		return
	}
	script := strings.HasPrefix(r.Header.Get("Accept"), "application/json")
	o, err := order(r.PostForm, s.now())
	status, id := http.StatusUnprocessableEntity, ""
	if err == nil {
		if id, err = s.send(r.Context(), o); err != nil {
			status = http.StatusBadGateway
		}
	}
	switch {
	case err != nil && script:
		answerJSON(w, status, map[string]string{"error": sentence(err)})
	case err != nil:
		v := s.view(r)
		v.Compose, v.Error = true, sentence(err)
		v.fill(r.PostForm)
		s.render(w, status, v)
	case script:
		answerJSON(w, http.StatusCreated, map[string]string{"id": id, "title": o.Title})
	default:
		http.Redirect(w, r, "/tasks/"+id, http.StatusSeeOther)
	}
}

// postClear removes the mails or the tasks.
func (s *site) postClear(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	if r.PostFormValue("what") == "tasks" {
		s.tasks.clear()
		http.Redirect(w, r, "/tasks", http.StatusSeeOther)
		return
	}
	s.inbox.clear()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// events tells the page that it is out of date (Server-Sent Events, WHATWG HTML section
// 9.2). An event has no content; the page reads itself again.
func (s *site) events(w http.ResponseWriter, r *http.Request) {
	const quiet = 20 * time.Second
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	keepalive := time.NewTicker(quiet)
	defer keepalive.Stop()
	text := "retry: 1000\nevent: change\ndata: 0\n\n" // something may have changed before
	for {
		changed := s.changed.next()
		if rc.SetWriteDeadline(time.Now().Add(quiet)) != nil {
			return
		}
		if _, err := fmt.Fprint(w, text); err != nil || rc.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
			text = "event: change\ndata: 0\n\n"
		case <-keepalive.C:
			text = ": still here\n\n"
		}
	}
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // it fails if the client is gone
}

// sentence returns the text of an error as a sentence.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
