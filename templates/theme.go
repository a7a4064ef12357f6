package templates

import (
	"fmt"
	"math"
	"strconv"
)

// shade is one colour of the theme, in both colour schemes.
type shade struct{ light, dark string }

// palette returns the colour tokens. The lint checks the contrast of each text token with
// its backgrounds, in both schemes.
func palette() map[string]shade {
	return map[string]shade{
		"page":  {"#f3f4f8", "#0c0e13"},
		"card":  {"#ffffff", "#16191f"},
		"panel": {"#f7f8fb", "#1d2129"},
		"line":  {"#e3e6ee", "#2c313c"},
		"ink":   {"#12141d", "#f3f4f8"},
		"text":  {"#3f4557", "#c6cad6"},
		"muted": {"#5f6579", "#9aa1b3"},

		"accent":    {"#4338ca", "#aaa5ff"},
		"button":    {"#4f46e5", "#5a51e8"},
		"on-button": {"#ffffff", "#ffffff"},

		"good": {"#0a6640", "#74d9a8"}, "good-tint": {"#e5f5ec", "#12291f"}, "good-mark": {"#12a36b", "#2bb97f"},
		"bad": {"#a1281d", "#ffa79c"}, "bad-tint": {"#fdeeec", "#351b19"}, "bad-mark": {"#dc4a3a", "#e0604f"},
		"wait": {"#834707", "#f3c277"}, "wait-tint": {"#fdf2dc", "#302511"}, "wait-mark": {"#e59a1c", "#e0a23a"},
		"info": {"#4338ca", "#aaa5ff"}, "info-tint": {"#eeedfd", "#211f40"}, "info-mark": {"#4f46e5", "#6d66f0"},
		"calm": {"#4a5064", "#b9bfcf"}, "calm-tint": {"#eceef4", "#272c37"}, "calm-mark": {"#8d94a8", "#8a91a5"},
	}
}

// Tone is the status that a mail announces. It picks the colours of the head.
type Tone string

// The tones.
const (
	Good Tone = "good" // something worked out
	Bad  Tone = "bad"  // something is called off
	Wait Tone = "wait" // the clock is running
	Info Tone = "info" // an answer to an action of the reader
	Calm Tone = "calm" // for the record
)

// minContrast is the contrast of text that WCAG 2.2 requires (success criterion 1.4.3).
const minContrast = 4.5

// contrast returns the contrast ratio of WCAG 2.2 of two colours, which are written
// "#rrggbb": 1 for equal ones, 21 for black on white.
func contrast(a, b string) (float64, error) {
	la, err := luminance(a)
	if err != nil {
		return 0, err
	}
	lb, err := luminance(b)
	if err != nil {
		return 0, err
	}
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05), nil
}

func luminance(colour string) (float64, error) {
	n, err := strconv.ParseUint(colour[min(1, len(colour)):], 16, 24)
	if err != nil || len(colour) != 7 || colour[0] != '#' {
		return 0, fmt.Errorf("colour %q: want #rrggbb", colour)
	}
	sum := 0.0
	for _, channel := range []struct {
		shift  uint
		weight float64
	}{{16, 0.2126}, {8, 0.7152}, {0, 0.0722}} {
		v := float64(n>>channel.shift&0xff) / 255
		if v <= 0.04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += channel.weight * v
	}
	return sum, nil
}
