// Command evently-workers is the program at the root of the module, under the name that
// "go install" gives it.
package main

import (
	"os"

	"github.com/evently/workers/app/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
