package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"gatehouse/cmd/oauthbench/bench"
)

// bareCommand is the command of the bare process, which oauthbench starts itself.
const bareCommand = "bare"

// bareProcess is a running bare process.
type bareProcess struct {
	profile bench.Profile
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	stdin   io.Closer
}

// startBare starts the bare process with the PostgreSQL of a URL, or none. It is a separate process so that the
// operating system schedules it like the server.
func (p *program) startBare(ctx context.Context, databaseURL string) (*bareProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, self, bareCommand) //nolint:gosec // this program
	child := &bareProcess{cmd: cmd, cancel: cancel}
	child.cmd.Args[0] = "oauthbench"
	child.cmd.Stderr = p.stderr
	child.cmd.Cancel = func() error { return child.cmd.Process.Signal(os.Interrupt) }
	child.cmd.WaitDelay = 15 * time.Second
	stdout, err := child.cmd.StdoutPipe()
	var stdin io.WriteCloser
	if err == nil {
		stdin, err = child.cmd.StdinPipe()
	}
	if err == nil {
		err = child.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	child.stdin = stdin
	// The URL may have a password, which must not be in an argument.
	if _, err := io.WriteString(stdin, databaseURL+"\n"); err != nil {
		child.stop()
		return nil, err
	}
	if err := json.NewDecoder(stdout).Decode(&child.profile); err != nil {
		child.stop()
		return nil, errors.New("the bare process did not start")
	}
	return child, nil
}

// pid returns the process ID if processor times are measured, else 0.
func (b *bareProcess) pid(o bench.Options) int {
	if o.ServerPID == 0 {
		return 0
	}
	return b.cmd.Process.Pid
}

func (b *bareProcess) stop() {
	b.cancel()
	_ = b.stdin.Close()
	_ = b.cmd.Wait() // it was interrupted
}

// serveBare runs the bare process. It reads the URL of its PostgreSQL from standard input, prints its profile on
// standard output and serves until it is interrupted or standard input ends, which it does when oauthbench is killed.
func (p *program) serveBare(ctx context.Context, _ []string) error {
	in := bufio.NewReader(io.LimitReader(p.stdin, 4<<10))
	databaseURL, err := in.ReadString('\n')
	if err != nil {
		return usageError{errors.New("oauthbench --bare starts this process itself")}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return bench.ServeBare(ctx, listener, strings.TrimSpace(databaseURL), func(profile bench.Profile) error {
		return p.printJSON(profile)
	})
}
