package harness_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/torture/harness"
)

// A plot is well-formed, has all its points in the picture and all its letters.
func TestPlot(t *testing.T) {
	t.Parallel()
	plot := harness.Plot{
		Title: "a < b", Length: 20 * time.Minute, Legend: []string{"K killed"},
		At:     []time.Duration{0, 10 * time.Minute, 20 * time.Minute},
		Series: []harness.Series{{Name: "RSS, MB", Values: []int{16, 17, 16}}, {Name: "nothing", Values: []int{0, 0, 0}}},
		Marks:  []harness.Mark{{At: time.Minute, Letter: "K"}, {At: 20 * time.Minute, Letter: "N"}},
	}
	var out strings.Builder
	if err := plot.Write(&out); err != nil {
		t.Fatal(err)
	}
	var lines, marks int
	var texts []string
	for decoder := xml.NewDecoder(strings.NewReader(out.String())); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, &out)
		}
		switch element := token.(type) {
		case xml.StartElement:
			for _, a := range element.Attr {
				switch {
				case a.Name.Local == "class" && a.Value == "mark":
					marks++
				case a.Name.Local == "points":
					lines++
					inside(t, a.Value)
				}
			}
		case xml.CharData:
			texts = append(texts, string(element))
		}
	}
	if lines != 2 || marks != 2 {
		t.Errorf("%d lines and %d marks, want 2 of each", lines, marks)
	}
	all := strings.Join(texts, "|")
	for _, want := range []string{"a < b", "RSS, MB", "K", "N", "K killed", "20", "minutes"} {
		if !strings.Contains(all, want) {
			t.Errorf("no text %q in %q", want, all)
		}
	}
}

// inside fails unless the three points lie in the picture and in their order.
func inside(t *testing.T, points string) {
	t.Helper()
	last := -1.0
	for point := range strings.FieldsSeq(points) {
		var x, y float64
		if _, err := fmt.Sscanf(point, "%f,%f", &x, &y); err != nil {
			t.Fatalf("point %q: %v", point, err)
		}
		if x <= last || x > 800 || y < 0 || y > 300 {
			t.Errorf("point %q is out of its place", point)
		}
		last = x
	}
}
