package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"time"
)

// zeros is the hash before the first row.
var zeros = strings.Repeat("0", 2*sha256.Size)

const (
	version    = "evently audit 1"
	timeLayout = "2006-01-02T15:04:05.000000Z"
)

// ShortestKey is the length of the shortest AUDIT_KEY, in bytes.
const ShortestKey = 16

// Keys are the values of AUDIT_KEY: the first one makes hashes, all check them. Without any,
// hashes have no key.
type Keys []string

// fingerprint identifies a key without revealing it.
func fingerprint(key string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(version + " key")) // a hash takes everything
	return hex.EncodeToString(m.Sum(nil)[:4])
}

// current returns the fingerprint of the key that makes hashes.
func (k Keys) current() string {
	if len(k) == 0 {
		return ""
	}
	return fingerprint(k[0])
}

// hash returns a new hash for a fingerprint. known is false if no key has it.
func (k Keys) hash(print string) (h hash.Hash, known bool) {
	if print == "" {
		return sha256.New(), true
	}
	i := slices.IndexFunc(k, func(key string) bool { return fingerprint(key) == print })
	if i < 0 {
		return nil, false
	}
	return hmac.New(sha256.New, []byte(k[i])), true
}

// content returns what is hashed of a row: each field as its length in bytes, a colon, the
// field, and a comma. docs/audit.md explains it for other programs.
func (r Row) content() []byte {
	fields := []string{
		version, r.Chain, r.Key, r.Prev, strconv.FormatInt(r.Number, 10), r.ID, r.At.UTC().Format(timeLayout),
		r.Actor, r.Via, r.From, r.Action, r.Details, r.Outcome, r.Origin, strconv.Itoa(len(r.IDs)),
	}
	var b []byte
	for _, field := range append(fields, r.IDs...) {
		b = strconv.AppendInt(b, int64(len(field)), 10)
		b = append(append(append(b, ':'), field...), ',')
	}
	return b
}

// IDsJSON returns the ids as a JSON array, "[]" for none.
func (r Row) IDsJSON() string {
	raw, err := json.Marshal(append([]string{}, r.IDs...))
	if err != nil {
		panic(err) // texts
	}
	return string(raw)
}

// sum returns the hash that r must have. known is false if its key is not there.
func (k Keys) sum(r Row) (sum string, known bool) {
	h, known := k.hash(r.Key)
	if !known {
		return "", false
	}
	h.Write(r.content())
	return hex.EncodeToString(h.Sum(nil)), true
}

// Head is the end of a chain. The zero value is that of an empty one.
type Head struct {
	Number int64
	Hash   string
}

// String returns number:hash, "" for the zero value.
func (h Head) String() string {
	if h == (Head{}) {
		return ""
	}
	return fmt.Sprintf("%d:%s", h.Number, h.Hash)
}

// ParseHead reads what String returns.
func ParseHead(text string) (Head, error) {
	if text == "" {
		return Head{}, nil
	}
	number, sum, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	raw, hexErr := hex.DecodeString(sum)
	if err != nil || hexErr != nil || n < 1 || len(raw) != sha256.Size || strings.ToLower(sum) != sum {
		return Head{}, fmt.Errorf("%q is not the head of an audit trail: want its number, a colon, and %d hexadecimal digits", text, 2*sha256.Size)
	}
	return Head{n, sum}, nil
}

// extend returns rows for entries behind a head, and the new head.
func (k Keys) extend(chain string, head Head, entries []Entry, origins []string) ([]Row, Head) {
	rows := make([]Row, len(entries))
	for i, e := range entries {
		r := Row{Entry: e, Chain: chain, Number: head.Number + 1, Key: k.current(), Prev: head.Hash}
		if head == (Head{}) {
			r.Prev = zeros
		}
		if origins != nil {
			r.Origin = origins[i]
		}
		r.Hash, _ = k.sum(r)
		rows[i], head = r, Head{r.Number, r.Hash}
	}
	return rows, head
}

// seal returns a head with a code that only a holder of the key can make, for the record of
// the head beside the rows.
func (k Keys) seal(h Head) string {
	sum, _ := k.sum(Row{Chain: "head", Number: h.Number, Prev: h.Hash, Key: k.current()})
	return h.String() + " " + k.current() + " " + sum
}

// unseal reads what seal returns.
func (k Keys) unseal(text string) (h Head, genuine bool) {
	parts := strings.Split(text, " ")
	if len(parts) != 3 {
		return Head{}, false
	}
	h, err := ParseHead(parts[0])
	if err != nil {
		return Head{}, false
	}
	want, known := k.sum(Row{Chain: "head", Number: h.Number, Prev: h.Hash, Key: parts[1]})
	return h, !known || want == parts[2] // without the key the head counts, its code does not
}

// fields returns a row as texts of a stream: names and values.
func (r Row) fields() []string {
	return []string{
		"number", strconv.FormatInt(r.Number, 10), "id", r.ID, "at", r.At.Format(timeLayout), "actor", r.Actor, "via", r.Via,
		"from", r.From, "action", r.Action, "ids", r.IDsJSON(), "details", r.Details, "outcome", r.Outcome,
		"key", r.Key, "prev", r.Prev, "hash", r.Hash,
	}
}

// parseFields reads what fields returns.
func parseFields(fields []string) (Row, error) {
	m := map[string]string{}
	for pair := range slices.Chunk(fields, 2) {
		if len(pair) == 2 {
			m[pair[0]] = pair[1]
		}
	}
	r := Row{Chain: Stream, Key: m["key"], Prev: m["prev"], Hash: m["hash"]}
	r.Entry = Entry{ID: m["id"], Actor: m["actor"], Via: m["via"], From: m["from"], Action: m["action"], Details: m["details"], Outcome: m["outcome"]}
	var err error
	if r.Number, err = strconv.ParseInt(m["number"], 10, 64); err != nil {
		return r, fmt.Errorf("entry of the audit trail without a number: %w", err)
	}
	if r.At, err = time.Parse(timeLayout, m["at"]); err != nil {
		return r, fmt.Errorf("entry %d of the audit trail: %w", r.Number, err)
	}
	if err = json.Unmarshal([]byte(m["ids"]), &r.IDs); err != nil {
		return r, fmt.Errorf("ids of entry %d of the audit trail: %w", r.Number, err)
	}
	return r, nil
}
