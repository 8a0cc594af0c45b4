package main

import (
	"context"
	"encoding/base64"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets testscript run this very program as the command gatehouse.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gatehouse": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
		},
	})
}

func TestCommandLine(t *testing.T) {
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
