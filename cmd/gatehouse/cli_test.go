package main

import (
	"encoding/base64"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets testscript, and tests that send signals, run the test binary as the command gatehouse.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gatehouse": main})
}

// TestCommandsPassScripts runs the scripts of testdata/script.
func TestCommandsPassScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GATEHOUSE_SECRET_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32)))
			env.Setenv("GATEHOUSE_DATABASE_URL", "sqlite:"+env.WorkDir+"/data/gatehouse.db")
			return nil
		},
	})
}
