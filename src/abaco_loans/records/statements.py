"""Every statement that the records run: SQL that SQLite and PostgreSQL both take, ``:name`` for each value.

Written out, not built: importing a library that builds them would cost a third of a second in every command.
``schema`` says what the tables are, and a test holds both together. Columns are named one by one, so that a
damaged schema is a failure of the database and not a surprise later.
"""

from __future__ import annotations

# --- the ledger ---

EVENTS_AFTER = """
SELECT seq, recorded_at, actor, action, subject, payload, previous_hash, hash
FROM events WHERE seq > :after_seq ORDER BY seq LIMIT :page"""
LAST_EVENT = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
ADD_EVENT = """
INSERT INTO events (seq, recorded_at, actor, action, subject, payload, previous_hash, hash)
VALUES (:seq, :recorded_at, :actor, :action, :subject, :payload, :previous_hash, :hash)"""
SEALED_IN_LEDGER = """
SELECT e.payload FROM events e JOIN runs r ON r.event_seq = e.seq
WHERE r.run_id = :run_id AND e.subject = :run_id"""

# --- releases ---

RELEASE = "SELECT name, kind, role, meaning_digest, policy_digest FROM releases WHERE name = :name"
ADD_RELEASE = """
INSERT INTO releases (name, kind, role, meaning_digest, policy_digest, first_run_at, recorded_at)
VALUES (:name, :kind, :role, :meaning_digest, :policy_digest, NULL, :recorded_at)"""
AMEND_RELEASE = "UPDATE releases SET role = :role, policy_digest = :policy_digest WHERE name = :name"
FIRST_RUN_OF_RELEASE = "UPDATE releases SET first_run_at = :at WHERE name = :name AND first_run_at IS NULL"

# --- runs ---

RUN = """
SELECT run_id, release, release_digest, tape_sha256, tape_path, layout, as_of, definition, status, attempt, started_at,
  finished_at, rows_in, rows_accepted, rows_quarantined, rows_duplicate, output_folder, manifest_sha256, error,
  timings, warnings, seal, event_seq
FROM runs WHERE run_id = :run_id"""
RUNS_LATEST_FIRST = """
SELECT run_id, release, release_digest, tape_sha256, tape_path, layout, as_of, definition, status, attempt, started_at,
  finished_at, rows_in, rows_accepted, rows_quarantined, rows_duplicate, output_folder, manifest_sha256, error,
  timings, warnings, seal, event_seq
FROM runs ORDER BY event_seq DESC LIMIT :limit"""
RUNS_IN_ORDER = """
SELECT run_id, release, release_digest, tape_sha256, tape_path, layout, as_of, definition, status, attempt, started_at,
  finished_at, rows_in, rows_accepted, rows_quarantined, rows_duplicate, output_folder, manifest_sha256, error,
  timings, warnings, seal, event_seq
FROM runs ORDER BY event_seq"""
LAST_FINISHED = """
SELECT run_id, release, release_digest, tape_sha256, tape_path, layout, as_of, definition, status, attempt, started_at,
  finished_at, rows_in, rows_accepted, rows_quarantined, rows_duplicate, output_folder, manifest_sha256, error,
  timings, warnings, seal, event_seq
FROM runs WHERE status = 'finished' AND SUBSTR(run_id, 1, 6) <> 'panel-'
ORDER BY event_seq DESC LIMIT 1"""
LAST_PANEL = """
SELECT run_id, release, release_digest, tape_sha256, tape_path, layout, as_of, definition, status, attempt, started_at,
  finished_at, rows_in, rows_accepted, rows_quarantined, rows_duplicate, output_folder, manifest_sha256, error,
  timings, warnings, seal, event_seq
FROM runs WHERE status = 'finished' AND SUBSTR(run_id, 1, 6) = 'panel-'
ORDER BY event_seq DESC LIMIT 1"""
FINISHED_BEFORE = """
SELECT run_id, as_of FROM runs
WHERE status = 'finished' AND SUBSTR(run_id, 1, 6) <> 'panel-' AND as_of < :before AND definition = :definition
  AND (CAST(:release AS TEXT) IS NULL OR release = :release)
ORDER BY as_of DESC, event_seq DESC LIMIT 1"""
ADD_RUN = """
INSERT INTO runs (run_id, release, release_digest, tape_sha256, tape_path, layout, as_of, definition, status,
  attempt, started_at, finished_at, rows_in, rows_accepted, rows_quarantined, rows_duplicate, output_folder,
  manifest_sha256, error, timings, warnings, seal, event_seq)
VALUES (:run_id, :release, :release_digest, :tape_sha256, :tape_path, :layout, :as_of, :definition, :status,
  :attempt, :started_at, :finished_at, :rows_in, :rows_accepted, :rows_quarantined, :rows_duplicate, :output_folder,
  :manifest_sha256, :error, :timings, :warnings, :seal, :event_seq)"""
# What a run is of (tape, release, date, definition) never changes; where the tape lay may.
MOVE_RUN = """
UPDATE runs SET tape_path = :tape_path, status = :status, attempt = :attempt, started_at = :started_at,
  finished_at = :finished_at, rows_in = :rows_in, rows_accepted = :rows_accepted,
  rows_quarantined = :rows_quarantined, rows_duplicate = :rows_duplicate, output_folder = :output_folder,
  manifest_sha256 = :manifest_sha256, error = :error, timings = :timings, warnings = :warnings, seal = :seal,
  event_seq = :event_seq
WHERE run_id = :run_id"""

# --- results ---

VALUES_OF_RUN = """
SELECT id, run_id, kpi_id, segment, segment_value, as_of, recorded_at, definition, release, value, value_exact, unit,
  status, reason, low, high, components, seal
FROM kpi_values WHERE run_id = :run_id ORDER BY id"""
HISTORY = """
SELECT id, run_id, kpi_id, segment, segment_value, as_of, recorded_at, definition, release, value, value_exact, unit,
  status, reason, low, high, components, seal
FROM kpi_values
WHERE kpi_id = :kpi_id AND segment = :segment AND segment_value = :segment_value
  AND (CAST(:as_of AS TEXT) IS NULL OR as_of = :as_of)
ORDER BY as_of, id"""
ADD_VALUE = """
INSERT INTO kpi_values (run_id, kpi_id, segment, segment_value, as_of, recorded_at, definition, release, value,
  value_exact, unit, status, reason, low, high, components, seal)
VALUES (:run_id, :kpi_id, :segment, :segment_value, :as_of, :recorded_at, :definition, :release, :value,
  :value_exact, :unit, :status, :reason, :low, :high, :components, :seal)"""
COUNTS_OF_RUN = """
SELECT c.file, c."column", c.code, c.rows, c.amount
FROM quarantine_counts c JOIN runs r ON r.run_id = c.run_id AND r.attempt = c.attempt
WHERE c.run_id = :run_id"""
ADD_COUNT = """
INSERT INTO quarantine_counts (run_id, attempt, file, "column", code, rows, amount)
VALUES (:run_id, :attempt, :file, :column, :code, :rows, :amount)"""

# --- the schema and the server; by backend ---

REVISION = "SELECT version_num FROM alembic_version"
HAS_REVISION = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT name FROM (SELECT to_regclass('alembic_version') AS name) t WHERE name IS NOT NULL",
}
BEGIN_TO_READ = "BEGIN"
BEGIN_TO_WRITE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
WAIT_AT_MOST = "SELECT set_config('lock_timeout', :wait, true)"
WRITE_ALONE = "SELECT pg_advisory_xact_lock(:key)"
