package ledger

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Erasure names the person whose data is erased: a user, an address, or both.
type Erasure struct {
	UserID  *int64
	Address string
}

// erasePart is the number of mails that one transaction erases.
const erasePart = 1000

// Erase removes the data about a person from all mails: hash, masked form, domain and
// encrypted form of the address, the id of the user and the booking. The bounces of these
// mails, and all bounces of the address, lose it, too. The mails, their states
// and all counts remain. For a user it includes the mails to each address that the user got
// mail at, because codes are sent to an address without a user. It returns how many mails
// it changed. Mails stay erased when later events come. Events from before the erasure that
// still wait in the stream are stored without the data.
func (r *Reader) Erase(ctx context.Context, e Erasure) (erased int64, err error) {
	if e.UserID == nil && e.Address == "" {
		return 0, errors.New("erase: name a user or an address")
	}
	var conditions []string
	var args []any
	hashes, err := r.Hashes(ctx, e)
	if err != nil {
		return 0, err
	}
	if e.UserID != nil {
		conditions, args = append(conditions, "user_id = ?"), append(args, *e.UserID)
	}
	if len(hashes) > 0 {
		conditions, args = append(conditions, "rcpt_hash IN (?)"), append(args, hashes)
		if _, err := r.db.exec(ctx, r.db.db, "UPDATE evently_mail.bounces SET "+erasedBounce+" WHERE rcpt_hash IN (?)", hashes); err != nil {
			return 0, r.fault("erase bounces", err)
		}
	}
	if len(conditions) == 0 {
		return 0, nil
	}
	if err := r.db.keepErasure(ctx, e.UserID, hashes, time.Now()); err != nil {
		return 0, r.fault("note the erasure", err)
	}
	for {
		n, err := r.erasePart(ctx, strings.Join(conditions, " OR "), args)
		if err != nil {
			return erased, r.fault("erase", err)
		}
		erased += n
		if n < erasePart {
			return erased, nil
		}
	}
}

// Hashes returns the hashes of the addresses of a person, as far as the history has mails
// to them.
func (r *Reader) Hashes(ctx context.Context, e Erasure) (hashes [][]byte, err error) {
	if e.UserID != nil {
		if hashes, err = r.hashesOf(ctx, *e.UserID); err != nil {
			return nil, r.fault("look for the addresses of the user", err)
		}
	}
	if e.Address != "" {
		more, err := r.db.hashes(ctx, r.sealer, e.Address)
		if err != nil && !errors.Is(err, ErrNoKey) {
			return nil, r.fault("look for the address", err)
		}
		hashes = append(hashes, more...)
	}
	return hashes, nil
}

// hashesOf returns the hashes of the addresses that a user got mails at.
func (r *Reader) hashesOf(ctx context.Context, userID int64) (hashes [][]byte, err error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	err = r.db.query(ctx, r.db.db, &hashes, "SELECT DISTINCT rcpt_hash FROM evently_mail.mails WHERE user_id = ? AND rcpt_hash IS NOT NULL", userID)
	return hashes, err
}

// erasedBounce removes the data about a person from a bounce.
const erasedBounce = "rcpt_hash = NULL, rcpt_masked = NULL, rcpt_domain = NULL, words = ''"

// erasePart erases some mails. The writer waits meanwhile, so that it does not write back
// what it has read before.
func (r *Reader) erasePart(ctx context.Context, condition string, args []any) (n int64, err error) {
	err = r.db.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := r.db.lock(ctx, tx, lockWrite); err != nil {
			return err
		}
		var keys []struct {
			Mail      string `db:"mail"`
			FirstSeen stamp  `db:"first_seen"`
		}
		err := r.db.query(ctx, tx, &keys, "SELECT mail, first_seen FROM evently_mail.mails WHERE "+condition+" LIMIT ?", append(args[:len(args):len(args)], erasePart)...)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, k := range keys {
			changed, err := r.db.exec(ctx, tx, `UPDATE evently_mail.mails SET rcpt_hash = NULL, rcpt_masked = NULL, rcpt_domain = NULL,
				rcpt_sealed = NULL, user_id = NULL, booking = '', erased = ? WHERE mail = ? AND first_seen = ?`,
				true, k.Mail, r.db.time(k.FirstSeen.Time))
			if err != nil {
				return fmt.Errorf("change a mail: %w", err)
			}
			n += changed
			_, err = r.db.exec(ctx, tx, "UPDATE evently_mail.bounces SET "+erasedBounce+" WHERE mail = ?", k.Mail)
			if err != nil {
				return fmt.Errorf("change the bounces of a mail: %w", err)
			}
		}
		return nil
	})
	return n, err
}

// Names in the table meta of whom an erasure was for.
const (
	metaErased     = "erased."
	metaErasedUser = metaErased + "user."
	metaErasedHash = metaErased + "hash."
)

// erasedKept is how long an erasure is remembered. Events wait in the stream for as long as the
// database is unavailable.
const erasedKept = 30 * day

// keepErasure remembers an erasure for events from before it that come later. It is committed
// before mails are erased, so that a writer either knows of it, or has stored its events by then.
func (d *database) keepErasure(ctx context.Context, userID *int64, hashes [][]byte, now time.Time) error {
	var names []string
	if userID != nil {
		names = append(names, metaErasedUser+strconv.FormatInt(*userID, 10))
	}
	for _, h := range hashes {
		names = append(names, metaErasedHash+hex.EncodeToString(h))
	}
	return d.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		for _, name := range names {
			if _, err := d.exec(ctx, tx, "INSERT INTO evently_mail.meta AS t (name, value, changed_at) VALUES (?, '', ?) ON CONFLICT (name) DO UPDATE SET changed_at = excluded.changed_at",
				name, d.time(now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// erasures are the times of erasures by the names in the table meta.
type erasures map[string]time.Time

// erasures returns the erasures that are remembered.
func (d *database) erasures(ctx context.Context, tx *sqlx.Tx) (erasures, error) {
	var rows []struct {
		Name string `db:"name"`
		At   stamp  `db:"changed_at"`
	}
	if err := d.query(ctx, tx, &rows, "SELECT name, changed_at FROM evently_mail.meta WHERE name LIKE ?", metaErased+"%"); err != nil {
		return nil, fmt.Errorf("read the erasures: %w", err)
	}
	all := make(erasures, len(rows))
	for _, r := range rows {
		all[r.Name] = r.At.Time
	}
	return all, nil
}

// cover reports whether the person of an entry was erased after it was made.
func (all erasures) cover(e entry) bool {
	if len(all) == 0 {
		return false
	}
	ev := e.event
	for _, name := range []string{metaErasedUser + strconv.FormatInt(ev.UserID, 10), metaErasedHash + hex.EncodeToString(ev.Recipient.Hash)} {
		if at, ok := all[name]; ok && !e.at.After(at) {
			return true
		}
	}
	return false
}
