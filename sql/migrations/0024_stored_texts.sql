-- What attach() puts back without a process of ours: the texts of functions and views, and what they made.
set local role nexus_owner;

alter table nexus_engine.migration add column text text;
comment on column nexus_engine.migration.text is
  'The text of a file that is applied again when something of it is missing, see nexus_engine.apply_texts().';

create table nexus_engine.made_object (
  type text not null,
  identity text not null,
  primary key (type, identity)
);
comment on table nexus_engine.made_object is
  'Every function, view and trigger of ours after the files were applied last, see nexus_engine.missing_objects().';
