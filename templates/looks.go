package templates

import "fmt"

const (
	sans = "-apple-system,BlinkMacSystemFont,Segoe UI,Roboto,Helvetica,Arial,sans-serif"
	mono = "ui-monospace,SFMono-Regular,Menlo,Consolas,Liberation Mono,monospace"
)

// look is the style of one part of a mail: text, background and border token, and further
// declarations. "@" in a token means the tone.
type look struct{ fg, bg, border, css string }

// breaks lets long words wrap instead of widening the mail.
const breaks = "overflow-wrap:anywhere;word-break:break-word"

// looks returns the style of every part of every mail.
func looks() map[string]look {
	return map[string]look{
		// The frame.
		"body":     {fg: "text", bg: "page", css: "margin:0;padding:0;width:100%;" + font(400, 16, 26)},
		"preview":  {css: "display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;mso-hide:all"},
		"page":     {bg: "page", css: "width:100%"},
		"gutter":   {css: "padding:36px 16px 48px"},
		"column":   {css: "width:100%;max-width:560px;margin:0 auto"},
		"head":     {css: "padding:0 4px 20px"},
		"logo":     {fg: "on-button", bg: "button", css: "width:30px;height:30px;border-radius:9px;text-align:center;vertical-align:middle;" + font(700, 17, 30)},
		"wordmark": {fg: "ink", css: "padding-left:10px;letter-spacing:-.02em;" + font(700, 19, 30)},
		"card":     {bg: "card", border: "line", css: "border-width:1px;border-style:solid;border-radius:16px;overflow:hidden"},
		"sheet":    {bg: "card", css: "width:100%"},
		"hero":     {bg: "@-tint", css: "padding:28px 40px 26px"},
		"status":   {fg: "@", css: "margin:0 0 6px;" + font(600, 14, 22)},
		"dot":      {bg: "@-mark", css: "display:inline-block;width:8px;height:8px;margin:0 9px 1px 0;border-radius:4px;vertical-align:middle"},
		"inner":    {fg: "text", css: "padding:28px 40px 38px;" + font(400, 16, 26)},
		"foot":     {fg: "muted", css: "padding:24px 4px 0;" + font(400, 13, 21)},

		// Text.
		"h1":       {fg: "ink", css: "margin:0;letter-spacing:-.02em;" + breaks + ";" + font(700, 27, 34)},
		"h2":       {fg: "ink", css: "margin:0 0 8px;letter-spacing:-.01em;" + font(600, 17, 26)},
		"p":        {fg: "text", css: "margin:0 0 16px;" + breaks + ";" + font(400, 16, 26)},
		"last":     {fg: "text", css: "margin:0;" + breaks + ";" + font(400, 16, 26)},
		"fallback": {fg: "muted", css: "margin:14px 0 0;" + breaks + ";" + font(400, 13, 21)},
		"label":    {fg: "muted", css: "margin:0;" + font(500, 13, 20)},
		"address":  {fg: "accent", css: "text-decoration:underline;" + breaks},
		"strong":   {fg: "ink", css: "font-weight:600"},
		"whole":    {css: "white-space:nowrap"},
		"link":     {fg: "accent", css: "text-decoration:underline;" + breaks},

		// Facts.
		"panel":   {bg: "panel", border: "line", css: "width:100%;border-width:1px;border-style:solid;border-radius:12px"},
		"frame":   {css: "padding:8px 0 24px"},
		"panelin": {css: "padding:20px 24px"},
		"event":   {fg: "ink", css: "margin:2px 0 16px;letter-spacing:-.01em;" + breaks + ";" + font(600, 19, 27)},
		"lone":    {fg: "ink", css: "margin:2px 0 0;letter-spacing:-.01em;" + breaks + ";" + font(600, 19, 27)},
		"facts":   {border: "line", css: "width:100%;border-top-width:1px;border-top-style:dashed"},
		"th":      {fg: "muted", css: "width:104px;padding:12px 10px 0 0;text-align:left;vertical-align:top;white-space:nowrap;" + font(400, 14, 22)},
		"td":      {fg: "ink", css: "padding:12px 0 0;text-align:left;vertical-align:top;" + breaks + ";" + font(600, 14, 22)},
		"amount":  {fg: "ink", css: "padding:12px 0 0;text-align:left;vertical-align:top;" + font(600, 14, 22)},
		"value":   {fg: "ink", css: "margin:0;" + breaks + ";" + font(600, 15, 24)},
		"tile":    {css: "padding:14px 12px 0 0;vertical-align:top"},
		"number":  {fg: "ink", css: "margin:2px 0 0;letter-spacing:-.02em;" + breaks + ";" + font(700, 22, 30)},
		"dated":   {fg: "ink", css: "margin:5px 0 0;" + breaks + ";" + font(600, 16, 24)},

		// The code. Only CSS sets its letters apart, because spaces between the digits
		// would be copied and would hide the code from autofill. Spaces of the code are
		// shown and copied.
		"codebox":  {bg: "panel", border: "line", css: "padding:22px 12px;border-width:1px;border-style:solid;border-radius:12px;text-align:center"},
		"code":     {fg: "ink", css: "margin:8px 0;letter-spacing:.2em;text-indent:.2em;white-space:pre-wrap;overflow-wrap:anywhere;word-break:break-all;-webkit-user-select:all;user-select:all;" + fontOf(700, 38, 46, mono)},
		"codenote": {fg: "text", css: "margin:0;" + font(400, 14, 22)},

		// Steps and buttons.
		"stepcell":   {css: "width:44px;padding:6px 0;vertical-align:top"},
		"step":       {fg: "info", bg: "info-tint", css: "width:28px;height:28px;border-radius:14px;text-align:center;" + font(600, 14, 28)},
		"steptext":   {fg: "text", css: "padding:7px 0 6px;vertical-align:top;" + font(400, 16, 26)},
		"buttonbox":  {css: "padding:24px 0 0"},
		"buttonrow":  {},
		"buttoncell": {bg: "button", css: "border-radius:10px"},
		"button":     {fg: "on-button", bg: "button", css: "display:inline-block;padding:13px 26px;border-radius:10px;text-decoration:none;" + font(600, 16, 22)},
	}
}

func font(weight, size, line int) string { return fontOf(weight, size, line, sans) }

// fontOf writes separate properties, because Word drops parts of the shorthand.
func fontOf(weight, size, line int, family string) string {
	return fmt.Sprintf("font-weight:%d;font-size:%dpx;line-height:%dpx;font-family:%s", weight, size, line, family)
}
