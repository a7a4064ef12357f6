package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"unicode"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// AccessError is a fault of the database's rights, schema, login or capacity: a
// lookup of any user fails with it until a person or the server mends it. So it
// must cost no mail its attempts.
type AccessError struct {
	// Code is the SQLSTATE, as in appendix A of the PostgreSQL manual; "" when TLS
	// or row-level security is at fault.
	Code string

	// Words say what is wrong, and Remedy says what to do about it. Both are safe
	// to show: they hold no name of a user, database or host.
	Words, Remedy string

	Err error // cause, with the server's own words; nil for row-level security
}

func (e *AccessError) Error() string {
	if e.Err == nil {
		return e.Summary()
	}
	return e.Err.Error() + "; " + e.Remedy
}

func (e *AccessError) Unwrap() error { return e.Err }

// Summary returns the fault in a few words that all may read.
func (e *AccessError) Summary() string {
	text := e.Words
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	return text + "; " + e.Remedy
}

// Passing reports whether the fault usually ends by itself: the server starts, stops, or
// is out of connections or other resources. The others end when a person acts.
func (e *AccessError) Passing() bool {
	if len(e.Code) < 2 {
		return false
	}
	switch pqerror.Code(e.Code).Class() {
	case pqerror.ClassConnectionException, pqerror.ClassInsufficientResources, pqerror.ClassOperatorIntervention, pqerror.ClassObjectNotInPrerequisiteState:
		return true
	}
	return false
}

// Restarting reports whether the server stops or starts, and takes no connections until it is
// ready.
func (e *AccessError) Restarting() bool {
	switch pqerror.Code(e.Code) {
	case pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow:
		return true
	}
	return false
}

// LoginRefused reports whether the server refuses the user or the password.
func (e *AccessError) LoginRefused() bool {
	return e.Code == string(pqerror.InvalidPassword) || e.Code == string(pqerror.InvalidAuthorizationSpecification)
}

// Remedies of faults.
const (
	remedyGrant     = "run GRANT SELECT ON users TO the user of DB_USER or DATABASE_URL, and GRANT USAGE on the schema of the table"
	remedyConnect   = "run GRANT CONNECT ON DATABASE for the user of DB_USER or DATABASE_URL"
	remedyTable     = "check DB_NAME or DATABASE_URL, and whether users is in the search_path of the user"
	remedyColumns   = "users must have the columns id (integer), email and is_active (boolean)"
	remedyLogin     = "check DB_USER and DB_PASSWORD, or DATABASE_URL, and pg_hba.conf of the server"
	remedyDatabase  = "check DB_NAME, or DATABASE_URL"
	remedyResources = "free resources of the server, or raise max_connections; a worker opens up to 8 connections, and 3 for the history of mails"
	remedyServer    = "wait until the server has started, or look at its log"
	remedyTLS       = "check DB_SSLMODE, or sslmode in DATABASE_URL, and the certificate of the server"
	remedyRows      = "run CREATE POLICY … FOR SELECT on users, or ALTER ROLE … BYPASSRLS, for the user of DB_USER or DATABASE_URL"
	remedyLog       = "look at the log of PostgreSQL"
)

// accessError returns err as an [AccessError], nil when it is none.
func accessError(err error) *AccessError {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return serverFault(e)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, pq.ErrSSLNotSupported):
		return &AccessError{Words: "the server offers no TLS", Remedy: remedyTLS, Err: err}
	case unknown, untrusted:
		return &AccessError{Words: "the certificate of the server is not trusted", Remedy: remedyTLS, Err: err}
	}
	return nil
}

// serverFault sorts what PostgreSQL, or a pooler before it, answers.
func serverFault(e *pq.Error) *AccessError {
	text, remedy := statementFault(e)
	if e.Severity == pqerror.SeverityFatal || e.Severity == pqerror.SeverityPanic || e.Code.Class() == pqerror.ClassConnectionException {
		text, remedy = sessionFault(e.Code)
	}
	if text == "" {
		return nil
	}
	return &AccessError{Code: string(e.Code), Words: text, Remedy: remedy, Err: e}
}

// statementFault sorts answers to the statement. It is always the same, so an
// answer of class 42 is about the schema or the rights.
func statementFault(e *pq.Error) (text, remedy string) {
	switch e.Code {
	case pqerror.InsufficientPrivilege:
		return words(e), remedyGrant
	case pqerror.UndefinedTable:
		return words(e), remedyTable
	case pqerror.InvalidTextRepresentation, pqerror.InvalidDatetimeFormat:
		return "users has other columns than expected: " + words(e), remedyColumns
	case pqerror.QueryCanceled:
		return "", "" // by a time-out of the server
	}
	switch e.Code.Class() {
	case pqerror.ClassSyntaxErrorOrAccessRuleViolation:
		return "users has other columns than expected: " + words(e), remedyColumns
	case pqerror.ClassInsufficientResources:
		return "the server is out of memory, disk or other resources", remedyResources
	case pqerror.ClassOperatorIntervention, pqerror.ClassObjectNotInPrerequisiteState:
		return "the server or the table is not available", remedyServer
	}
	return "", ""
}

// sessionFault sorts answers that refuse or end the session. They are about
// neither the user that is looked up nor the mail.
func sessionFault(code pqerror.Code) (text, remedy string) {
	if code == pqerror.InsufficientPrivilege {
		return "the user may not connect to the database", remedyConnect
	}
	switch code.Class() {
	case pqerror.ClassInvalidAuthorizationSpecification:
		return "the server refuses the login", remedyLogin
	case pqerror.ClassInvalidCatalogName:
		return "there is no such database", remedyDatabase
	case pqerror.ClassInsufficientResources:
		return "the server is out of connections", remedyResources
	case pqerror.ClassOperatorIntervention, pqerror.ClassObjectNotInPrerequisiteState:
		return "the server starts, stops or takes no connections", remedyServer
	}
	return "the server or a pooler before it refuses the connection", remedyLog
}

// words returns the server's message, which here names nothing but what the
// statement itself names.
func words(e *pq.Error) string {
	const most = 200
	text := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, e.Message))
	return string(text[:min(len(text), most)])
}
