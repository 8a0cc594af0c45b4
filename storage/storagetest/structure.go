package storagetest

// compareStructure reports whether the schemas $1 and $2 have the same structure: relations, columns, constraints,
// indexes, triggers, functions, types, owners and privileges.
const compareStructure = `
WITH schemas AS (SELECT oid AS n, nspowner, nspacl FROM pg_namespace WHERE nspname IN ($1, $2)),
relations AS (SELECT n, c.* FROM schemas JOIN pg_class c ON c.relnamespace = n),
lines AS (
	SELECT n, ROW('schema', nspowner, nspacl)::text AS line FROM schemas
	UNION ALL SELECT n, ROW('relation', relname, relkind, relpersistence, relowner, relacl, reloptions, relrowsecurity,
		relforcerowsecurity, relreplident, relispartition)::text FROM relations
	UNION ALL SELECT n, ROW('column', relname, attnum, attname, atttypid, atttypmod, attnotnull, attidentity, attgenerated,
		attcollation, attacl, attoptions, attstorage, pg_get_expr(adbin, adrelid))::text
		FROM relations r JOIN pg_attribute ON attrelid = r.oid AND attnum > 0
		LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE relkind <> 'i'
	UNION ALL SELECT n, ROW('constraint', r.relname, conname, contype, condeferrable, condeferred, convalidated, conkey,
		t.relname, confkey, confupdtype, confdeltype, pg_get_expr(conbin, conrelid))::text
		FROM relations r JOIN pg_constraint ON conrelid = r.oid LEFT JOIN pg_class t ON t.oid = confrelid
	UNION ALL SELECT n, ROW('index', t.relname, r.relname, indisunique, indisprimary, indimmediate, indisvalid, indkey,
		indcollation, indclass, indoption, pg_get_expr(indexprs, indrelid), pg_get_expr(indpred, indrelid))::text
		FROM relations r JOIN pg_index ON indexrelid = r.oid JOIN pg_class t ON t.oid = indrelid
	UNION ALL SELECT n, ROW('trigger', relname, tgenabled, tgtype, tgfoid, CASE WHEN NOT tgisinternal THEN tgname END,
		count(*))::text FROM relations r JOIN pg_trigger ON tgrelid = r.oid
		GROUP BY n, relname, tgenabled, tgtype, tgfoid, CASE WHEN NOT tgisinternal THEN tgname END
	UNION ALL SELECT n, ROW('rule', relname, rulename)::text FROM relations r JOIN pg_rewrite ON ev_class = r.oid
	UNION ALL SELECT n, ROW('policy', relname, polname)::text FROM relations r JOIN pg_policy ON polrelid = r.oid
	UNION ALL SELECT n, ROW('function', proname, proacl, prosrc)::text FROM schemas JOIN pg_proc ON pronamespace = n
	UNION ALL SELECT n, ROW('type', typname, typtype, typacl)::text FROM schemas JOIN pg_type ON typnamespace = n
	UNION ALL SELECT n, ROW('privileges', defaclacl)::text FROM schemas JOIN pg_default_acl ON defaclnamespace = n
)
SELECT (SELECT count(*) FROM schemas) = 2 AND NOT EXISTS (
	SELECT FROM lines GROUP BY line HAVING count(*) <> 2 OR count(DISTINCT n) <> 2)`

// emptyTables leaves in the tables of SCHEMA the rows that those of REFERENCE have. It waits for transactions that have
// not ended. DELETE takes a twentieth of the time of TRUNCATE, which removes what DELETE leaves from time to time. The
// tables are emptied by one statement because the order does not matter then for their foreign keys.
const emptyTables = `
SET LOCAL lock_timeout = '30s';
DO $$
DECLARE
	names text; size bigint; deletions text; name text;
BEGIN
	SELECT string_agg(format('SCHEMA.%I', relname), ', '), sum(pg_relation_size(oid)),
		string_agg(format('%I AS (DELETE FROM SCHEMA.%I)', 'delete_' || relname, relname), ', ')
		INTO names, size, deletions FROM pg_class WHERE relnamespace = 'SCHEMA'::regnamespace AND relkind = 'r';
	EXECUTE 'LOCK TABLE ' || names || ' IN ACCESS EXCLUSIVE MODE';
	IF size > 2000000 THEN
		EXECUTE 'TRUNCATE ' || names;
	ELSE
		EXECUTE 'WITH ' || deletions || ' SELECT';
	END IF;
	FOR name IN SELECT relname FROM pg_class
		WHERE relnamespace = 'REFERENCE'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
	LOOP
		EXECUTE format('INSERT INTO SCHEMA.%I OVERRIDING SYSTEM VALUE SELECT * FROM REFERENCE.%I', name, name);
	END LOOP;
	FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'REFERENCE'::regnamespace AND relkind = 'S' LOOP
		EXECUTE format('SELECT setval(%L, last_value, is_called) FROM REFERENCE.%I', 'SCHEMA.' || quote_ident(name), name);
	END LOOP;
END $$`

// dropOthers drops the spare and reference schemas of other migrations, and a reference schema that is not complete.
const dropOthers = `
DO $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT nspname FROM pg_namespace WHERE nspname ~ '^(spare|(new_)?reference)_[0-9a-f]{12}' LOOP
		EXECUTE format('DROP SCHEMA %I CASCADE', name);
	END LOOP;
END $$`
