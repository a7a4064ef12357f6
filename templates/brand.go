package templates

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/evently/workers/templates/internal/wording"
)

// Logo is the picture in the head of the mails.
type Logo struct {
	URL           string // https, where mail programs load it
	Width, Height int    // in pixels, as it is shown
}

// Bounds of a logo, in pixels, and of the postal address, in characters.
const (
	maxLogoWidth  = 320
	maxLogoHeight = 96
	maxPostal     = 200
)

// address returns where the logo is, "" without one.
func (l *Logo) address() string {
	if l == nil {
		return ""
	}
	return l.URL
}

var hexColour = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^#[0-9a-f]{6}$`) })

// checkBrand checks what Options say about the looks, and puts it on the page.
func (o Options) checkBrand(p *Page) (faults []error) {
	fault := func(field, reason, want string) { faults = append(faults, &OptionError{field, reason, want}) }
	if o.Brand != "" && Clean(o.Brand, MaxName) != o.Brand {
		fault("Brand", "not a name on one line of at most "+strconv.Itoa(MaxName)+" characters", "one like Evently")
	}
	colours := map[string]string{"Color": o.Color, "LinkColor": o.LinkColor, "ButtonTextColor": o.ButtonTextColor}
	wrong := false
	for _, field := range []string{"Color", "LinkColor", "ButtonTextColor"} {
		if c := colours[field]; c != "" && !hexColour().MatchString(strings.ToLower(c)) {
			fault(field, strconv.Quote(c)+" is not a colour", "one like #4f46e5")
			wrong = true
		}
	}
	if !wrong {
		faults = append(faults, o.checkContrast()...)
	}
	if p.Address = Clean(o.Address, maxPostal); p.Address != o.Address {
		fault("Address", fmt.Sprintf("not one line of at most %d characters", maxPostal), "one like Evently GmbH, Hafenstr. 1, 20457 Hamburg")
	}
	if o.Logo != nil {
		if reason, want := o.Logo.check(); reason != "" {
			fault("Logo", reason, want)
		}
		if l := o.Logo; l.Width < 1 || l.Height < 1 || l.Width > maxLogoWidth || l.Height > maxLogoHeight {
			fault("LogoSize", fmt.Sprintf("%dx%d pixels", l.Width, l.Height), fmt.Sprintf("1x1 to %dx%d", maxLogoWidth, maxLogoHeight))
		}
		p.Logo = o.Logo
	}
	if o.Locale != "" && wording.Locale(o.Locale) == "" {
		fault("Locale", strconv.Quote(o.Locale)+" is no language", "one like de, de-AT or en")
	}
	return faults
}

func (l *Logo) check() (reason, want string) {
	u, err := httpsURL(l.URL)
	switch {
	case err != nil:
		return err.Error(), "one like https://example.com/logo.png"
	case u.String() != l.URL:
		return "not written as mail programs ask for it", u.String()
	case strings.HasSuffix(strings.ToLower(u.Path), ".svg"):
		return "an SVG, which most mail programs do not show", "the address of a PNG"
	}
	return "", ""
}

// linkGrounds returns the grounds on which links and accents stand.
func linkGrounds() []string { return []string{"card", "page", "panel", "info-tint"} }

// checkContrast refuses colours that were given and cannot be read.
func (o Options) checkContrast() (faults []error) {
	colours := o.palette()
	if o.LinkColor != "" {
		if ground, ratio := faintest(strings.ToLower(o.LinkColor), colours, false); ratio < minContrast {
			faults = append(faults, &OptionError{"LinkColor", fmt.Sprintf("%s on %s has a contrast of %.2f; readers need %.1f", o.LinkColor, ground, ratio, minContrast),
				readable(strings.ToLower(o.LinkColor), colours, false)})
		}
	}
	if o.ButtonTextColor != "" {
		button := colours["button"].light
		if ratio, err := contrast(strings.ToLower(o.ButtonTextColor), button); err == nil && ratio < minContrast {
			faults = append(faults, &OptionError{"ButtonTextColor", fmt.Sprintf("%s on %s has a contrast of %.2f; readers need %.1f", o.ButtonTextColor, button, ratio, minContrast),
				onto(button) + ", or nothing"})
		}
	}
	return faults
}

