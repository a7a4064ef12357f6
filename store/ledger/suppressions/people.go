package suppressions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
)

// Addition is a suppression that a person adds. Address and Note are required.
type Addition struct {
	Address string
	Scope   Scope     // default: AllMails
	Expires time.Time // zero: it does not end by itself
	By      string    // person
	Note    string    // reason
}

// ErrPassed is the error of a suppression that would have ended already.
var ErrPassed = errors.New("the end of the suppression has passed: write a time to come")

// Add adds a suppression of a person. It replaces one that is in force. The result is the
// new one; replaced reports whether there was one in force.
func (s *Store) Add(ctx context.Context, a Addition) (added Suppression, replaced bool, err error) {
	if strings.TrimSpace(a.Note) == "" {
		return added, false, errReason
	}
	h, err := s.hasher(ctx, a.Address)
	if err != nil {
		return added, false, fault("add a suppression", err)
	}
	to, hashes := s.recipientOf(h, a.Address), h.Hashes(a.Address)
	now := s.now()
	if !a.Expires.IsZero() && !a.Expires.After(now) {
		return added, false, ErrPassed
	}
	if a.Scope == "" {
		a.Scope = AllMails
	}
	r := row{
		Hash: to.Hash, Scope: a.Scope, Class: Operator, Source: FromOperator, Masked: to.Masked, Domain: to.Domain, Sealed: to.Sealed,
		First: ledger.Time{Time: now}, Last: ledger.Time{Time: now}, Expires: ledger.Time{Time: a.Expires},
		CreatedBy: line(a.By, maxID), Note: line(a.Note, maxNote),
	}
	err = s.change(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		// An older key of the address may have a row; it ends in favour of this one.
		var old []row
		if err := s.db.Select(ctx, tx, &old, "SELECT "+columns+" FROM evently_mail.suppressions WHERE rcpt_hash IN (?) AND scope = ? FOR UPDATE", hashes, string(a.Scope)); err != nil {
			return err
		}
		for _, o := range old {
			if o.isActive(now) {
				replaced = true
				r.Hits, r.First = max(r.Hits, o.Hits), ledger.Time{Time: earlier(r.First.Time, o.First.Time)}
			}
		}
		if _, err := s.db.Exec(ctx, tx, "DELETE FROM evently_mail.suppressions WHERE rcpt_hash IN (?) AND scope = ?", hashes, string(a.Scope)); err != nil {
			return err
		}
		return s.put(ctx, tx, r)
	})
	if err != nil {
		return added, false, fault("add a suppression", err)
	}
	return s.suppression(r), replaced, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hasher returns the keys for an address that a person wrote, and checks it.
func (s *Store) hasher(ctx context.Context, address string) (ledger.Hasher, error) {
	if err := CheckAddress(address); err != nil {
		return ledger.Hasher{}, err
	}
	ctx, cancel := s.db.Deadline(ctx)
	defer cancel()
	return s.db.Hasher(ctx, s.sealer)
}

// recipientOf returns the stored form of an address. Without a key of the operator the hash
// is that of the newest key in the database.
func (s *Store) recipientOf(h ledger.Hasher, address string) ledger.Recipient {
	r := s.sealer.Seal(address)
	r.Hash = h.Hashes(address)[0]
	r.Masked, r.Domain = line(r.Masked, maxID), line(r.Domain, maxID)
	return r
}

// CheckAddress reports what is wrong with the form of an address.
func CheckAddress(address string) error {
	const longest = 254
	address = strings.TrimSpace(address)
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || len(address) > longest || strings.ContainsAny(address, " \t\r\n,;<>\x00") {
		return errors.New("it is not an address: write it whole, as ada@example.com")
	}
	return nil
}

// change runs f in a transaction that is the only one to change mails and suppressions.
func (s *Store) change(ctx context.Context, f func(ctx context.Context, tx *sqlx.Tx) error) error {
	return s.db.Transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := s.db.LockMails(ctx, tx); err != nil {
			return err
		}
		return f(ctx, tx)
	})
}

// Release ends the suppressions in force that f chooses. Evidence up to now does not count
// any more. by is the person, and reason is required. It returns how many it has ended.
func (s *Store) Release(ctx context.Context, f Filter, by, reason string) (released int64, err error) {
	if strings.TrimSpace(reason) == "" {
		return 0, errReason
	}
	if f.isEmpty() {
		return 0, errors.New("name what to release")
	}
	f.State = Active
	where, args, err := s.conditions(ctx, f)
	if errors.Is(err, ledger.ErrNoKey) {
		return 0, nil // no address was ever stored
	}
	if err != nil {
		return 0, fault("release suppressions", err)
	}
	err = s.change(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		args := append([]any{s.db.Param(s.now()), line(by, maxID), line(reason, maxNote)}, args...)
		released, err = s.db.Exec(ctx, tx, "UPDATE evently_mail.suppressions SET ended_at = ?, ended_by = ?, ended_note = ? WHERE "+where, args...)
		return err
	})
	if err != nil {
		return 0, fault("release suppressions", err)
	}
	return released, nil
}

