package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// ErrNoUser says that there is no active user with that id, or none that has
// an address. Every other error of [Store.Email] is worth another attempt.
var ErrNoUser = errors.New("no such user")

// Email returns the address of an active user. For a user that is missing,
// inactive or without an address the error is [ErrNoUser]; any other error
// says nothing about the user, and an [AccessError] is about no user at all. It
// comes within Config.QueryTimeout, a second later when the server is frozen.
func (s *Store) Email(ctx context.Context, userID int64) (string, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	address, err := s.email(ctx, userID)
	if errors.Is(err, sql.ErrNoRows) {
		if hidden := s.rowsHidden(ctx); hidden != nil {
			return "", fmt.Errorf("look up the address of user %d: %w", userID, hidden)
		}
		err = ErrNoUser
	}
	if err == nil && address == "" || beyondColumn(err) {
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

// email runs the one statement of this package. Its error is sql.ErrNoRows, an
// [AccessError], or what else came in the way.
func (s *Store) email(ctx context.Context, userID int64) (string, error) {
	var email sql.NullString
	err := s.db.GetContext(ctx, &email, `SELECT email FROM users WHERE id = $1 AND is_active = true`, userID)
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		return strings.TrimSpace(email.String), err
	}
	if e := accessError(err); e != nil {
		return "", e
	}
	return "", cause(ctx, err)
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
