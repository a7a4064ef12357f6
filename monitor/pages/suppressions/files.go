package suppressions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/web"
	store "github.com/evently/workers/store/ledger/suppressions"
)

// importView is the page of an import: the form for a file, or a file that was checked.
type importView struct {
	Head    web.Head
	Problem string
	Text    string // of the form
	Reason  string

	Ticket  string // of the checked file; "": there is none
	Facts   []web.Fact
	Nothing bool // it would change nothing
}

func (g *Group) loadImport(_ context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	v := &importView{
		Head:    web.Head{Title: "Import suppressions", Back: &web.Link{Text: "Suppressions", Href: "/suppressions"}, Lead: "A CSV file whose first line names the columns, of which address or id is required. One address a line needs no names. All rows are checked first: if one is wrong, nothing is imported."},
		Problem: r.Problem,
	}
	ticket := r.FormValue("file")
	f, ok := g.checked.Get(ticket, r.Actor.Name)
	switch {
	case ok:
		v.Ticket, v.Facts, v.Nothing = ticket, counts(f.n), f.n.Added+f.n.Replaced == 0
	case ticket != "" && r.Problem == "":
		v.Problem = "The file was checked too long ago. Choose it again."
	}
	if r.Problem != "" {
		v.Text, v.Reason = r.PostFormValue("text"), r.PostFormValue("reason")
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

// counts are what an import would do, or has done.
func counts(n store.Imported) []web.Fact {
	facts := []web.Fact{{Name: "Rows", Value: strconv.Itoa(n.Rows)}, {Name: "New", Value: strconv.Itoa(n.Added)}}
	for _, more := range []struct {
		name string
		n    int
	}{{"Replaces weaker ones", n.Replaced}, {"In force already", n.Unchanged}, {"Repeated rows", n.Repeated}, {"Have ended", n.Ended}} {
		if more.n > 0 {
			facts = append(facts, web.Fact{Name: more.name, Value: strconv.Itoa(more.n)})
		}
	}
	return facts
}

// doCheck checks a file and keeps it for the import. It changes nothing.
func (g *Group) doCheck(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	raw := []byte(r.PostFormValue("text"))
	if sent, _, err := r.FormFile("upload"); err == nil {
		defer sent.Close()
		if raw, err = io.ReadAll(io.LimitReader(sent, maxFile+1)); err != nil {
			return web.Done{}, web.Invalid("The file cannot be read. Choose it again.")
		}
	}
	switch {
	case len(bytes.TrimSpace(raw)) == 0:
		return web.Done{}, web.Invalid("Choose a file, or paste its lines.")
	case len(raw) > maxFile:
		return web.Done{}, web.Invalid(fmt.Sprintf("The file is larger than %d MB. Use the command suppressions import, or cut it.", maxFile>>20))
	}
	if g.cfg.CheckKey != nil {
		if err := g.cfg.CheckKey(ctx); err != nil {
			return web.Done{}, web.Invalid(sentence(err.Error()) + " The workers would not find the addresses.")
		}
	}
	n, err := g.cfg.Store.Import(ctx, store.Import{From: bytes.NewReader(raw), By: r.Actor.Name, DryRun: true})
	if err != nil {
		return web.Done{}, plain(err)
	}
	return web.Done{Location: "/suppressions/import?file=" + g.checked.Issue(r.Actor.Name, file{raw, n})}, nil
}

// doImport imports a file that was checked.
func (g *Group) doImport(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	ticket := r.PostFormValue("file")
	f, ok := g.checked.Get(ticket, r.Actor.Name)
	if !ok {
		return web.Done{}, web.Invalid("The file was checked too long ago. Choose it again: nothing was imported.")
	}
	why, err := reason(r)
	if err != nil {
		return web.Done{}, err
	}
	n, err := g.cfg.Store.Import(ctx, store.Import{From: bytes.NewReader(f.raw), By: r.Actor.Name, Note: why})
	if err != nil {
		return web.Done{}, plain(err)
	}
	g.checked.Drop(ticket)
	return web.Done{
		Location: "/suppressions?source=import", Notice: fmt.Sprintf("Imported: %s of %s.", words.Count(int64(n.Added+n.Replaced), "suppression"), words.Count(int64(n.Rows), "row")),
		Details: map[string]string{"reason": mail.MaskAddresses(why), "added": strconv.Itoa(n.Added), "replaced": strconv.Itoa(n.Replaced)},
	}, nil
}

// doExport notes who exports, because the file may have whole addresses, and leads to the file.
func (g *Group) doExport(_ context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	q, err := readQuery(r.PostForm, g.cfg.Now())
	if err != nil {
		return web.Done{}, err
	}
	q.filter.After = ""
	details := map[string]string{}
	for name, value := range q.filter.Details() {
		details[name] = strings.Trim(fmt.Sprint(value), "[]")
	}
	return web.Done{Location: exportPath(g.exports.Issue(r.Actor.Name, q.filter)), Details: details}, nil
}

// export answers with the file of an audited click.
func (g *Group) export(w http.ResponseWriter, r *http.Request) {
	f, ok := g.exports.Get(r.PathValue("ticket"), web.ActorOf(r.Context()).Name)
	if !ok || g.cfg.Store == nil {
		http.Error(w, "The export was asked for too long ago. Go back to the list and click again.", http.StatusGone)
		return
	}
	const patience = 10 * time.Minute
	_ = http.NewResponseController(w).SetWriteDeadline(g.cfg.Now().Add(patience))
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="`+exportName(g.cfg.Now())+`"`)
	if _, err := g.cfg.Store.Export(r.Context(), w, f); err != nil && !errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the reader must not take a part for the whole
	}
}
