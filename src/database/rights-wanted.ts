/**
 * Every right that we need, in one query: what must be there, whether it is, and whether the login that attaches
 * makes it itself. By names and has_*_privilege, never by trying: it changes nothing, and any role may ask.
 */
import { posRights, triggerTables } from "./pos.ts";

/** A right of the list; what is granted on a table comes with its parts, so that one statement can have many. */
export type Wanted = {
  section: "roles" | "rows" | "database" | "tables";
  statement: string | null;
  grantee: string | null;
  relation: string | null;
  privilege: string | null;
  /** Who else may run it, where the catalogue names somebody. */
  owner: string | null;
  /** Since PostgreSQL 16 CREATEROLE is not enough to grant a role. */
  is_16: boolean;
  /** Whether the login that attaches may give BYPASSRLS to those of our roles that need it. */
  may_bypass: boolean;
};

/**
 * $1 the login that attaches, $2 that of the worker and $3 that of the API (null: the same login), $4 whether
 * the first acts as nexus_server too. Gives what lacks, and what the login does not make itself.
 */
export const wantedRights = async () => `
with granted (role, relation, privilege, columns) as (
${await posRights()}
), version as (
  select current_setting('server_version_num')::int >= 160000 as is_16
), login as (
  select n.name, r.oid, coalesce(r.rolsuper, false) as is_super, coalesce(r.rolcreaterole, false) as creates,
    coalesce(r.rolbypassrls, false) as bypasses,
    coalesce(r.rolinherit, true) as inherits
  from (select $1::name as name) n left join pg_catalog.pg_roles r on r.rolname = n.name
), pos_table as (
  select c.oid, c.relname as name, c.relrowsecurity as secured, c.relforcerowsecurity as forced, c.relowner as owner,
    pg_catalog.pg_get_userbyid(c.relowner) as owner_name
  from pg_catalog.pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relname in (select g.relation from granted g)
), ours as (
  select w.n, w.name, w.attribute, r.oid, coalesce(not r.rolbypassrls and not r.rolsuper, true) and exists (
      select from pos_table t join granted g on g.role = w.name and g.relation = t.name
      where t.secured and (t.forced or not coalesce(pg_catalog.pg_has_role(r.oid, t.owner, 'usage'), false))) as is_blind
  from (values (1, 'nexus_owner', 'inherit'), (2, 'nexus_worker', 'noinherit'), (3, 'nexus_queue', 'noinherit'),
    (4, 'nexus_server', 'noinherit'), (5, 'nexus_tienda', 'noinherit'), (6, 'nexus_ops', 'noinherit')) w (n, name, attribute)
  left join pg_catalog.pg_roles r on r.rolname = w.name
), made as (
  -- Who cannot let a role see all rows does not make it either: it would come without the right.
  select o.*, (l.is_super or l.creates) and not o.is_blind as by_login from ours o, login l
), membership as (
  select w.n, w.granted, w.member, w.inherits, w.is_login
  from (values (1, 'nexus_worker', 'nexus_owner', true, false), (2, 'nexus_queue', 'nexus_owner', true, false),
    (3, 'nexus_tienda', 'nexus_server', false, false), (4, 'nexus_ops', 'nexus_server', false, false)
  ) w (n, granted, member, inherits, is_login)
  union all
  select 5, 'nexus_owner', l.name, true, true from login l
  union all
  select 6, 'nexus_server', l.name, false, true from login l where $4::boolean
  union all
  select 7, 'nexus_worker', $2::name, false, true where $2 is not null
  union all
  select 8, 'nexus_server', $3::name, false, true where $3 is not null
), wanted as (
  select 1 + m.n / 100.0 as place, 'roles' as section, format('create role %I nologin %s%s', m.name, m.attribute, case when m.is_blind then ' bypassrls' end) as statement,
    null::text as grantee, null::text as relation, null::text as privilege, null::text as owner
  from made m where m.oid is null and not m.by_login
  union all
  select 2, 'roles', format('create role %I login', w.name), null, null, null, null
  from unnest(array[$1, $2, $3]::name[]) w (name)
  where w.name is not null and not exists (select from pg_catalog.pg_roles r where r.rolname = w.name)
  union all
  select 3, 'roles', format('alter role %I inherit', l.name), null, null, null, null
  from login l, version v where not v.is_16 and not l.inherits and not l.is_super
  union all
  select 4 + m.n / 100.0, 'roles', format('grant %I to %I', m.granted, m.member) || case
      when m.is_login and v.is_16 then format(' with inherit %s, set true', m.inherits::text) else '' end, null, null, null,
    (select string_agg(distinct quote_ident(a.rolname), ' or ') from pg_catalog.pg_auth_members am
     join pg_catalog.pg_roles a on a.oid = am.member and a.rolname not like 'pg\\_%'
     where am.roleid = g.oid and am.admin_option)
  from membership m
  cross join version v cross join login l
  join made g on g.name = m.granted
  left join pg_catalog.pg_roles r on r.rolname = m.member
  where not (coalesce(pg_catalog.pg_has_role(r.oid, g.oid, case when v.is_16 then 'set' else 'member' end), false)
      and (not m.inherits or coalesce(pg_catalog.pg_has_role(r.oid, g.oid, 'usage'), false)))
    -- Of what lacks, the login grants what it may: never to logins that are not its own.
    and not ((m.member = l.name or not m.is_login) and (l.is_super
      or coalesce(pg_catalog.pg_has_role(l.oid, g.oid, 'member with admin option'), g.by_login)
      or not v.is_16 and l.creates))
  union all
  select 5, 'rows', format('alter role %I bypassrls', m.name), null, null, null, null
  from made m where m.is_blind and m.oid is not null
  union all
  select 6, 'database', format('grant create on database %I to %I', d.datname, l.name), null, null, null, pg_catalog.pg_get_userbyid(d.datdba)
  from login l, pg_catalog.pg_database d
  where d.datname = current_database()
    and not coalesce(pg_catalog.has_database_privilege(l.oid, d.oid, 'create'), pg_catalog.has_database_privilege('public', d.oid, 'create'))
    and (select count(*) from pg_catalog.pg_namespace n where n.nspname in ('nexus_engine', 'nexus_api', 'graphile_worker')) < 3
  union all
  select 7, 'database', format('grant connect on database %I to %I', d.datname, w.name), null, null, null, pg_catalog.pg_get_userbyid(d.datdba)
  from unnest(array[$1, $2, $3]::name[]) w (name)
  cross join pg_catalog.pg_database d
  left join pg_catalog.pg_roles r on r.rolname = w.name
  where w.name is not null and d.datname = current_database()
    and not coalesce(pg_catalog.has_database_privilege(r.oid, d.oid, 'connect'), pg_catalog.has_database_privilege('public', d.oid, 'connect'))
  union all
  select 8, 'tables', format('grant usage on schema public to %I', o.name), null, null, null, pg_catalog.pg_get_userbyid(n.nspowner)
  from made o cross join login l cross join pg_catalog.pg_namespace n
  where o.name in ('nexus_owner', 'nexus_worker') and n.nspname = 'public'
    and not coalesce(pg_catalog.has_schema_privilege(o.oid, n.oid, 'usage'), pg_catalog.has_schema_privilege('public', n.oid, 'usage'))
    and not coalesce(pg_catalog.has_schema_privilege(l.oid, n.oid, 'usage with grant option'), false)
  union all
  select 9 + (g.columns is not null)::int, 'tables', null, g.role, g.relation,
    g.privilege || coalesce(' (' || array_to_string(g.columns, ', ') || ')', ''), t.owner_name
  from granted g
  join made o on o.name = g.role
  join pos_table t on t.name = g.relation
  cross join login l
  where not coalesce(pg_catalog.has_table_privilege(l.oid, t.oid, g.privilege || ' with grant option'), false)
    and case when g.columns is null
      then not coalesce(pg_catalog.has_table_privilege(o.oid, t.oid, g.privilege), pg_catalog.has_table_privilege('public', t.oid, g.privilege))
      else (select count(*) from pg_catalog.pg_attribute a where a.attrelid = t.oid and a.attname = any (g.columns)
        and coalesce(pg_catalog.has_column_privilege(o.oid, t.oid, a.attnum, g.privilege), pg_catalog.has_column_privilege('public', t.oid, a.attnum, g.privilege)))
        < cardinality(g.columns) end
  union all
  select 11, 'tables', null, l.name, t.name, 'trigger', t.owner_name
  from login l cross join pos_table t
  where t.name = any ('{${triggerTables}}')
    and not coalesce(pg_catalog.has_table_privilege(l.oid, t.oid, 'trigger'), pg_catalog.has_table_privilege('public', t.oid, 'trigger'))
)
select w.section, w.statement, quote_ident(w.grantee) as grantee, w.relation, w.privilege, w.owner, v.is_16,
  l.is_super or v.is_16 and l.creates and l.bypasses and not exists (select from made m
    where m.is_blind and m.oid is not null and not pg_catalog.pg_has_role(l.oid, m.oid, 'member with admin option')) as may_bypass
from wanted w, version v, login l order by w.place, w.statement, w.grantee, w.relation,
  array_position(array['select', 'insert', 'update', 'delete', 'trigger'], w.privilege)`;
