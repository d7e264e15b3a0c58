import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeTarget, parseTarget } from "../../src/database/hosts.ts";

describe("a connection string", () => {
  const hosts = (url: string) => parseTarget(url).hosts.map(({ host, port }) => `${host} ${port}`);

  it("names one host or several, with or without ports, user and database", () => {
    assert.deepEqual(hosts("postgres://u:p%40ss@h1:5432,h2:5433/db?application_name=x"), [
      "h1 5432",
      "h2 5433",
    ]);
    assert.deepEqual(hosts("postgresql://h1,[::1]:6000,10.0.0.3/db"), [
      "h1 5432",
      "::1 6000",
      "10.0.0.3 5432",
    ]);
    assert.deepEqual(hosts("postgres://u:a,b@c@h1/db"), ["h1 5432"]);
    assert.deepEqual(hosts("postgres:///db?host=/var/run/postgresql"), [" 5432"]);
  });

  it("becomes one of a single host with everything else as it was", () => {
    const { hosts, urlOf } = parseTarget(
      "postgres://u:p%40ss@h1,[::1]:6000/db?sslmode=verify-full",
    );
    assert.deepEqual(hosts.map(urlOf), [
      "postgres://u:p%40ss@h1:5432/db?sslmode=verify-full",
      "postgres://u:p%40ss@[::1]:6000/db?sslmode=verify-full",
    ]);
    const single = "postgres://u@h1/db?host=/run";
    assert.equal(parseTarget(single).urlOf({ host: "h1", port: 5432 }), single);
  });

  it("wants a server that takes writes when it says so, and when it names several", () => {
    const writable = (url: string) => parseTarget(url).mustBeWritable;
    assert.equal(writable("postgres://h1/db"), false);
    assert.equal(writable("postgres://h1,h2/db"), true);
    assert.equal(writable("postgres://h1/db?target_session_attrs=read-write"), true);
    assert.equal(writable("postgres://h1/db?target_session_attrs=primary"), true);
  });

  it("goes without names of statements through PgBouncer, unless told that they are followed", () => {
    const of = (url: string) => {
      const { pooled, preparedStatements } = parseTarget(url);
      return [pooled, preparedStatements];
    };
    assert.deepEqual(of("postgres://h/db"), [false, true]);
    assert.deepEqual(of("postgres://h/db?pgbouncer=true"), [true, false]);
    assert.deepEqual(of("postgres://h/db?pgbouncer=true&prepared_statements=true"), [true, true]);
    assert.deepEqual(of("postgres://h/db?pgbouncer=false"), [false, true]);
  });

  it("is refused with what was expected, and never shown", () => {
    for (const [url, expected] of [
      ["mysql://u:geheim@h/db", /postgres:\/\//],
      ["postgres://u:geheim@h:port/db", /host or host:port/],
      ["postgres://u:geheim@h:70000/db", /host or host:port/],
      ["postgres://u:geheim@h1,,h2/db", /a host's name between the commas/],
      ["postgres://u:geheim@h/db?host=h1,h2", /several hosts before the database's name/],
      [
        "postgres://u:geheim@h/db?target_session_attrs=any",
        /read-write or primary, got something else/,
      ],
      [
        "postgres://u:geheim@h/db?pgbouncer=1",
        /pgbouncer: expected true or false, got something else/,
      ],
      // Not encoded, so that a piece of the password stands where something else should.
      ["postgres://u:geheim/2@h/db", /percent-encode .*\/ as %2F, # as %23, \? as %3F/],
      ["postgres://u:geheim#2@h/db", /percent-encode/],
      ["postgres://u:geheim?2@h/db", /percent-encode/],
      ["postgres://u:p@geheim/2@h/db", /percent-encode/],
      ["postgres://u:12?x=geheim@h/db", /percent-encode/],
      ["postgres://u:geheim%2@h/db", /percent-encode/],
      ["postgres://u:geheim/db", /percent-encode/],
    ] as const) {
      assert.throws(
        () => parseTarget(url),
        (error: Error) => expected.test(error.message) && !error.message.includes("geheim"),
        url,
      );
    }
  });

  it("is described by where it leads, without its password", () => {
    for (const [url, leadsTo] of [
      ["postgres://u:geheim@h1,h2:5433/db", "h1:5432, h2:5433"],
      ["postgres://u:geheim@h1/db?host=h2&port=6000", "h2:6000"],
      ["postgres://u:geheim@/db?host=/var/run/postgresql", "/var/run/postgresql/.s.PGSQL.5432"],
      ["postgres://u:geheim@%2Frun%2Fpg:6000/db", "/run/pg/.s.PGSQL.6000"],
      ["postgres://u:geheim@[::1]:6000/db", "[::1]:6000"],
    ] as const) {
      assert.equal(describeTarget(url), leadsTo);
    }
  });

  it("keeps its options to itself, and what would change our sessions", () => {
    const { options, hosts, urlOf } = parseTarget(
      "postgres://u@h/db?options=endpoint%3Dep-1%20-c%20jit%3Don&statement_timeout=1&sslmode=disable&query_timeout=1",
    );
    assert.equal(options, "endpoint=ep-1 -c jit=on");
    assert.deepEqual(hosts.map(urlOf), ["postgres://u@h/db?sslmode=disable"]);
  });
});
