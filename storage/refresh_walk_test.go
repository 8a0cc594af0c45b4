package storage_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// This file compares the real store with the model of refresh_model_test.go.

// modelStep is a step on the model and on the store.
type modelStep struct {
	name  string
	model func(l *family) outcome
	store func(r *storedFamily) (out outcome, err error)
}

// storedFamily is the token family of a grant in a store.
type storedFamily struct {
	*fixture

	grant  string
	tokens []string // in the order in which they were issued
}

func (f *storedFamily) hash(i int8) []byte { return []byte(f.grant + " token " + f.tokens[i]) }

// use presents a token as the client, or as another.
func (f *storedFamily) use(i int8, client string) (outcome, error) {
	next := fmt.Sprint(len(f.tokens))
	rotation := storage.Rotation{
		GrantID: f.grant, ClientID: client, Hash: f.hash(i), NextHash: []byte(f.grant + " token " + next),
		SealedSuccessor: []byte("sealed " + next), IdleTTL: 720 * time.Hour, Grace: graceSteps * stepTime,
	}
	got, err := f.RotateRefreshToken(f.ctx, rotation)
	switch {
	case errors.Is(err, storage.ErrReused):
		return reused, nil
	case errors.Is(err, storage.ErrNotFound):
		return refused, nil
	case err != nil:
		return pending, err
	case got.SealedSuccessor != nil:
		if string(got.SealedSuccessor) != "sealed "+f.tokens[len(f.tokens)-1] {
			return pending, fmt.Errorf("the retry returns %q, want the latest successor", got.SealedSuccessor)
		}
		return retried, nil
	}
	f.tokens = append(f.tokens, next)
	return rotated, nil
}

const stepTime = 5 * time.Second

// hours is an age after the grace period, the limit and the time of cleanup.
const hours = 100

func useOf(name string, which func(l family) int8) modelStep {
	return modelStep{name,
		func(l *family) outcome {
			token := which(*l)
			if l.update(token) {
				return rotated
			}
			out := l.classify(token, 0)
			if out == reused {
				l.revoked = true
			}
			return out
		},
		func(r *storedFamily) (outcome, error) { return r.use(which(r.model()), "gc1") },
	}
}

// model returns the part of the family that determines which token a step uses.
func (f *storedFamily) model() family {
	n := int8(len(f.tokens))
	return family{current: n - 1, previous: max(n-2, 0), issued: n}
}

var modelSteps = []modelStep{
	useOf("the current token", func(l family) int8 { return l.current }),
	useOf("the previous token", func(l family) int8 { return max(l.previous, 0) }),
	useOf("the first token", func(family) int8 { return 0 }),
	{"another client with the current token", func(*family) outcome { return refused },
		func(r *storedFamily) (outcome, error) { return r.use(int8(len(r.tokens)-1), "gc2") }},
	{"half a grace period passes", func(l *family) outcome { l.age++; return pending },
		func(r *storedFamily) (outcome, error) { r.clock.Advance(stepTime); return pending, nil }},
	{"an outage of two grace periods passes", func(l *family) outcome {
		l.age += 2 * graceSteps
		l.outage += 2 * graceSteps
		return pending
	},
		func(r *storedFamily) (outcome, error) {
			from := r.clock.Now()
			r.clock.Advance(2 * graceSteps * stepTime)
			return pending, r.RecordOutage(r.ctx, from, r.clock.Now())
		}},
	{"hours pass", func(l *family) outcome { l.age = hours; return pending },
		func(r *storedFamily) (outcome, error) { r.clock.Advance(25 * time.Hour); return pending, nil }},
	{"cleanup", func(l *family) outcome {
		if l.age >= hours { // the store waits for a day, longer than any grace period
			l.sealed = false
		}
		return pending
	}, func(r *storedFamily) (outcome, error) {
		return pending, errors.Join(r.ResetCleanupTime(r.ctx), r.ClearSealedSuccessors(r.ctx))
	}},
	{"revocation", func(l *family) outcome { l.revoked = true; return pending },
		func(r *storedFamily) (outcome, error) {
			err := r.RevokeGrant(r.ctx, r.grant, "model", audit.Event{})
			if errors.Is(err, storage.ErrNotFound) {
				err = nil
			}
			return pending, err
		}},
}

// TestStoreMatchesRefreshModel runs every sequence of steps on both engines and compares the store with the model.
func TestStoreMatchesRefreshModel(t *testing.T) {
	t.Parallel()
	depth := 3
	if os.Getenv("TORTURE") != "" {
		depth = 4
	}
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.ctx = t.Context()
		n := 0
		var walk func(path []int)
		walk = func(path []int) {
			if len(path) == depth {
				n++
				runSteps(t, f, fmt.Sprint("g", n), path)
				if n%200 == 0 { // as a server does every second, so that closing the store has few rows to seal
					_, err := f.Audit.SealRows(f.ctx)
					storagetest.Must(t, err)
				}
				return
			}
			for i := range modelSteps {
				if t.Failed() {
					return
				}
				walk(append(path[:len(path):len(path)], i))
			}
		}
		walk(nil)
	})
}

// runSteps runs the steps of a path on a new grant and compares the store with the model after each.
func runSteps(t *testing.T, f *fixture, name string, path []int) {
	t.Helper()
	r := &storedFamily{fixture: f, grant: name, tokens: []string{"0"}}
	redemption := f.code(t, "code of "+name)
	redemption.GrantID, redemption.RefreshHash = name, r.hash(0)
	expiry := f.clock.Now().Add(720 * time.Hour)
	redemption.GrantExpiresAt, redemption.RefreshExpiresAt = expiry, expiry
	_, err := f.RedeemCode(t.Context(), redemption)
	storagetest.Must(t, err)
	// The limit is ten minutes in the store: only the step of hours exceeds it.
	model := family{previous: -1, issued: 1, limit: hours}
	steps := ""
	for _, i := range path {
		step := modelSteps[i]
		steps += step.name + "; "
		want := step.model(&model)
		got, err := step.store(r)
		if err != nil || got != want {
			t.Fatalf("after %s the store returns outcome %d, %v, want %d as in the model", steps, got, err, want)
		}
		g, err := f.Grant(t.Context(), name)
		storagetest.Must(t, err)
		isRevoked, isSealed := g.RevokedAt != nil, len(g.SuccessorSealed) > 0
		current := string(r.hash(model.current))
		if isRevoked != model.revoked || string(g.CurrentHash) != current || isSealed != model.sealed {
			t.Fatalf("after %s the row is %+v, want the state of the model, %+v", steps, g, model)
		}
	}
}
