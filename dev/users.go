package dev

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

// User is a row of the embedded users table for the page.
type User struct {
	ID       int64
	Email    string
	Username string
	FullName string
	Active   bool
}

// seed returns the users of the embedded database: ordinary ones, an inactive one, and
// users whose names break layouts and encodings.
func seed() []User {
	return []User{
		{1, "ada@evently.test", "ada", "Ada Lovelace", true},
		{2, "grace@evently.test", "grace", "Grace Hopper", true},
		{3, "juergen@evently.test", "jürgen", "Jürgen Groß 🎉", true},
		{4, "wolfeschlegelsteinhausenbergerdorff@evently.test", "wolfeschlegelsteinhausenbergerdorff",
			"Hubert Blaine Wolfeschlegelsteinhausenbergerdorff Senior of Philadelphia and Hamburg", true},
		{5, "former@evently.test", "former", "Former Customer", false},
	}
}

// usersSchema is the table of the auth service in the dialect of SQLite, which has neither
// enum nor timestamptz.
const usersSchema = `
CREATE TABLE users (
	id              integer      PRIMARY KEY,
	email           varchar(255) NOT NULL UNIQUE,
	username        varchar(100) NOT NULL UNIQUE,
	hashed_password varchar(255) NOT NULL,
	full_name       varchar(255),
	is_active       boolean      NOT NULL DEFAULT true,
	is_verified     boolean      NOT NULL DEFAULT false,
	role            text         NOT NULL DEFAULT 'USER' CHECK (role IN ('USER', 'ADMIN')),
	created_at      timestamp    NOT NULL,
	updated_at      timestamp    NOT NULL,
	last_login      timestamp
)`

// openUsers makes the users table in memory and fills it. Queries fail while c has switched
// the database off. The caller closes the database.
func openUsers(ctx context.Context, now time.Time, users []User, c *chaos) (db *sqlx.DB, err error) {
	db = sqlx.NewDb(sql.OpenDB(chaoticDriver{new(sqlite.Driver), ":memory:", c}), "sqlite")
	// Every connection to ":memory:" opens another database.
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(0)
	db.SetConnMaxLifetime(0)
	if err := fillUsers(ctx, db, now, users); err != nil {
		db.Close()
		return nil, fmt.Errorf("fill the embedded database: %w", err)
	}
	return db, nil
}

func fillUsers(ctx context.Context, db *sqlx.DB, now time.Time, users []User) error {
	if _, err := db.ExecContext(ctx, usersSchema); err != nil {
		return err
	}
	for i, u := range users {
		role := "USER"
		if i == 0 {
			role = "ADMIN"
		}
		// "!" is not the hash of any password, so the user cannot log in.
		_, err := db.ExecContext(ctx, `INSERT INTO users
			(id, email, username, hashed_password, full_name, is_active, is_verified, role, created_at, updated_at)
			VALUES ($1, $2, $3, '!', $4, $5, true, $6, $7, $7)`,
			u.ID, u.Email, u.Username, u.FullName, u.Active, role, now.UTC())
		if err != nil {
			return fmt.Errorf("user %d: %w", u.ID, err)
		}
	}
	return nil
}
