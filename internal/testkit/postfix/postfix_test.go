package postfix_test

import (
	"os"
	"testing"

	"github.com/evently/workers/internal/testkit/postfix"
)

func TestStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("Postfix runs only as root")
	}
	s := postfix.Start(t, postfix.Options{})
	s.Stop()
	if !s.Proc.Ended() {
		t.Error("Postfix has not ended")
	}
}
