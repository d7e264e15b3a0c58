import type { Client } from "pg";

/** By name and not by oid, a line each: what there is in a database and its cluster, and who may do what with it. */
export async function catalogue(client: Client): Promise<string[]> {
  await client.query("set search_path = pg_catalog");
  const { rows: tables } = await client.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c
     where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r'
       -- What ANALYZE and large objects write, not who attaches and detaches.
       and c.relname not in ('pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject')
     order by 1`,
  );
  const counts = tables.map(({ name }) => `select '${name}: ' || count(*) || ' rows' from ${name}`);
  const { rows } = await client.query<{ line: string }>(
    `select line from (${[...details, ...counts].join(" union all ")}) l (line) order by line`,
  );
  await client.query("set search_path = ''");
  return rows.map(({ line }) => line);
}

/** An access control list as it works: none given is the default one. */
const acl = (kind: string, list: string, owner: string) => `(
  select string_agg(format('%s=%s%s by %s', coalesce(grantee.rolname, 'public'), a.privilege_type,
    case when a.is_grantable then '*' end, a.grantor::regrole), ' ' order by grantee.rolname, a.privilege_type, a.grantor::regrole::text)
  from aclexplode(coalesce(${list}, acldefault('${kind}', ${owner}))) a left join pg_roles grantee on grantee.oid = a.grantee)`;

const identity = (classid: string, objid: string, objsubid: string) =>
  `(select i.type || ' ' || i.identity from pg_identify_object(${classid}, ${objid}, ${objsubid}) i)`;

const details = [
  // Without what vacuum counts.
  `select format('class %s %s', c.oid::regclass, to_jsonb(c) - array['oid', 'relname', 'relfilenode', 'relacl', 'relpages', 'reltuples',
      'relallvisible', 'relallfrozen', 'relfrozenxid', 'relminmxid', 'reltoastrelid', 'reltype', 'relnamespace', 'reloftype'])
    from pg_class c where c.relnamespace = 'public'::regnamespace`,
  `select format('privileges of %s: %s', c.oid::regclass, ${acl("r", "c.relacl", "c.relowner")})
    from pg_class c where c.relkind in ('r', 'v', 'm', 'p', 'f') and c.relnamespace::regnamespace::text !~ '^pg_toast'`,
  `select format('privileges of sequence %s: %s', c.oid::regclass, ${acl("s", "c.relacl", "c.relowner")})
    from pg_class c where c.relkind = 'S'`,
  `select format('column %s.%s %s: %s', a.attrelid::regclass, a.attname,
      to_jsonb(a) - array['attrelid', 'attacl', 'attmissingval', 'attstattarget'], ${acl("c", "a.attacl", "c.relowner")})
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    where c.relnamespace = 'public'::regnamespace or a.attacl is not null`,
  `select format('schema %s of %s: %s', n.nspname, n.nspowner::regrole, ${acl("n", "n.nspacl", "n.nspowner")})
    from pg_namespace n where n.nspname !~ '^pg_(toast_)?temp_'`,
  `select format('function %s of %s: %s', p.oid::regprocedure, p.proowner::regrole, ${acl("f", "p.proacl", "p.proowner")})
    from pg_proc p where p.oid > 16383 or p.proacl is not null`,
  `select format('type %s of %s: %s', t.oid::regtype, t.typowner::regrole, ${acl("T", "t.typacl", "t.typowner")})
    from pg_type t where t.oid > 16383 or t.typacl is not null`,
  `select format('language %s: %s', l.lanname, ${acl("l", "l.lanacl", "l.lanowner")}) from pg_language l`,
  `select format('database %s %s: %s', d.datname, to_jsonb(d) - array['oid', 'datacl', 'datfrozenxid', 'datminmxid'], ${acl("d", "d.datacl", "d.datdba")})
    from pg_database d`,
  `select format('tablespace %s: %s', t.spcname, ${acl("t", "t.spcacl", "t.spcowner")}) from pg_tablespace t`,
  "select format('trigger %s %s', pg_get_triggerdef(t.oid), t.tgenabled) from pg_trigger t",
  "select format('index %s %s', pg_get_indexdef(i.indexrelid), i.indisvalid) from pg_index i where i.indrelid::regclass::text !~ '^pg_'",
  "select format('constraint %s on %s: %s', c.conname, c.conrelid::regclass, pg_get_constraintdef(c.oid)) from pg_constraint c",
  "select format('rule %s', pg_get_ruledef(r.oid)) from pg_rewrite r",
  "select format('policy %s on %s', p.polname, p.polrelid::regclass) from pg_policy p",
  "select format('default privileges %s %s %s', d.defaclrole::regrole, d.defaclobjtype, d.defaclacl) from pg_default_acl d",
  "select format('role %s', to_jsonb(r) - 'oid') from pg_roles r",
  "select format('member %s of %s by %s %s', m.member::regrole, m.roleid::regrole, m.grantor::regrole, to_jsonb(m) - array['oid', 'roleid', 'member', 'grantor']) from pg_auth_members m",
  "select format('settings of %s in %s: %s', s.setrole::regrole, s.setdatabase, s.setconfig) from pg_db_role_setting s",
  "select format('extension %s %s', e.extname, e.extversion) from pg_extension e",
  "select format('event trigger %s', e.evtname) from pg_event_trigger e",
  `select format('comment on %s: %s', ${identity("d.classoid", "d.objoid", "d.objsubid")}, d.description) from pg_description d where d.objoid > 16383`,
  "select format('comment on a shared object %s', d.description) from pg_shdescription d",
  `select format('dependency of %s on %s: %s', ${identity("d.classid", "d.objid", "d.objsubid")}, ${identity("d.refclassid", "d.refobjid", "d.refobjsubid")}, d.deptype)
    from pg_depend d where d.objid > 16383`,
  `select format('dependency in %s of %s on %s: %s', d.datname, s.classid::regclass, ${identity("s.refclassid", "s.refobjid", "0")}, s.deptype)
    from pg_shdepend s left join pg_database d on d.oid = s.dbid`,
];
