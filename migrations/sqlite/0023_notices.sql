-- +goose Up

-- digest: of a notice that waits because its user got many of its kind: further equal ones are merged with it. merged:
-- how many were.
ALTER TABLE deliveries ADD COLUMN digest BLOB;
ALTER TABLE deliveries ADD COLUMN merged BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX deliveries_digest ON deliveries (digest) WHERE digest IS NOT NULL;

-- Emails and other deliveries are queried separately, so that neither reads the backlog of the other.
DROP INDEX deliveries_next;
CREATE INDEX deliveries_next ON deliveries (next_at) WHERE kind <> 'mail';
CREATE INDEX deliveries_next_mail ON deliveries (next_at) WHERE kind = 'mail';
CREATE INDEX deliveries_created_mail ON deliveries (created_at) WHERE kind = 'mail';
