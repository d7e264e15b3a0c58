set local role nexus_owner;

-- A number that follows everything a finding's urgency, message and extra_data are composed of, so
-- that the reconciler sees what changed without composing them. Null: they are composed and compared.
alter type nexus_engine.finding add attribute content_key bigint;
