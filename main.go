// Command evently-workers sends the mails of Evently: it replaces the Python Celery worker
// on the same queue, with the same tasks and results.
package main

import (
	"os"

	"github.com/evently/workers/app/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
