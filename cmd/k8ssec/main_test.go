package main

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/k8ssec/k8ssec/cmd/k8ssec/cli"
)

var update = flag.Bool("update", false, "rewrite the expected output in the scripts")

// clock is the time at which the scripts run, or that of the variable NOW.
func clock() time.Time {
	if s := os.Getenv("NOW"); s != "" {
		if t, err := time.Parse(time.DateOnly, s); err == nil {
			return t
		}
	}
	return time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"k8ssec": func() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr, clock)) },
	})
}

// TestScripts runs the command as a person would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}

// exits runs "exits CODE command args..." and fails on any other exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command args...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = err.Error()
	}
	if want := "exit status " + args[0]; code != want && !(args[0] == "0" && err == nil) {
		ts.Fatalf("want %s, got %s", want, code)
	}
}
