package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/evently/workers/store/internal/lookups"
)

// ErrNoUser says that there is no active user with that id, or none that has
// an address. Every other error of [Store.Email] is worth another attempt.
var ErrNoUser = errors.New("no such user")

// Email returns the address of an active user. For a user that is missing,
// inactive or without an address the error is [ErrNoUser]; any other error
// says nothing about the user, and an [AccessError] is about no user at all. It
// comes within Config.QueryTimeout, a second later when the server is frozen. With
// every connection in use that time begins when one is free, see [Store.Acquire].
//
// Users that are looked up at the same time share a query.
func (s *Store) Email(ctx context.Context, userID int64) (string, error) {
	address, err := s.address(ctx, userID)
	if err == nil && address == "" || errors.Is(err, sql.ErrNoRows) || beyondColumn(err) {
		err = ErrNoUser
	}
	if errors.Is(err, ErrNoUser) {
		return "", fmt.Errorf("user %d: %w", userID, err)
	}
	if err != nil {
		return "", fmt.Errorf("look up the address of user %d: %w", userID, err)
	}
	return address, nil
}

// address looks up one user, in a query with others if s has lookups.
func (s *Store) address(ctx context.Context, userID int64) (string, error) {
	if s.lookups == nil {
		ctx, cancel := s.deadline(ctx)
		defer cancel()
		return s.email(ctx, userID)
	}
	return s.lookups.Ask(ctx, userID)
}

// answer answers lookups in one query. A single one is that of [Store.email].
func (s *Store) answer(ctx context.Context, ls []*lookups.Lookup[int64, string]) {
	found, err := map[int64]string{}, error(nil)
	if len(ls) > 1 {
		found, err = s.emails(ctx, ls)
	}
	alone := len(ls) == 1 || concernsOne(err)
	var hidden error
	asked := false
	for _, l := range ls {
		email, isThere := found[l.Key]
		failed := err
		if alone {
			email, failed = s.email(ctx, l.Key)
		} else if failed == nil && !isThere {
			failed = sql.ErrNoRows
		}
		if errors.Is(failed, sql.ErrNoRows) {
			if !asked {
				hidden, asked = s.rowsHidden(ctx), true
			}
			if hidden != nil {
				failed = hidden
			}
		}
		l.Answer(email, failed)
	}
}

// emails returns the addresses of the active users among ls.
func (s *Store) emails(ctx context.Context, ls []*lookups.Lookup[int64, string]) (map[int64]string, error) {
	ids := make([]int64, len(ls))
	for i, l := range ls {
		ids[i] = l.Key
	}
	var rows []struct {
		ID    int64          `db:"id"`
		Email sql.NullString `db:"email"`
	}
	err := s.db.SelectContext(ctx, &rows, `SELECT id, email FROM users WHERE id = ANY($1) AND is_active = true`, pq.Array(ids))
	if err != nil {
		return nil, s.fault(ctx, err)
	}
	found := make(map[int64]string, len(rows))
	for _, row := range rows {
		found[row.ID] = strings.TrimSpace(row.Email.String)
	}
	return found, nil
}

// concernsOne reports whether one id of several may have caused the error of their query,
// such as one that does not fit the column.
func concernsOne(err error) bool {
	if _, ok := errors.AsType[*AccessError](err); ok {
		return false
	}
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code.Class() == pqerror.ClassDataException
}

// email looks up one user. Its error is sql.ErrNoRows, an [AccessError], or what else came
// in the way.
func (s *Store) email(ctx context.Context, userID int64) (string, error) {
	var email sql.NullString
	err := s.db.GetContext(ctx, &email, `SELECT email FROM users WHERE id = $1 AND is_active = true`, userID)
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		return strings.TrimSpace(email.String), err
	}
	return "", s.fault(ctx, err)
}

// fault returns the error of a statement as an [AccessError] if it is one.
func (s *Store) fault(ctx context.Context, err error) error {
	if e := accessError(err); e != nil {
		return e
	}
	return cause(ctx, err)
}

// rowsHidden returns an [AccessError] when row-level security hides all rows of
// users from us. PostgreSQL then answers as if there were no users.
func (s *Store) rowsHidden(ctx context.Context) error {
	if s.db.DriverName() != driverName {
		return nil
	}
	var hidden bool
	err := s.db.GetContext(ctx, &hidden,
		`SELECT CASE WHEN row_security_active('users') THEN NOT EXISTS (SELECT FROM users) ELSE false END`)
	if err != nil || !hidden {
		return nil // the lookup itself was answered
	}
	return &AccessError{Words: "row-level security hides all rows of users", Remedy: remedyRows}
}

// beyondColumn reports whether the id does not fit the column, a 32-bit
// integer, so that no user can have it.
func beyondColumn(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code == pqerror.NumericValueOutOfRange
}
