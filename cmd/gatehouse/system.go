package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// openSystem opens the database of the settings, checks its schema and root key, and puts the packages together. With
// migrate it brings a PostgreSQL schema up to date; the embedded database does so by itself. notice tells the operator
// what they should know.
func openSystem(ctx context.Context, cfg config.Config, log *slog.Logger, migrate bool, notice func(string)) (*system, error) {
	return openSystemAfter(ctx, cfg, log, migrate, notice, func(*storage.Store) error { return nil })
}

// openSystemAfter calls openSystem after a check of the database that precedes any change.
func openSystemAfter(
	ctx context.Context, cfg config.Config, log *slog.Logger, migrate bool, notice func(string), check func(store *storage.Store) error,
) (*system, error) {
	if err := checkNotLost(cfg); err != nil {
		return nil, err
	}
	// Only a server has a log. A command without one may open the database read-only.
	store, err := storage.Open(ctx, storage.Options{URL: cfg.DatabaseURL, Pool: cfg.DatabasePool, Log: log, Command: log == nil, ReadOnlyAllowed: log == nil})
	if err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	var s *system
	if err = check(store); err == nil {
		s, err = assemble(ctx, cfg, store, log, migrate, notice)
	}
	if err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return nil, errors.Join(err, store.Close(closing))
	}
	return s, nil
}

// checkNotLost refuses to create an embedded database next to the root key of another: that one was removed, or the
// path is wrong, and a new one would have no clients and no users.
func checkNotLost(cfg config.Config) error {
	path, embedded := cfg.Embedded()
	if !embedded {
		return nil
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	key := filepath.Join(filepath.Dir(path), "secret.key")
	if size(path) > 0 || size(path+"-wal") > 0 || !exists(key) {
		return nil
	}
	return fmt.Errorf("there is no database at %s, but there is a root key, %s; put a backup of the database there to restore it; "+
		"to start over with an empty database, name another directory, or move the key away if no other database needs it", path, key)
}

func assemble(ctx context.Context, cfg config.Config, store *storage.Store, log *slog.Logger, migrate bool, notice func(string)) (*system, error) {
	if migrate {
		if _, err := store.Migrate(ctx); err != nil {
			return nil, err
		}
	}
	ahead, err := store.RequireSchema(ctx)
	if storage.IsDenied(err) {
		return nil, fmt.Errorf("this database role may not use all tables; as the owner of the schema run `gatehouse migrate up --grant-to ROLE`: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if ahead {
		notice("the database schema is newer than this version of gatehouse; this is fine while you upgrade or roll back")
	}
	if err := useRootKey(ctx, cfg, store, notice); err != nil {
		return nil, err
	}
	limiter, err := ratelimit.New(ratelimit.Options{
		Rates: cfg.RateLimits, RedisURL: cfg.RedisURL, Key: store.Key(storage.LimitKey), Now: store.Now, Log: orSilent(log),
	})
	if err != nil {
		return nil, err
	}
	server, err := oauth.New(ctx, store, oauth.Options{
		Issuer: cfg.Issuer, Environment: cfg.Environment, AccessTokenTTL: cfg.AccessTokenTTL, CodeTTL: cfg.CodeTTL,
		RefreshIdleTTL: cfg.RefreshIdleTTL, RefreshMaxTTL: cfg.RefreshMaxTTL, RefreshGrace: cfg.RefreshGrace,
		RequestTTL: cfg.RequestTTL, KeyRotationPeriod: cfg.KeyRotationPeriod, IDTokenTTL: cfg.IDTokenTTL, HintTTL: cfg.SessionMaxTTL,
		Registration:    oauth.Registration{Mode: cfg.Registration, Scopes: cfg.RegistrationScopes, RequirePKCE: cfg.RegistrationRequirePKCE},
		FetchAllowHosts: cfg.FetchAllowHosts, Limiter: limiter, Log: log,
	})
	if err != nil {
		return nil, err
	}
	people := identity.New(store, identity.Options{
		Secure: cfg.Secure(), SessionIdleTTL: cfg.SessionIdleTTL, SessionMaxTTL: cfg.SessionMaxTTL,
		PasswordMinLength: cfg.PasswordMinLength, Concurrency: cfg.PasswordConcurrency, Limiter: limiter,
		NamesLimit: cfg.RateLimits[ratelimit.SignInNames],
	})
	return &system{config: cfg, store: store, users: people, oauth: server, limiter: limiter, work: newWork()}, nil
}

func orSilent(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// useRootKey finds the root key, or makes one beside a new embedded database, and ties the store to it.
func useRootKey(ctx context.Context, cfg config.Config, store *storage.Store, notice func(string)) error {
	key := cfg.SecretKey
	if path, embedded := cfg.Embedded(); key == nil && embedded {
		var err error
		if key, err = keyFile(ctx, filepath.Join(filepath.Dir(path), "secret.key"), store, notice); err != nil {
			return err
		}
	}
	root, err := storage.NewRootKey(key)
	if err != nil {
		return err
	}
	if cfg.SecretKeyPrevious == nil {
		err = store.UseRootKey(ctx, root)
		if path, embedded := cfg.Embedded(); embedded && errors.Is(err, storage.ErrOtherKey) && exists(filepath.Join(filepath.Dir(path), "secret.key.new")) {
			return fmt.Errorf("%w; there is a secret.key.new beside it: a rekey was not finished, run `gatehouse rekey`", err)
		}
		return err
	}
	previous, err := storage.NewRootKey(cfg.SecretKeyPrevious)
	if err != nil {
		return err
	}
	return store.UseRootKey(ctx, root, previous)
}

// keyFile reads the root key beside an embedded database, and makes it when neither the file nor anything sealed under
// another key exists.
func keyFile(ctx context.Context, path string, store *storage.Store, notice func(string)) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		used, err := store.HasRootKey(ctx)
		if err != nil {
			return nil, err
		}
		if used {
			return nil, fmt.Errorf("%s is missing, and the database was made with a root key; put the file back or set GATEHOUSE_SECRET_KEY", path)
		}
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		err = writeNew(path, []byte(config.EncodeKey(key)+"\n"))
		if err == nil {
			notice("made a new root key in " + path + "; keep a copy of it: without it the database is worthless")
			return key, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("write the root key: %w", err)
		}
		b, err = os.ReadFile(path) // another process was first
		if err != nil {
			return nil, fmt.Errorf("read the root key: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("read the root key: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		notice(path + " can be read by others on this machine; run: chmod 600 " + path)
	}
	key, ok := config.DecodeKey(string(b))
	if !ok {
		return nil, fmt.Errorf("%s does not hold base64 of 32 bytes", path)
	}
	return key, nil
}

// writeNew writes a file that only its owner may read, all of it or none, and never over another.
func writeNew(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	if _, err := tmp.Write(content); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return storage.SyncFolder(filepath.Dir(path)) // before anything is sealed under it
}
