package audit

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
)

// exported is a row as other programs read it. Details are a text, because the hash is over
// their exact bytes.
type exported struct {
	Number  int64    `json:"number"`
	Chain   string   `json:"chain"`
	ID      string   `json:"id"`
	At      string   `json:"at"`
	Actor   string   `json:"actor"`
	Via     string   `json:"via"`
	From    string   `json:"from"`
	Action  string   `json:"action"`
	IDs     []string `json:"ids"`
	Details string   `json:"details"`
	Outcome string   `json:"outcome"`
	Origin  string   `json:"origin"`
	Key     string   `json:"key"`
	Prev    string   `json:"prev"`
	Hash    string   `json:"hash"`
}

func (r Row) exported() exported {
	return exported{
		r.Number, r.Chain, r.ID, r.At.UTC().Format(timeLayout), r.Actor, r.Via, r.From, r.Action, append([]string{}, r.IDs...),
		r.Details, r.Outcome, r.Origin, r.Key, r.Prev, r.Hash,
	}
}

// MarshalJSON writes the row with all that its hash is over.
func (r Row) MarshalJSON() ([]byte, error) { return json.Marshal(r.exported()) }

// JSONLines returns a function that writes rows to w, each as a line of JSON.
func JSONLines(w io.Writer) func(Row) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return func(r Row) error { return e.Encode(r.exported()) }
}

// CSV returns a function that writes rows to w as CSV (RFC 4180), ids as a JSON array. It
// writes a header first.
func CSV(w io.Writer) func(Row) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"number", "chain", "id", "at", "actor", "via", "from", "action", "ids", "details", "outcome", "origin", "key", "prev", "hash"})
	c.Flush() // its error comes with the first row
	return func(r Row) error {
		e := r.exported()
		_ = c.Write([]string{ // Flush tells
			strconv.FormatInt(e.Number, 10), e.Chain, e.ID, e.At, e.Actor, e.Via, e.From, e.Action, r.IDsJSON(), e.Details, e.Outcome,
			e.Origin, e.Key, e.Prev, e.Hash,
		})
		c.Flush()
		return c.Error()
	}
}
