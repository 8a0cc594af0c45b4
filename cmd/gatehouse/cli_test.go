package main

import (
	"encoding/base64"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets testscript, and tests that send signals, run the test binary as the command gatehouse.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// TestCommandsPassScripts runs the scripts of testdata/script, without the race detector: it makes the start of each of
// their hundreds of commands slow.
func TestCommandsPassScripts(t *testing.T) {
	t.Parallel()
	program := uninstrumentedProgram(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("GATEHOUSE_SECRET_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32)))
			env.Setenv("GATEHOUSE_DATABASE_URL", "sqlite:"+env.WorkDir+"/data/gatehouse.db")
			return nil
		},
	})
}
