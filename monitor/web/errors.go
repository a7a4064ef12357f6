package web

import (
	"fmt"
	"net/http"
)

// NotFoundError says that the thing of a URL does not exist.
type NotFoundError struct {
	Text  string
	Links []Link // where it may be instead
}

func (e *NotFoundError) Error() string { return e.Text }

// NotFound returns the error of a page for a thing that does not exist. text is a sentence
// for people.
func NotFound(text string) error { return &NotFoundError{Text: text} }

// InvalidError says that a form or a query cannot be used as it is.
type InvalidError struct{ Text string }

func (e *InvalidError) Error() string { return e.Text }

// Invalid returns the error of a form that cannot be used. text says what is wrong and what
// is right.
func Invalid(text string) error { return &InvalidError{text} }

// MissingError says that a page lacks a part of the service, and how to get it.
type MissingError struct {
	What   string // heading, such as "No history of mails"
	Advice string // what to do; lines are paragraphs
}

func (e *MissingError) Error() string { return e.What + ": " + e.Advice }

// Missing returns the error of a page that lacks a part of the service, such as a database
// that is not configured or does not answer. what is a heading and advice says what to do.
func Missing(what, advice string) error { return &MissingError{What: what, Advice: advice} }

// RedirectError leads the reader of a page to another one.
type RedirectError struct{ Location string }

func (e *RedirectError) Error() string { return "redirect to " + e.Location }

// Redirect returns the error of a page that is found elsewhere on this site, such as a search
// with one result.
func Redirect(location string) error { return &RedirectError{location} }

// ForbiddenError says that the sender of a request must not do this.
type ForbiddenError struct{ Text string }

func (e *ForbiddenError) Error() string { return e.Text }

// Forbidden returns the error of a page or an action that its sender must not use.
func Forbidden(text string) error { return &ForbiddenError{text} }

// problem is the view of a page that could not be shown.
type problem struct {
	Status  int
	Heading string
	Text    string
	ID      string // in the log
	Missing *MissingError
	Links   []Link
	Back    string // path; "": the overview
}

// Title implements the title of the page.
func (p *problem) Title() string { return p.Heading }

// roleProblem is the page for a reader who has another role than the one that is needed.
func roleProblem(has, needs Role, readOnly bool) *problem {
	text := fmt.Sprintf("This needs the role %s, and yours is %s.", needs, has)
	if readOnly {
		text = "This monitor is read-only (MONITOR_READ_ONLY): nothing was done."
	}
	return &problem{Status: http.StatusForbidden, Heading: "Not allowed", Text: text}
}
