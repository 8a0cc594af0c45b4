package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpuMeter reads the processor time of a server and of its database from /proc (Linux only).
type cpuMeter struct {
	server, database int // process IDs; 0: not measured
}

// cpuTimes are processor times since the processes started.
type cpuTimes struct{ server, database time.Duration }

const (
	// tick is the unit of the times in /proc/PID/stat: USER_HZ is 100 on every Linux that Go supports.
	tick = 10 * time.Millisecond
	// settleTime is how long a server may take after a request for what it writes later, such as queued audit rows.
	settleTime = 1500 * time.Millisecond
)

// read returns the times now.
func (m cpuMeter) read() (out cpuTimes, err error) {
	if m.server != 0 {
		if out.server, err = processTime(m.server); err != nil {
			return out, err
		}
	}
	if m.database != 0 {
		out.database, err = processTreeTime(m.database)
	}
	return out, err
}

// processTreeTime returns the processor time of a process and all its children, such as the postmaster and its
// backends. When a child ends, its time becomes that of its parent; reading again then avoids counting it twice or not
// at all.
func processTreeTime(parent int) (time.Duration, error) {
	for attempt := 1; ; attempt++ {
		before := children(parent)
		total, err := processTime(parent)
		if err != nil {
			return 0, err
		}
		complete := true
		for _, pid := range before {
			t, err := processTime(pid)
			complete = complete && err == nil
			total += t
		}
		if complete && slices.Equal(before, children(parent)) || attempt == 5 {
			return total, nil
		}
	}
}

// perOperation waits for the work that follows the operations and returns the microseconds of both per operation.
func (m cpuMeter) perOperation(
	ctx context.Context, before cpuTimes, operations int,
) (server, database float64, err error) {
	if m.server == 0 && m.database == 0 || operations == 0 {
		return 0, 0, nil
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	after, err := m.read()
	if err != nil {
		return 0, 0, err
	}
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(operations) }
	return each(after.server - before.server), each(after.database - before.database), nil
}

// processTime returns the processor time of a process and of its children that have ended.
func processTime(pid int) (time.Duration, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	total := int64(0)
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime (proc(5)), which begin at field 14
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		total += n
	}
	return time.Duration(total) * tick, nil
}

// children returns the process IDs of the direct children of a process.
func children(parent int) (out []int) {
	files, _ := filepath.Glob("/proc/[0-9]*") // the pattern is valid
	for _, name := range files {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil {
			continue
		}
		if fields, err := statFields(pid); err == nil && fields[1] == strconv.Itoa(parent) {
			out = append(out, pid)
		}
	}
	return out
}

// statFields returns the fields of /proc/PID/stat from the third, the state, which follow the name in parentheses.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return nil, fmt.Errorf("unexpected format of /proc/%d/stat", pid)
	}
	return fields, nil
}
