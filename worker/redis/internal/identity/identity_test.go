package identity

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestDeathIsProven(t *testing.T) {
	self := This()
	if self.Boot == "" {
		t.Fatal("this system does not tell processes apart")
	}
	if self.ProvesDead(self) {
		t.Error("this process is taken for dead")
	}
	other := self
	other.Start = "1" // the number was given to another process since
	if !self.ProvesDead(other) {
		t.Error("a process whose number another has now is taken for alive")
	}
	elsewhere := other
	elsewhere.Boot = "another machine"
	if self.ProvesDead(elsewhere) {
		t.Error("a process of another machine is taken for dead without proof")
	}

	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, _, ok := processStat(cmd.Process.Pid)
	if !ok {
		t.Fatal("no entry of the child")
	}
	child := self
	child.PID, child.Start = cmd.Process.Pid, start
	if self.ProvesDead(child) {
		t.Error("a running child is taken for dead")
	}
	if err := cmd.Process.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !self.ProvesDead(child); { // a zombie, not waited for yet
		if time.Now().After(deadline) {
			t.Fatal("a killed child is taken for alive")
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Wait()
	if !self.ProvesDead(child) {
		t.Error("a child that was waited for is taken for alive")
	}
}
