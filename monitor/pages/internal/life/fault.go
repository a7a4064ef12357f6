package life

import (
	"errors"
	"strings"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
)

// NoHistory returns the error of a page that needs the history of mails. off says what is
// missing and how to get it; "": no database is configured.
func NoHistory(off string) error {
	if off == "" {
		off = "Set LEDGER_DATABASE_URL, or DATABASE_URL, to the PostgreSQL database of the workers."
	}
	return web.Missing("No history of mails", off)
}

// Fault makes a page of the error of a history that cannot be read.
func Fault(err error) error {
	if errors.Is(err, ledger.ErrNoHistory) {
		return web.Missing("No history of mails", "The database has no tables of mails yet: a worker makes them at its start.\nOr run the SQL that the command ledger migrations --sql prints.")
	}
	if access, ok := errors.AsType[*ledger.AccessError](err); ok {
		return web.Missing("The history of mails cannot be read", words.Line(access.Words))
	}
	if errors.Is(err, ledger.ErrCursor) {
		return web.Invalid("This is no place in the list. Open the list again from its beginning.")
	}
	if why := ledger.Unavailability(err); why != "" {
		what := "The history of mails cannot be read"
		if strings.HasPrefix(why, "it did not answer") {
			what = "The history of mails does not answer"
		}
		return web.Missing(what, "This is about the database of LEDGER_DATABASE_URL, or of DATABASE_URL: "+why+".\nMails go on meanwhile: their events wait in Redis.")
	}
	return err
}
