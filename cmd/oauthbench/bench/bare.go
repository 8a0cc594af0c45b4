package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bareServer is the process that every workload is compared with. It does the minimum work of an authorization server
// (parse the form, compare a SHA-256 secret, sign or verify ES256, one SQL statement to read or change something) and
// nothing else: no checks, no log, no rate limits, no metrics.
type bareServer struct {
	profile  Profile
	secret   [32]byte
	key      *ecdsa.PrivateKey
	metadata []byte
	jwks     []byte
	db       *pgxpool.Pool // nil without PostgreSQL
}

// bareSchema is the prefix of the schema that the bare process creates for its tables and drops at its end.
const bareSchema = "oauthbench_bare_"

const bareTables = `
	CREATE TABLE clients (id TEXT PRIMARY KEY, epoch BIGINT NOT NULL, disabled_at BIGINT);
	CREATE TABLE sessions (hash BYTEA PRIMARY KEY, user_id TEXT NOT NULL, ended_at BIGINT);
	CREATE TABLE revoked_tokens (jti TEXT PRIMARY KEY, revoked_at BIGINT NOT NULL);
	CREATE TABLE codes (
		hash BYTEA PRIMARY KEY, user_id TEXT NOT NULL, client_id TEXT NOT NULL, scopes TEXT NOT NULL, challenge TEXT NOT NULL,
		redirect_uri TEXT NOT NULL, expires_at BIGINT NOT NULL, consumed_at BIGINT);
	CREATE TABLE grants (
		id TEXT PRIMARY KEY, user_id TEXT NOT NULL, client_id TEXT NOT NULL, scopes TEXT NOT NULL,
		current_hash BYTEA NOT NULL, previous_hash BYTEA, rotated_at BIGINT, expires_at BIGINT NOT NULL);
	CREATE TABLE audit (
		id TEXT PRIMARY KEY, at BIGINT NOT NULL, event TEXT NOT NULL, client_id TEXT NOT NULL, grant_id TEXT NOT NULL,
		token TEXT NOT NULL);
	INSERT INTO clients VALUES ('bare', 1, NULL)`

// ServeBare serves the bare process on the listener until ctx ends. With a postgres:// URL it creates its tables in a
// separate schema and drops it at the end; without, only WithoutDatabase is supported. ready receives the profile.
func ServeBare(ctx context.Context, listener net.Listener, databaseURL string, ready func(Profile) error) (err error) {
	b := &bareServer{}
	if b.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	client := Client{ID: "bare", Secret: rand.Text(), Scope: "jobs", RedirectURI: "https://app.invalid/callback"}
	b.profile = Profile{Issuer: "http://" + listener.Addr().String(), Service: client, App: client}
	b.secret = sha256.Sum256([]byte(client.Secret))
	if err := b.documents(); err != nil {
		return err
	}
	if databaseURL != "" {
		done, err := b.connect(ctx, databaseURL)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
	}
	server := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // the measurement is over
	defer stop()
	if err := ready(b.profile); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (b *bareServer) connect(ctx context.Context, databaseURL string) (done func() error, err error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, errors.New("the database URL is not one of PostgreSQL")
	}
	schema := bareSchema + strings.ToLower(rand.Text()[:8])
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	if b.db, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	for _, statement := range []string{"CREATE SCHEMA " + schema, bareTables} {
		if _, err := b.db.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			b.db.Close()
			return nil, fmt.Errorf("create the tables of the bare process "+
				"(this needs a role that may create a schema, such as the owner of the database): %w", err)
		}
	}
	session := sha256.Sum256([]byte("session"))
	if _, err := b.db.Exec(ctx, "INSERT INTO sessions VALUES ($1, 'alice', NULL)", session[:]); err != nil {
		b.db.Close()
		return nil, err
	}
	return func() error {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, err := b.db.Exec(limited, "DROP SCHEMA "+schema+" CASCADE")
		b.db.Close()
		return err
	}, nil
}

// documents creates documents of the usual size of an OpenID Provider's: 2.4 kB of metadata and 1.2 kB of keys.
func (b *bareServer) documents() (err error) {
	at := b.profile.Issuer
	if b.metadata, err = json.Marshal(map[string]any{
		"issuer": at, "authorization_endpoint": at + "/authorize", "token_endpoint": at + "/token",
		"introspection_endpoint": at + "/introspect", "revocation_endpoint": at + "/revoke", "jwks_uri": at + "/jwks",
		"response_types_supported": []string{"code"},
		"bare":                     strings.Repeat("-", 2100),
	}); err != nil {
		return err
	}
	public, err := b.key.PublicKey.Bytes()
	if err != nil {
		return err
	}
	enc := base64.RawURLEncoding.EncodeToString
	key := map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bare",
		"x": enc(public[1:33]), "y": enc(public[33:]),
	}
	b.jwks, err = json.Marshal(map[string]any{"keys": []map[string]string{key}, "bare": strings.Repeat("-", 950)})
	return err
}

