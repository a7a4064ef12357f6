// Package e2e holds the acceptance tests: the built program, as a black box,
// between real Python Celery, Redis, PostgreSQL and SMTP. "make setup" installs
// what they need.
package e2e
