package bind

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestTagOfWrongForm builds its type by reflection: go vet refuses such a tag in code.
func TestTagOfWrongForm(t *testing.T) {
	typ := reflect.StructOf([]reflect.StructField{{Name: "X", Type: reflect.TypeFor[int](), Tag: `celery: "x"`}})
	err := errors.Join(Faults(typ)...)
	if err == nil || !strings.Contains(err.Error(), "field X: its tag") || !strings.Contains(err.Error(), "write `celery:\"name\"`") {
		t.Errorf("got %v, want the tag and its right form", err)
	}
}
