package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/bench"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestBenchMeasuresARealServer runs every workload a few times, on PostgreSQL beside the bare process.
func TestBenchMeasuresARealServer(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		w := newWorld(t, db, map[string]string{"GATEHOUSE_RATE_LIMITS": "off"})
		p := start(t, w.env, "serve")
		p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
		profile, stderr, code := command(t, w.env, "", "bench", "prepare")
		if code != exitOK {
			t.Fatal(stderr)
		}
		postgres := strings.HasPrefix(db, "postgres")
		args := []string{"bench", "--profile", "-", "--workload", strings.Join(bench.Names(), ","), "--connections", "2", "--count", "20", "--time", "1m", "--warm-up", "10ms", "--rounds", "2", "--json", "--ceiling"}
		stdout, stderr, code := command(t, w.env, profile, args...)
		var results []bench.Result
		if err := json.Unmarshal([]byte(stdout), &results); err != nil || code != exitOK || len(results) != len(bench.Names()) {
			t.Fatalf("%v %d %s %s", err, code, stdout, stderr)
		}
		for _, r := range results {
			figures := []bench.Figures{r.Target}
			compared := postgres || slices.Contains(bench.WithoutDatabase, r.Workload)
			if compared != (r.Ceiling != nil) {
				t.Fatalf("%+v", r)
			}
			if compared {
				figures = append(figures, *r.Ceiling)
			}
			for _, f := range figures {
				if f.Count != 40 || f.Errors != 0 || f.PerSecond <= 0 || f.P50 <= 0 || f.P50 > f.P90 || f.P90 > f.P99 || f.P99 > f.Max {
					t.Errorf("%s: %+v", r.Workload, f)
				}
			}
			if compared && (r.Percent <= 0 || r.TimesP99 <= 0) {
				t.Errorf("%+v", r)
			}
		}
		if s := storagetest.Open(t, db, storagetest.NewClock()); postgres {
			if n := storagetest.Count(t, s, db, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'gatehouse_bench_ceiling%'"); n != 0 {
				t.Error("the bare process left its tables")
			}
		}
	})
}

// TestBenchSaysThatItIsLimited: what a server lets through by its limits is no measure of it.
func TestBenchSaysThatItIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storagetest.URL(t, storage.SQLite), map[string]string{"GATEHOUSE_RATE_LIMITS": "token_client=50/1m"})
	p := start(t, w.env, "serve")
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	profile, stderr, code := command(t, w.env, "", "bench", "prepare")
	if code != exitOK {
		t.Fatal(stderr)
	}
	_, stderr, code = command(t, w.env, profile, "bench", "--profile", "-", "--workload", "client_credentials", "--connections", "2", "--time", "30s", "--warm-up", "0s", "--rounds", "1")
	if code != exitFailed || !strings.Contains(stderr, "GATEHOUSE_RATE_LIMITS=off") || !strings.Contains(stderr, "token_client") {
		t.Errorf("%d %s", code, stderr)
	}
}

// TestBenchCountsNoErrors: what a server refuses is no throughput, and ends the measurement.
func TestBenchCountsNoErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, storagetest.URL(t, storage.SQLite), map[string]string{"GATEHOUSE_RATE_LIMITS": "off"})
	p := start(t, w.env, "serve")
	p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
	b, err := json.Marshal(bench.Profile{Issuer: w.issuer, Machine: bench.Client{ID: w.machineID, Secret: "wrong"}, App: bench.Client{ID: w.appID, RedirectURI: "https://app.example/cb"}, Person: bench.Person{Username: "alice", Password: "wrong"}})
	storagetest.Must(t, err)
	file := filepath.Join(t.TempDir(), "profile.json")
	storagetest.Must(t, os.WriteFile(file, b, 0o600))
	stdout, stderr, code := command(t, w.env, "", "bench", "--profile", file, "--workload", "client_credentials", "--connections", "2", "--time", "30s", "--warm-up", "0s", "--rounds", "1", "--json")
	var results []bench.Result
	if err := json.Unmarshal([]byte(stdout), &results); err != nil || code != exitFailed || len(results) != 1 || results[0].Target.Count != 0 || results[0].Target.Errors < 1000 || !strings.Contains(results[0].Target.Error, "invalid_client") {
		t.Errorf("%v %d %s %s", err, code, stdout, stderr)
	}
	if _, stderr, code := command(t, w.env, "", "bench", "--profile", file, "--workload", "client_credentials"); code != exitFailed || !strings.Contains(stderr, "client_credentials on "+w.issuer) {
		t.Errorf("nothing succeeds: %d %s", code, stderr)
	}
	for _, bad := range [][]string{
		{"--profile", file, "--workload", "nonsense"}, {"--profile", file, "--connections", "0"}, {"--profile", file, "--connections", "x"}, {"--profile", file, "--time", "1h"}, {},
	} {
		if _, stderr, code := command(t, w.env, "", slices.Concat([]string{"bench"}, bad)...); code != exitUsage {
			t.Errorf("%v: %d %s", bad, code, stderr)
		}
	}
	if _, stderr, code := command(t, w.env, "", "bench", "--profile", file, "--workload", "code", "--connections", "1"); code != exitFailed || !strings.Contains(stderr, "/login") && !strings.Contains(stderr, "page to page") {
		t.Errorf("a wrong password: %d %s", code, stderr)
	}
}
