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

// A walk of the real store compared with the model of refresh_model_test.go.

// A step of the walk through the real store.
type modelStep struct {
	name string
	// on the model, by which token is used where one is
	model func(l *family) (out outcome, given int8)
	// on the store
	store func(r *realLine) (out outcome, err error)
}

// realLine is a grant in a store.
type realLine struct {
	*fixture

	grant  string
	tokens []string // in the order in which they were made
}

func (r *realLine) hash(i int8) []byte { return []byte(r.grant + " token " + r.tokens[i]) }

// use presents a token as the client, or as another.
func (r *realLine) use(i int8, client string) (outcome, error) {
	next := fmt.Sprint(len(r.tokens))
	rotation := storage.Rotation{
		GrantID: r.grant, ClientID: client, Hash: r.hash(i), NextHash: []byte(r.grant + " token " + next), SealedSuccessor: []byte("sealed " + next),
		IdleTTL: 720 * time.Hour, Grace: windowSteps * stepTime,
	}
	got, err := r.RotateRefreshToken(r.ctx, rotation)
	switch {
	case errors.Is(err, storage.ErrReused):
		return reused, nil
	case errors.Is(err, storage.ErrNotFound):
		return refused, nil
	case err != nil:
		return pending, err
	case got.SealedSuccessor != nil:
		if string(got.SealedSuccessor) != "sealed "+r.tokens[len(r.tokens)-1] {
			return pending, fmt.Errorf("the retry gives %q", got.SealedSuccessor)
		}
		return retried, nil
	}
	r.tokens = append(r.tokens, next)
	return rotated, nil
}

const stepTime = 5 * time.Second

// hours is an age beyond every window and clean-up.
const hours = 100

func useOf(name string, which func(l family) int8) modelStep {
	return modelStep{name,
		func(l *family) (outcome, int8) {
			token := which(*l)
			if l.update(token) {
				return rotated, l.current
			}
			out := l.classify(token, 0)
			if out == reused {
				l.revoked = true
			}
			return out, l.current
		},
		func(r *realLine) (outcome, error) { return r.use(which(r.asModel()), "gc1") },
	}
}

// asModel is as much of the family as choosing a token needs.
func (r *realLine) asModel() family {
	n := int8(len(r.tokens))
	return family{current: n - 1, previous: max(n-2, 0), made: n}
}

var modelSteps = []modelStep{
	useOf("the current token", func(l family) int8 { return l.current }),
	useOf("the one before", func(l family) int8 { return max(l.previous, 0) }),
	useOf("the first", func(family) int8 { return 0 }),
	{"another client with the current token", func(*family) (outcome, int8) { return refused, 0 },
		func(r *realLine) (outcome, error) { return r.use(int8(len(r.tokens)-1), "gc2") }},
	{"half a window passes", func(l *family) (outcome, int8) { l.age++; return pending, 0 },
		func(r *realLine) (outcome, error) { r.clock.Advance(stepTime); return pending, nil }},
	{"an outage of two windows passes", func(l *family) (outcome, int8) {
		l.age += 2 * windowSteps
		l.outage += 2 * windowSteps
		return pending, 0
	},
		func(r *realLine) (outcome, error) {
			from := r.clock.Now()
			r.clock.Advance(2 * windowSteps * stepTime)
			return pending, r.RecordOutage(r.ctx, from, r.clock.Now())
		}},
	{"hours pass", func(l *family) (outcome, int8) { l.age = hours; return pending, 0 },
		func(r *realLine) (outcome, error) { r.clock.Advance(25 * time.Hour); return pending, nil }},
	{"clean-up", func(l *family) (outcome, int8) {
		if l.age >= hours { // the store waits for a day, longer than any window
			l.sealed = false
		}
		return pending, 0
	}, func(r *realLine) (outcome, error) {
		return pending, errors.Join(r.ResetCleanupTime(r.ctx), r.ClearSealedSuccessors(r.ctx))
	}},
	{"revocation", func(l *family) (outcome, int8) { l.revoked = true; return pending, 0 },
		func(r *realLine) (outcome, error) {
			err := r.RevokeGrant(r.ctx, r.grant, "model", audit.Event{})
			if errors.Is(err, storage.ErrNotFound) {
				err = nil
			}
			return pending, err
		}},
}

// TestStoreMatchesRefreshModel walks both engines through every sequence of steps and compares.
func TestStoreMatchesRefreshModel(t *testing.T) {
	t.Parallel()
	depth := 3
	if os.Getenv("TORTURE") != "" {
		depth = 4
	}
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		w.ctx = t.Context()
		n := 0
		var walk func(path []int)
		walk = func(path []int) {
			if len(path) == depth {
				n++
				walkOnce(t, w, fmt.Sprint("g", n), path)
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

func walkOnce(t *testing.T, w *fixture, name string, path []int) {
	t.Helper()
	r := &realLine{fixture: w, grant: name, tokens: []string{"0"}}
	redemption := w.code(t, "code of "+name)
	redemption.GrantID, redemption.RefreshHash = name, r.hash(0)
	redemption.GrantExpiresAt, redemption.RefreshExpiresAt = w.clock.Now().Add(720*time.Hour), w.clock.Now().Add(720*time.Hour)
	_, err := w.RedeemCode(t.Context(), redemption)
	storagetest.Must(t, err)
	model := family{previous: -1, made: 1, limit: hours} // ten minutes in the store: no path comes near but by hours
	steps := ""
	for _, i := range path {
		step := modelSteps[i]
		steps += step.name + "; "
		want, _ := step.model(&model)
		got, err := step.store(r)
		if err != nil || got != want {
			t.Fatalf("after %s the store returns %d (%v), the model %d", steps, got, err, want)
		}
		g, err := w.Grant(t.Context(), name)
		storagetest.Must(t, err)
		if (g.RevokedAt != nil) != model.revoked || string(g.CurrentHash) != string(r.hash(model.current)) || (len(g.SuccessorSealed) > 0) != model.sealed {
			t.Fatalf("after %s the row is %+v, the model %+v", steps, g, model)
		}
	}
}
