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
// says nothing about the user. It comes within Config.QueryTimeout, a second
// later when the server is frozen.
func (s *Store) Email(ctx context.Context, userID int64) (string, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	var email sql.NullString
	err := s.db.GetContext(ctx, &email, `SELECT email FROM users WHERE id = $1 AND is_active = true`, userID)
	if err == nil {
		if address := strings.TrimSpace(email.String); address != "" {
			return address, nil
		}
		err = ErrNoUser
	}
	if errors.Is(err, sql.ErrNoRows) || beyondColumn(err) {
		err = ErrNoUser
	}
	if errors.Is(err, ErrNoUser) {
		return "", fmt.Errorf("user %d: %w", userID, err)
	}
	return "", fmt.Errorf("look up the address of user %d: %w", userID, cause(ctx, err))
}

// beyondColumn reports whether the id does not fit the column, a 32-bit
// integer, so that nobody can have it.
func beyondColumn(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code == pqerror.NumericValueOutOfRange
}
