package web

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// Notice is a sentence about what was just done.
type Notice struct {
	Text string
	Tone Tone
}

// The notice of an action travels to the next page in a cookie that ends there. It has no
// effect but being shown, escaped.
const (
	noticeCookie = "evently_notice"
	noticeBytes  = 1024
	noticeAge    = 60
)

func setNotice(w http.ResponseWriter, n Notice) {
	if n.Text == "" {
		return
	}
	text := n.Text
	if len(text) > noticeBytes {
		text = strings.ToValidUTF8(text[:noticeBytes], "") + "…"
	}
	http.SetCookie(w, &http.Cookie{
		Name: noticeCookie, Value: string(n.Tone) + "." + base64.RawURLEncoding.EncodeToString([]byte(text)),
		Path: "/", MaxAge: noticeAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// takeNotice returns the notice of the action before, which is then over.
func takeNotice(w http.ResponseWriter, r *http.Request) *Notice {
	c, err := r.Cookie(noticeCookie)
	if err != nil {
		return nil
	}
	http.SetCookie(w, &http.Cookie{Name: noticeCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	tone, value, _ := strings.Cut(c.Value, ".")
	text, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(text) == 0 || len(text) > 2*noticeBytes {
		return nil
	}
	return &Notice{Text: strings.ToValidUTF8(string(text), "\uFFFD"), Tone: Tone(tone).known()}
}
