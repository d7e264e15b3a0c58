-- Rights that nobody used. Of a user the engine needs no more than whether he is active, and where: 0001 has not
-- granted more since a login that does not own users can run it.
-- Operators will see the job system through views, which need no right to what lies behind them.
revoke usage on schema nexus_engine, graphile_worker from nexus_ops;

-- Graphile Worker lets everybody execute its functions, as Postgres does by default.
set local role nexus_worker;
alter default privileges revoke execute on functions from public;
revoke execute on all functions in schema graphile_worker from public;
