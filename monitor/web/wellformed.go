package web

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// wellFormed refuses requests whose path or query has a NUL or is not UTF-8. No name has
// these, and a database refuses them.
func wellFormed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.QueryUnescape(r.URL.RawQuery)
		if err != nil {
			query = "" // parameters that cannot be read are left out
		}
		if !isText(r.URL.Path) || !isText(query) {
			http.Error(w, "The address of the page has characters that are no text.", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wellFormedForm reports whether all fields of a form are text.
func wellFormedForm(form url.Values) bool {
	for name, values := range form {
		if !isText(name) {
			return false
		}
		for _, v := range values {
			if !isText(v) {
				return false
			}
		}
	}
	return true
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