// palette returns the colours of the brand.
func (o Options) palette() map[string]shade {
	colours := maps.Clone(palette())
	if colour := strings.ToLower(o.Color); hexColour().MatchString(colour) {
		dark := towards(colour, "#ffffff", func(c string) bool { return ratioOf(c, colours["card"].dark) >= 2 })
		colours["button"] = shade{colour, dark}
		colours["on-button"] = shade{onto(colour), onto(dark)}
		colours["info-mark"] = shade{colour, dark}
		colours["info-tint"] = shade{mix(colour, "#ffffff", 0.9), mix(colour, colours["card"].dark, 0.8)}
		accent := shade{readable(colour, colours, false), readable(colour, colours, true)}
		colours["accent"], colours["info"] = accent, accent
	}
	if link := strings.ToLower(o.LinkColor); hexColour().MatchString(link) {
		accent := shade{link, readable(link, colours, true)}
		colours["accent"], colours["info"] = accent, accent
	}
	if text := strings.ToLower(o.ButtonTextColor); hexColour().MatchString(text) {
		dark := colours["button"].dark
		on := shade{text, text}
		if ratioOf(text, dark) < minContrast {
			on.dark = onto(dark)
		}
		colours["on-button"] = on
	}
	return colours
}

// looks returns the looks of mails with the brand.
func (o Options) looks() map[string]look {
	all := looks()
	if o.Logo != nil {
		// The plate is white in both schemes: a dark logo without a background would vanish.
		all["plate"] = look{css: "padding:8px 10px;border-radius:9px;background-color:#ffffff;line-height:0"}
		all["picture"] = look{css: "display:block;border:0;max-width:100%;height:auto"}
	}
	return all
}

// readable returns the colour nearest to c that can be read on all grounds of links.
func readable(c string, colours map[string]shade, dark bool) string {
	end := "#000000"
	if dark {
		end = "#ffffff"
	}
	return towards(c, end, func(c string) bool {
		_, ratio := faintest(c, colours, dark)
		return ratio >= minContrast
	})
}

// faintest returns the ground of links on which c is read worst, and its contrast there.
func faintest(c string, colours map[string]shade, dark bool) (ground string, least float64) {
	least = math.Inf(1)
	for _, token := range linkGrounds() {
		on := colours[token].light
		if dark {
			on = colours[token].dark
		}
		if ratio := ratioOf(c, on); ratio < least {
			ground, least = on, ratio
		}
	}
	return ground, least
}

// towards mixes c with end until it is good, in steps of a hundredth.
func towards(c, end string, good func(string) bool) string {
	for i := range 100 {
		if mixed := mix(c, end, float64(i)/100); good(mixed) {
			return mixed
		}
	}
	return end
}

// onto returns the colour of text on c: white if it can be read, else black, which then can.
func onto(c string) string {
	if ratioOf("#ffffff", c) >= minContrast {
		return "#ffffff"
	}
	return "#000000"
}

// ratioOf returns the contrast of two colours of the palette.
func ratioOf(a, b string) float64 {
	ratio, _ := contrast(a, b) // both are #rrggbb
	return ratio
}

// mix returns c with a share of another colour.
func mix(c, other string, share float64) string {
	part := func(from int) int {
		a, err1 := strconv.ParseUint(c[from:from+2], 16, 8)
		b, err2 := strconv.ParseUint(other[from:from+2], 16, 8)
		if errors.Join(err1, err2) != nil {
			return 0 // both are #rrggbb
		}
		return int(math.Round(float64(a)*(1-share) + float64(b)*share))
	}
	return fmt.Sprintf("#%02x%02x%02x", part(1), part(3), part(5))
}