func (b *bareServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.URL.Path {
	case "/jwks":
		writeJSON(w, b.jwks)
	case "/token":
		err = b.token(w, r)
	case "/introspect":
		err = b.introspect(w, r)
	case "/revoke":
		err = b.revoke(r)
	case "/authorize":
		err = b.authorize(w, r)
	default:
		writeJSON(w, b.metadata)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client closed the connection
}

var errRefused = errors.New("refused")

// authenticate parses the form and compares the secret.
func (b *bareServer) authenticate(r *http.Request) error {
	_, secret, _ := r.BasicAuth()
	sum := sha256.Sum256([]byte(secret))
	if err := r.ParseForm(); err != nil || subtle.ConstantTimeCompare(sum[:], b.secret[:]) != 1 {
		return errRefused
	}
	return nil
}

func (b *bareServer) token(w http.ResponseWriter, r *http.Request) error {
	if err := b.authenticate(r); err != nil {
		return err
	}
	response := struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int    `json:"expires_in"`
		RefreshToken string `json:"refresh_token,omitempty"`
		IDToken      string `json:"id_token,omitempty"`
		Scope        string `json:"scope"`
	}{TokenType: "Bearer", ExpiresIn: 900, Scope: "jobs"}
	var err error
	switch r.PostForm.Get("grant_type") {
	case "refresh_token":
		response.RefreshToken, err = b.rotate(r.Context(), r.PostForm.Get("refresh_token"))
	case "authorization_code":
		if response.RefreshToken, err = b.redeem(r.Context(), r.PostForm); err == nil {
			response.IDToken, err = b.sign("JWT")
		}
	}
	if err != nil {
		return err
	}
	if response.AccessToken, err = b.sign("at+jwt"); err != nil {
		return err
	}
	body, err := json.Marshal(response)
	writeJSON(w, body)
	return err
}

func (b *bareServer) introspect(w http.ResponseWriter, r *http.Request) error {
	if err := b.authenticate(r); err != nil {
		return err
	}
	found, err := b.verify(r.PostForm.Get("token"))
	if err != nil {
		return err
	}
	if err := b.requireDatabase(); err != nil {
		return err
	}
	var one int
	if err := b.db.QueryRow(r.Context(), `SELECT 1 FROM clients WHERE id = $1 AND epoch = $2 AND disabled_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = $3)`, found.ClientID, 1, found.JTI).Scan(&one); err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Active bool `json:"active"`
		claims
	}{true, found})
	writeJSON(w, body)
	return err
}

func (b *bareServer) revoke(r *http.Request) error {
	if err := b.authenticate(r); err != nil {
		return err
	}
	found, err := b.verify(r.PostForm.Get("token"))
	if err != nil || b.db == nil {
		return errors.Join(err, b.requireDatabase())
	}
	_, err = b.db.Exec(r.Context(), `WITH revoked AS (
			INSERT INTO revoked_tokens VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING jti)
		INSERT INTO audit SELECT $3, $2, 'revoked', 'bare', '', jti FROM revoked`,
		found.JTI, time.Now().UnixMilli(), rand.Text())
	return err
}

