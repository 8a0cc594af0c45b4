package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/cmd/oauthbench/bench"
	"gatehouse/config"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestMain lets --bare start the test binary as the bare process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"oauthbench": main})
}

// target is a server to measure, with the environment of its settings.
type target struct {
	*servertest.Server
	env map[string]string
}

func startTarget(t *testing.T, db, rateLimits string) *target {
	t.Helper()
	s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": rateLimits}})
	return &target{s, map[string]string{
		"GATEHOUSE_ISSUER": s.Issuer, "GATEHOUSE_DATABASE_URL": db,
		"GATEHOUSE_SECRET_KEY": config.EncodeKey(storagetest.Key[:]),
	}}
}

// oauthbench runs the program.
func (s *target) oauthbench(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errs, func(name string) string { return s.env[name] })
	return out.String(), errs.String(), code
}

func (s *target) profile(t *testing.T) string {
	t.Helper()
	profile, stderr, code := s.oauthbench(t, "", "prepare")
	if code != exitOK {
		t.Fatalf("prepare: exit %d: %s", code, stderr)
	}
	return profile
}

// TestEveryWorkloadMeasuresServer runs every workload a few times, on PostgreSQL alternating with the bare process.
func TestEveryWorkloadMeasuresServer(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startTarget(t, db, "off")
		args := []string{
			"--profile", "-", "--workload", strings.Join(bench.Names(), ","), "--connections", "2", "--count", "20",
			"--time", "1m", "--warm-up", "10ms", "--rounds", "2", "--json", "--bare",
		}
		stdout, stderr, code := s.oauthbench(t, s.profile(t), args...)
		var results []bench.Result
		err := json.Unmarshal([]byte(stdout), &results)
		if err != nil || code != exitOK || len(results) != len(bench.Names()) {
			t.Fatalf("%q: exit %d, %d results (%v), want 0 and %d: %s %s",
				args, code, len(results), err, len(bench.Names()), stdout, stderr)
		}
		postgres := strings.HasPrefix(db, "postgres")
		for _, r := range results {
			checkResult(t, r, postgres || slices.Contains(bench.WithoutDatabase, r.Workload))
		}
		if postgres {
			n := storagetest.Count(t, s.Store, db, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'oauthbench_bare_%'")
			if n != 0 {
				t.Errorf("the bare process left %d schemas, want 0", n)
			}
		}
	})
}

func checkResult(t *testing.T, r bench.Result, compared bool) {
	t.Helper()
	if compared != (r.Bare != nil) {
		t.Fatalf("%s: compared with the bare process: %v, want %v", r.Workload, r.Bare != nil, compared)
	}
	figures := []bench.Figures{r.Target}
	if compared {
		figures = append(figures, *r.Bare)
	}
	for _, f := range figures {
		ordered := f.P50 > 0 && f.P50 <= f.P90 && f.P90 <= f.P99 && f.P99 <= f.Max
		if f.Count != 40 || f.Errors != 0 || f.PerSecond <= 0 || !ordered {
			t.Errorf("%s: %+v, want 40 operations without errors and ordered latencies", r.Workload, f)
		}
	}
	if compared && (r.Percent <= 0 || r.TimesP99 <= 0) {
		t.Errorf("%s: %v %% and %v times, want ratios", r.Workload, r.Percent, r.TimesP99)
	}
}

// TestReachedRateLimitEndsMeasurement checks that the throughput allowed by a rate limit is not reported as a result.
func TestReachedRateLimitEndsMeasurement(t *testing.T) {
	t.Parallel()
	s := startTarget(t, storagetest.URL(t, storage.SQLite), "token_client=50/1m")
	args := []string{
		"--profile", "-", "--workload", "client_credentials", "--connections", "2", "--time", "30s", "--warm-up", "0s",
		"--rounds", "1",
	}
	_, stderr, code := s.oauthbench(t, s.profile(t), args...)
	named := strings.Contains(stderr, "GATEHOUSE_RATE_LIMITS=off") && strings.Contains(stderr, "token_client")
	if code != exitFailed || !named {
		t.Errorf("%q: exit %d, want %d and the limit with its fix: %s", args, code, exitFailed, stderr)
	}
}

// TestErrorsAreNotOperations checks that refused requests do not count as throughput, and that many of them end the
// measurement.
func TestErrorsAreNotOperations(t *testing.T) {
	t.Parallel()
	s := startTarget(t, storagetest.URL(t, storage.SQLite), "off")
	b, err := json.Marshal(bench.Profile{
		Issuer: s.Issuer, Service: bench.Client{ID: s.Service("jobs").ClientID, Secret: "wrong"},
		App:  bench.Client{ID: s.App().ClientID, RedirectURI: servertest.Callback, Scope: "read"},
		User: bench.User{Username: "alice", Password: "wrong"},
	})
	storagetest.Must(t, err)
	file := filepath.Join(t.TempDir(), "profile.json")
	storagetest.Must(t, os.WriteFile(file, b, 0o600))
	args := []string{
		"--profile", file, "--workload", "client_credentials", "--connections", "2", "--time", "30s", "--warm-up", "0s",
		"--rounds", "1", "--json",
	}
	stdout, stderr, code := s.oauthbench(t, "", args...)
	var results []bench.Result
	err = json.Unmarshal([]byte(stdout), &results)
	if err != nil || code != exitFailed || len(results) != 1 {
		t.Fatalf("%q: exit %d, %v, want %d and one result: %s %s", args, code, err, exitFailed, stdout, stderr)
	}
	f := results[0].Target
	if f.Count != 0 || f.Errors < 1000 || !strings.Contains(f.Error, "invalid_client") {
		t.Errorf("%q: %+v, want no operation and at least 1000 errors invalid_client", args, f)
	}
	for _, c := range []struct{ workload, want string }{
		{"client_credentials", "client_credentials on " + s.Issuer}, {"code", "too many pages"},
	} {
		_, stderr, code := s.oauthbench(t, "", "--profile", file, "--workload", c.workload, "--connections", "1")
		if code != exitFailed || !strings.Contains(stderr, c.want) && !strings.Contains(stderr, "/login") {
			t.Errorf("%s with invalid secrets: exit %d, want %d and %q or /login: %s",
				c.workload, code, exitFailed, c.want, stderr)
		}
	}
}

func TestInvalidCommandLinesAreUsageErrors(t *testing.T) {
	t.Parallel()
	s := &target{}
	for _, args := range [][]string{
		{}, {"nonsense"}, {"--nonsense"}, {"prepare", "nonsense"}, {"bare"}, {"--profile", "-", "--workload", "nonsense"},
		{"--profile", "-", "--connections", "0"}, {"--profile", "-", "--connections", "x"},
		{"--profile", "-", "--time", "1h"},
	} {
		if _, stderr, code := s.oauthbench(t, "", args...); code != exitUsage || stderr == "" {
			t.Errorf("%q: exit %d, want %d and an explanation: %s", args, code, exitUsage, stderr)
		}
	}
	for _, args := range [][]string{{"--help"}, {"prepare", "--help"}} {
		if stdout, _, code := s.oauthbench(t, "", args...); code != exitOK || !strings.Contains(stdout, "profile") {
			t.Errorf("%q: exit %d, want 0 and a help text: %s", args, code, stdout)
		}
	}
}
