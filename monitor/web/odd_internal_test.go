package web

import "testing"

func TestShowOdd(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<p>plain 漢字 👩\u200d🚀 ünï</p>\n\t":                                      "<p>plain 漢字 👩\u200d🚀 ünï</p>\n\t",
		"<p>\x1b[31mred\x07</p>":                                                `<p>\x1b[31mred\x07</p>`,
		"<td title=\"\u202ea\">\u202etxt.exe</td>":                              "<td title=\"\\u202ea\">\\u202etxt.exe</td>",
		"<a href=\"\u202e\" title=\"x=\u202e &#34; \u202e\" data-x=\"\u202e\">": "<a href=\"\u202e\" title=\"x=\\u202e &#34; \\u202e\" data-x=\"\u202e\">",
		"<b aria-label=\"\u202e\"></b><b data-title=\"\u202e\"></b>":            "<b aria-label=\"\\u202e\"></b><b data-title=\"\u202e\"></b>",
		"<button data-copy=\"a\u202e\x1b\" title=\"Copy\">":                     "<button data-copy=\"a\\u202e\\x1b\" title=\"Copy\">",
		"<input value=\"a\u200b\"><b>a\u200b</b>":                               "<input value=\"a\u200b\"><b>a\\u200b</b>",
		"<textarea name=\"x\">\u202e</textarea>\u202e":                          "<textarea name=\"x\">\u202e</textarea>\\u202e",
		"<i>\u009b31m \u2066x\u2069 \ufeff \U000e0041 \u2028</i>":               `<i>\u009b31m \u2066x\u2069 \ufeff \ue0041 \u2028</i>`,
	} {
		if got := showOdd(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if got := showOdd(want); got != want {
			t.Errorf("%q changes again to %q", want, got)
		}
	}
}
