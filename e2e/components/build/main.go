// Command build builds the named components, or all, and prints the folder of each:
// go run ./components/build [NAME...].
package main

import (
	"fmt"
	"os"

	"github.com/k8ssec/k8ssec/e2e/components"
)

func main() {
	names := os.Args[1:]
	if len(names) == 0 {
		for _, set := range components.Sets() {
			names = append(names, set.Name)
		}
	}
	for _, name := range names {
		dir, err := components.Ensure(os.Stderr, name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "components:", err)
			os.Exit(1)
		}
		fmt.Printf("%s\t%s\n", name, dir)
	}
}
