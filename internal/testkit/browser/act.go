package browser

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Click clicks on the middle of the first visible element of a selector, when it no longer
// moves. It looks the element up in the page itself: the protocol's ids of nodes are lost
// when a page comes after the lookup.
func Click(t testing.TB, tab context.Context, selector string) {
	t.Helper()
	ClickOn(t, tab, selector, fmt.Sprintf(`[...document.querySelectorAll(%q)].find(e => e.checkVisibility())`, selector))
}

// ClickOn clicks on the element that an expression of JavaScript returns.
func ClickOn(t testing.TB, tab context.Context, name, element string) {
	t.Helper()
	script := `(() => {
		if (document.readyState !== 'complete') return null;
		const found = ` + element + `;
		if (!found) return null;
		found.scrollIntoView({block: 'center', behavior: 'instant'});
		const r = found.getClientRects()[0];
		return {X: r.x + r.width / 2, Y: r.y + r.height / 2};
	})()`
	type point struct{ X, Y float64 }
	var at point
	poll(t, tab, "click on "+name, func(ctx context.Context) (bool, error) {
		now, err := chromedp.Run(ctx, chromedp.Evaluate[*point](script))
		if err != nil || now == nil {
			at = point{}
			return false, err
		}
		before := at
		at = *now
		return at == before, nil
	})
	Step(t, tab, "click on "+name, chromedp.MouseClickXY(at.X, at.Y))
}

// Fill replaces the value of a field, which then has the focus.
func Fill(t testing.TB, tab context.Context, selector, value string) {
	t.Helper()
	script := fmt.Sprintf(`(() => {
		if (document.readyState !== 'complete') return false;
		const found = document.querySelector(%q);
		if (!found) return false;
		found.focus();
		found.select();
		return document.activeElement === found;
	})()`, selector)
	poll(t, tab, "fill "+selector, func(ctx context.Context) (bool, error) {
		return chromedp.Run(ctx, chromedp.Evaluate[bool](script))
	})
	Step(t, tab, "fill "+selector, chromedp.KeyEvent(value))
}

// poll waits until a condition holds. An error is tried again: a page may come in between.
func poll(t testing.TB, tab context.Context, name string, holds func(context.Context) (bool, error)) {
	t.Helper()
	var last error
	for end := time.Now().Add(stepTime); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(tab, stepTime)
		is, err := holds(ctx)
		cancel()
		if is {
			return
		}
		last = err
	}
	t.Fatalf("%s: not possible within %v: %v\n%s", name, stepTime, last, Text(tab))
}

// Text returns the text of the page; "" between two pages.
func Text(tab context.Context) string {
	ctx, cancel := context.WithTimeout(tab, stepTime)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`(document.querySelector('main') ?? document.body).innerText`))
	return text
}
