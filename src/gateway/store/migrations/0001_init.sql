-- Credentials are kept as lower-case hex SHA-256 only. Times are RFC 3339 in UTC. Lists and maps are JSON.

create table agents (
  id text primary key not null,
  name text not null unique,
  mode text not null,
  key_hash text not null unique,
  metadata text not null default '{}',
  created text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

create table users (
  name text primary key not null,
  token_hash text not null unique,
  admin integer not null,
  created text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

create table connections (
  id text primary key not null,
  name text not null unique,
  agent_id text not null,
  -- 'hoopagent' when the agent announced it, null when an administrator made it.
  managed_by text,
  type text not null,
  subtype text not null default '',
  command text not null default '[]',
  envs text not null default '{}',
  reviewers text not null default '[]',
  redact_types text not null default '[]',
  created text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
create index connections_by_agent on connections (agent_id);

create table sessions (
  id text primary key not null,
  user text not null,
  connection text not null,
  connection_type text not null,
  agent text not null,
  verb text not null,
  -- 'open' or 'done'.
  state text not null default 'open',
  -- Null while open, and when nobody knows how the program ended.
  exit_code integer,
  cause text,
  started text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  ended text
);
create index sessions_by_start on sessions (started);
create index sessions_by_state on sessions (state);
