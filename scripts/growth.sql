-- Fills a database for measurements: :rows grants and audit rows, a tenth as many clients, users and consents. Ids are
-- as random as those that Gatehouse generates, so that indexes are as scattered; those of grants and audit rows begin
-- with their time, as in Gatehouse.
SET synchronous_commit = off;
SET maintenance_work_mem = '512MB';

INSERT INTO clients (id, name, owner, uri, policy_uri, tos_uri, contacts, logo_uri, application_type, software_id,
    software_version, auth_method, auth_alg, token_endpoint_audience, jwks, jwks_uri, grant_types, redirect_uris,
    scopes, optional_scopes, audience, require_pkce, skip_consent, refresh_rotation, id_token_alg, id_token_claims,
    userinfo_alg, request_object_alg, require_signed_request_object, request_uris, subject_type,
    sector_identifier_uri, sector, require_auth_time, default_acr_values, initiate_login_uri,
    post_logout_redirect_uris, backchannel_logout_uri, backchannel_session_required, allowed_networks, epoch,
    created_at, updated_at)
SELECT 'gc' || md5('client' || n), 'Client ' || n, '', '', '', '', '', '', 'web', '',
    '', 'client_secret_basic', '', false, '', '', 'authorization_code refresh_token',
    'https://client' || n || '.example/callback', 'openid profile email',
    '', '', true, false, true, 'RS256', false, '',
    '', false, '', 'public', '', '',
    false, '', '', '', '',
    false, '', 1, 1790000000000 + n, 1790000000000 + n
FROM generate_series(1, :rows / 10) AS n;

INSERT INTO client_secrets (id, client_id, hash, created_at)
SELECT md5('secret' || n), 'gc' || md5('client' || n), sha256(('secret' || n)::bytea), 1790000000000 + n
FROM generate_series(1, :rows / 10) AS n;

INSERT INTO users (id, username, username_key, email, email_key, name, profile, admin, epoch, created_at, updated_at)
SELECT md5('user' || n)::uuid::text, 'grown' || n, 'grown' || n, 'grown' || n || '@example.com',
    'grown' || n || '@example.com', 'User ' || n, '{}', false, 1, 1790000000000 + n, 1790000000000 + n
FROM generate_series(1, :rows / 10) AS n;

INSERT INTO consents (id, user_id, client_id, scopes, resource_scopes, refused, redirect_uri, created_at, updated_at)
SELECT md5('consent' || n)::uuid::text, md5('user' || n)::uuid::text, 'gc' || md5('client' || n),
    'openid profile email', '#openid #profile #email', '', '', 1790000000000 + n, 1790000000000 + n
FROM generate_series(1, :rows / 10) AS n;

INSERT INTO grants (id, consent_id, client_id, user_id, client_epoch, user_epoch, scopes, resources, claims, session_id,
    offline, auth_time, acr, amr, created_at, expires_at, current_hash, refresh_expires_at)
SELECT 'w' || lpad(to_hex(n / 1000), 4, '0') || left(md5('grant' || n), 18), md5('consent' || o)::uuid::text,
    'gc' || md5('client' || o), md5('user' || o)::uuid::text, 1, 1, 'openid profile email', '', '',
    md5('session' || n)::uuid::text, true, 1790000000000 + n, '', 'pwd', 1790000000000 + n, 4102444800000,
    sha256(('grant' || n)::bytea), 4102444800000
FROM generate_series(1, :rows) AS n, LATERAL (SELECT 1 + n % (:rows / 10)) AS owner (o);

INSERT INTO audit_events (id, at, event, actor, client_id, user_id, grant_id, scopes, token, detail, request_id,
    personal, personal_key, seal)
SELECT '0190' || lpad(to_hex(n), 8, '0') || md5('event' || n), 1790000000000 + n, 'access_token.issued',
    'client:gc' || md5('client' || n % 1000), 'gc' || md5('client' || n % 1000), '', '', 'read write',
    left(md5(n::text), 16), '', left(md5('request' || n), 16), decode(repeat('ab', 60), 'hex'),
    decode(repeat('cd', 16), 'hex'), 0
FROM generate_series(1, :rows) AS n;

-- As autovacuum would have done by then.
VACUUM (ANALYZE);
CHECKPOINT;