// authorize responds as for a user who is signed in and consented before: one statement reads the session and stores
// the code.
func (b *bareServer) authorize(w http.ResponseWriter, r *http.Request) error {
	if err := b.requireDatabase(); err != nil {
		return err
	}
	q, code := r.URL.Query(), rand.Text()
	hash, session := sha256.Sum256([]byte(code)), sha256.Sum256([]byte("session"))
	tag, err := b.db.Exec(r.Context(), `INSERT INTO codes SELECT $1, user_id, $2, $3, $4, $5, $6 FROM sessions
		WHERE hash = $7 AND ended_at IS NULL`, hash[:], q.Get("client_id"), q.Get("scope"), q.Get("code_challenge"),
		q.Get("redirect_uri"), time.Now().Add(time.Minute).UnixMilli(), session[:])
	if err != nil || tag.RowsAffected() != 1 {
		return errors.Join(err, errRefused)
	}
	w.Header().Set("Location", q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// redeem consumes a code and creates its grant and an audit row in one statement.
func (b *bareServer) redeem(ctx context.Context, form url.Values) (refresh string, err error) {
	if err := b.requireDatabase(); err != nil {
		return "", err
	}
	grant, secret := rand.Text(), rand.Text()
	code, current := sha256.Sum256([]byte(form.Get("code"))), sha256.Sum256([]byte(secret))
	challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
	now := time.Now()
	tag, err := b.db.Exec(ctx, `WITH redeemed AS (
			UPDATE codes SET consumed_at = $1 WHERE hash = $2 AND consumed_at IS NULL AND expires_at > $1 AND challenge = $3
				AND redirect_uri = $4 RETURNING user_id, client_id, scopes),
		granted AS (
			INSERT INTO grants SELECT $5, user_id, client_id, scopes, $6, NULL, NULL, $7 FROM redeemed RETURNING id)
		INSERT INTO audit SELECT $8, $1, 'redeemed', 'bare', id, '' FROM granted`,
		now.UnixMilli(), code[:], base64.RawURLEncoding.EncodeToString(challenge[:]), form.Get("redirect_uri"),
		grant, current[:], now.Add(time.Hour).UnixMilli(), rand.Text())
	if err != nil || tag.RowsAffected() != 1 {
		return "", errors.Join(err, errRefused)
	}
	return grant + "." + secret, nil
}

// rotate replaces a refresh token and writes an audit row in one statement.
func (b *bareServer) rotate(ctx context.Context, token string) (refresh string, err error) {
	if err := b.requireDatabase(); err != nil {
		return "", err
	}
	grant, old, _ := strings.Cut(token, ".")
	secret := rand.Text()
	previous, current := sha256.Sum256([]byte(old)), sha256.Sum256([]byte(secret))
	tag, err := b.db.Exec(ctx, `WITH rotated AS (
			UPDATE grants SET previous_hash = current_hash, current_hash = $1, rotated_at = $2
				WHERE id = $3 AND current_hash = $4 AND expires_at > $2 RETURNING id)
		INSERT INTO audit SELECT $5, $2, 'rotated', 'bare', id, '' FROM rotated`,
		current[:], time.Now().UnixMilli(), grant, previous[:], rand.Text())
	if err != nil || tag.RowsAffected() != 1 {
		return "", errors.Join(err, errRefused)
	}
	return grant + "." + secret, nil
}

func (b *bareServer) requireDatabase() error {
	if b.db == nil {
		return errors.New("the bare process needs a PostgreSQL for this workload: set GATEHOUSE_DATABASE_URL")
	}
	return nil
}

type claims struct {
	Iss      string `json:"iss"`
	Sub      string `json:"sub"`
	Aud      string `json:"aud"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	JTI      string `json:"jti"`
	Iat      int64  `json:"iat"`
	Exp      int64  `json:"exp"`
}

// sign returns a JWT with the usual claims.
func (b *bareServer) sign(typ string) (string, error) {
	now := time.Now().Unix()
	issuer := b.profile.Issuer
	payload, err := json.Marshal(claims{issuer, "alice", issuer, "bare", "jobs", rand.Text(), now, now + 900})
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	out := enc.AppendEncode(make([]byte, 0, 512), []byte(`{"alg":"ES256","kid":"bare","typ":"`+typ+`"}`))
	out = enc.AppendEncode(append(out, '.'), payload)
	digest := sha256.Sum256(out)
	r, s, err := ecdsa.Sign(rand.Reader, b.key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return string(enc.AppendEncode(append(out, '.'), signature[:])), nil
}

// verify checks the signature and the expiry.
func (b *bareServer) verify(token string) (out claims, err error) {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return out, errRefused
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || len(signature) != 64 {
		return out, errRefused
	}
	digest := sha256.Sum256([]byte(token[:dot]))
	if !verifyRaw(&b.key.PublicKey, digest[:], signature) {
		return out, errRefused
	}
	_, body, _ := strings.Cut(token[:dot], ".")
	payload, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return out, errRefused
	}
	if err := json.Unmarshal(payload, &out); err != nil || out.Exp <= time.Now().Unix() {
		return out, errRefused
	}
	return out, nil
}

// verifyRaw verifies r and s as JWS has them (RFC 7518 §3.4).
func verifyRaw(key *ecdsa.PublicKey, digest, signature []byte) bool {
	return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}