// Erase removes what the tables have about the addresses of a person. Of a complaint, and of
// a suppression that a person has added, the hash remains with the scope, so that the
// objection to mails is still heeded; suppressions by other evidence are removed. It returns
// how many suppressions it has changed or removed.
func (s *Store) Erase(ctx context.Context, hashes [][]byte) (erased int64, err error) {
	if len(hashes) == 0 {
		return 0, nil
	}
	err = s.change(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := s.db.Exec(ctx, tx, "DELETE FROM evently_mail.suppression_evidence WHERE rcpt_hash IN (?)", hashes); err != nil {
			return err
		}
		const kept = "(class = ? OR source IN (?)) AND ended_at IS NULL"
		args := []any{hashes, string(Complaint), []string{string(FromOperator), string(FromImport)}}
		if erased, err = s.db.Exec(ctx, tx, "DELETE FROM evently_mail.suppressions WHERE rcpt_hash IN (?) AND NOT ("+kept+")", args...); err != nil {
			return err
		}
		n, err := s.db.Exec(ctx, tx, `UPDATE evently_mail.suppressions SET rcpt_masked = '', rcpt_domain = '', rcpt_sealed = NULL,
			diagnostic = '', mail = '', task_id = '', note = '' WHERE rcpt_hash IN (?) AND `+kept, args...)
		erased += n
		return err
	})
	if err != nil {
		return 0, fault("erase suppressions", err)
	}
	return erased, nil
}

// Maintain implements [ledger.Follower]: it removes old evidence and suppressions that ended
// before that time, and gives rows of a former key the hash of the present one. Evidence of a
// suppression in force remains.
func (s *Store) Maintain(ctx context.Context, before time.Time) error {
	if err := s.rekey(ctx); err != nil {
		return fault("move suppressions to the present key", err)
	}
	err := s.db.Transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		old := s.db.Param(before)
		if _, err := s.db.Exec(ctx, tx, removeEnded, old, old); err != nil {
			return err
		}
		_, err := s.db.Exec(ctx, tx, `DELETE FROM evently_mail.suppression_evidence WHERE at < ? AND NOT EXISTS (
			SELECT 1 FROM evently_mail.suppressions s WHERE s.rcpt_hash = evently_mail.suppression_evidence.rcpt_hash)`, old)
		return err
	})
	if err != nil {
		return fault("remove old suppressions", err)
	}
	return nil
}

const removeEnded = "DELETE FROM evently_mail.suppressions WHERE ended_at < ? OR expires_at < ?"

// rekey gives rows whose address can be read the hash and the encryption of the present key,
// so that they are found when the former key is left out.
func (s *Store) rekey(ctx context.Context) error {
	if !s.sealer.HasFormer() {
		return nil
	}
	const part = 500
	after := []byte{}
	for {
		var rows []row
		err := s.change(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			rows = nil
			err := s.db.Select(ctx, tx, &rows, "SELECT "+columns+" FROM evently_mail.suppressions WHERE rcpt_sealed IS NOT NULL AND rcpt_hash > ? ORDER BY rcpt_hash, scope LIMIT ? FOR UPDATE", after, part)
			if err != nil {
				return err
			}
			for _, r := range rows {
				if err := s.rekeyOne(ctx, tx, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(rows) < part {
			return nil
		}
		after = rows[len(rows)-1].Hash
	}
}

// rekeyOne moves one row to the present key, unless that key has one that says as much.
func (s *Store) rekeyOne(ctx context.Context, tx *sqlx.Tx, r row) error {
	address, err := s.sealer.Open(r.Sealed)
	if err != nil {
		return nil // of a key that is not set
	}
	to := s.sealer.Seal(address)
	if len(to.Hash) == 0 || string(to.Hash) == string(r.Hash) {
		return nil
	}
	old := r.Hash
	if _, err := s.db.Exec(ctx, tx, "DELETE FROM evently_mail.suppressions WHERE rcpt_hash = ? AND scope = ?", old, string(r.Scope)); err != nil {
		return err
	}
	if _, err := s.db.Exec(ctx, tx, "UPDATE evently_mail.suppression_evidence SET rcpt_hash = ? WHERE rcpt_hash = ?", to.Hash, old); err != nil {
		return err
	}
	r.Hash, r.Sealed, r.Masked, r.Domain = to.Hash, to.Sealed, to.Masked, to.Domain
	var there []row
	if err := s.db.Select(ctx, tx, &there, "SELECT "+columns+" FROM evently_mail.suppressions WHERE rcpt_hash = ? AND scope = ?", to.Hash, string(r.Scope)); err != nil {
		return err
	}
	if now := s.now(); len(there) > 0 && (!r.isActive(now) || there[0].isActive(now) && isWeaker(r, there[0])) {
		return nil
	}
	if err := s.put(ctx, tx, r); err != nil {
		return fmt.Errorf("move a suppression: %w", err)
	}
	return nil
}
