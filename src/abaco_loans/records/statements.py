"""Every statement that the records run: SQL that SQLite and PostgreSQL both take, ``:name`` for each value.

Written out, not built: importing a library that builds them would cost a third of a second in every command (only
``server_copy``, which reads and writes all columns of all tables, has it build them).
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
COUNT_EVENTS = "SELECT action, COUNT(*) AS events FROM events GROUP BY action"
LAST_EVENT_OF_ACTION = """
SELECT seq, recorded_at, actor, action, subject, payload, previous_hash, hash
FROM events WHERE action = :action ORDER BY seq DESC LIMIT 1"""
SEALED_IN_LEDGER = """
SELECT e.payload FROM events e JOIN runs r ON r.event_seq = e.seq
WHERE r.run_id = :run_id AND e.subject = :run_id"""

# --- releases ---

RELEASE = "SELECT name, kind, role, meaning_digest, policy_digest FROM releases WHERE name = :name"
RELEASES = """
SELECT name, kind, role, meaning_digest, policy_digest, first_run_at, recorded_at
FROM releases WHERE kind <> 'mapping' ORDER BY name"""
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
# By events, not by what runs are now: a run may fail, and then finish.
COUNT_ENDS = """
SELECT r.release, e.action, COUNT(*) AS ends
FROM events e JOIN runs r ON r.run_id = e.subject
WHERE e.action IN ('run.finished', 'run.refused', 'run.failed') AND SUBSTR(r.run_id, 1, 6) <> 'panel-'
GROUP BY r.release, e.action ORDER BY MIN(e.seq)"""
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

# --- shadow runs and sealed gates ---

EVENTS_OF = "SELECT seq, action, subject, payload FROM events WHERE subject = :subject ORDER BY seq"
# As in `shadows.STATE_ACTIONS`; a test holds both together.
EVENTS_OF_SHADOWS_AND_SEALS = """
SELECT seq, action, subject, payload FROM events
WHERE action IN ('shadow.planned', 'shadow.finished', 'shadow.failed', 'gates.sealed', 'gates.loosened',
  'gates.approved')
ORDER BY seq"""
SHADOW = """
SELECT shadow_id, baseline, candidate, baseline_meaning, candidate_meaning, tape_sha256, tape_name, as_of, repeats,
  gates_digest, expected_digest, status, verdict, dry_run, report_sha256, error, planned_at, finished_at, seal,
  event_seq
FROM shadow_runs WHERE shadow_id = :shadow_id"""
SHADOWS_LATEST_FIRST = """
SELECT shadow_id, baseline, candidate, baseline_meaning, candidate_meaning, tape_sha256, tape_name, as_of, repeats,
  gates_digest, expected_digest, status, verdict, dry_run, report_sha256, error, planned_at, finished_at, seal,
  event_seq
FROM shadow_runs WHERE CAST(:candidate AS TEXT) IS NULL OR candidate = :candidate
ORDER BY event_seq DESC LIMIT :limit"""
SHADOWS_IN_ORDER = """
SELECT shadow_id, baseline, candidate, baseline_meaning, candidate_meaning, tape_sha256, tape_name, as_of, repeats,
  gates_digest, expected_digest, status, verdict, dry_run, report_sha256, error, planned_at, finished_at, seal,
  event_seq
FROM shadow_runs ORDER BY event_seq"""
SHADOWS_OF_CANDIDATE = """
SELECT shadow_id, baseline, candidate, baseline_meaning, candidate_meaning, tape_sha256, tape_name, as_of, repeats,
  gates_digest, expected_digest, status, verdict, dry_run, report_sha256, error, planned_at, finished_at, seal,
  event_seq
FROM shadow_runs WHERE candidate = :candidate ORDER BY event_seq"""
ADD_SHADOW = """
INSERT INTO shadow_runs (shadow_id, baseline, candidate, baseline_meaning, candidate_meaning, tape_sha256,
  tape_name, as_of, repeats, gates_digest, expected_digest, status, verdict, dry_run, report_sha256, error,
  planned_at, finished_at, seal, event_seq)
VALUES (:shadow_id, :baseline, :candidate, :baseline_meaning, :candidate_meaning, :tape_sha256, :tape_name, :as_of,
  :repeats, :gates_digest, :expected_digest, :status, :verdict, :dry_run, :report_sha256, :error, :planned_at,
  :finished_at, :seal, :event_seq)"""
# What is compared, and by which gates, never changes.
END_SHADOW = """
UPDATE shadow_runs SET status = :status, verdict = :verdict, dry_run = :dry_run, report_sha256 = :report_sha256,
  error = :error, finished_at = :finished_at, seal = :seal, event_seq = :event_seq
WHERE shadow_id = :shadow_id"""
SEALS_OF = """
SELECT id, candidate, gates_digest, expected_digest, gates, expected, loosened, sealed_at, sealed_by, approved_by,
  approved_at, reason, seal, event_seq
FROM gate_seals WHERE candidate = :candidate ORDER BY id"""
SEALS_IN_ORDER = """
SELECT id, candidate, gates_digest, expected_digest, gates, expected, loosened, sealed_at, sealed_by, approved_by,
  approved_at, reason, seal, event_seq
FROM gate_seals ORDER BY id"""
ADD_SEAL = """
INSERT INTO gate_seals (candidate, gates_digest, expected_digest, gates, expected, loosened, sealed_at, sealed_by,
  approved_by, approved_at, reason, seal, event_seq)
VALUES (:candidate, :gates_digest, :expected_digest, :gates, :expected, :loosened, :sealed_at, :sealed_by,
  :approved_by, :approved_at, :reason, :seal, :event_seq)"""
APPROVE_SEAL = """
UPDATE gate_seals SET approved_by = :approved_by, approved_at = :approved_at, reason = :reason, seal = :seal,
  event_seq = :event_seq
WHERE id = :id"""

# --- production: the pointer, jobs and results ---

EVENT_PAYLOAD = "SELECT payload FROM events WHERE seq = :seq"
# As in `production.STATE_ACTIONS`; a test holds both together.
EVENTS_OF_PRODUCTION = """
SELECT seq, action, subject, payload FROM events
WHERE action IN ('pointer.set', 'pointer.held', 'pointer.released', 'pointer.switched', 'job.submitted',
  'job.taken', 'job.done', 'job.failed', 'job.returned', 'job.fenced', 'job.requeued')
ORDER BY seq"""
EVENTS_OF_RESULTS = "SELECT seq, action, subject, payload FROM events WHERE action = 'job.done' ORDER BY seq"
POINTER = """
SELECT id, 'production' AS subject, active, previous, epoch, held_by, changed_at, seal, event_seq
FROM pointer ORDER BY id"""
ADD_POINTER = """
INSERT INTO pointer (id, active, previous, epoch, held_by, changed_at, seal, event_seq)
VALUES (:id, :active, :previous, :epoch, :held_by, :changed_at, :seal, :event_seq)"""
MOVE_POINTER = """
UPDATE pointer SET active = :active, previous = :previous, epoch = :epoch, held_by = :held_by,
  changed_at = :changed_at, seal = :seal, event_seq = :event_seq
WHERE id = :id"""
JOB = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs WHERE job_id = :job_id"""
JOBS_LATEST_FIRST = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs WHERE CAST(:status AS TEXT) IS NULL OR status = :status
ORDER BY event_seq DESC LIMIT :limit"""
JOBS_IN_ORDER = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs ORDER BY event_seq"""
OLDEST_QUEUED = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs WHERE status = 'queued' ORDER BY submitted_at, event_seq LIMIT 1"""
JOBS_LEASED = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs WHERE status = 'leased' ORDER BY event_seq"""
JOBS_SERVED_SINCE = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs WHERE epoch >= :epoch ORDER BY event_seq"""
# What waits longest; a lease that ran out waits from when it was given.
_NEXT_JOB = """
SELECT job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until, submitted_at,
  served_by, run_id, epoch, error, seal, event_seq
FROM jobs
WHERE status = 'queued' OR (status = 'leased' AND (lease_until <= :now OR lease_until > :too_far))
ORDER BY event_seq LIMIT 1"""
# Writers take turns already, for the ledger; the row is locked against whoever changes jobs without us.
NEXT_JOB = {"sqlite": _NEXT_JOB, "postgresql": _NEXT_JOB + "\nFOR UPDATE SKIP LOCKED"}
COUNT_JOBS = "SELECT status, COUNT(*) AS jobs FROM jobs GROUP BY status"
ADD_JOB = """
INSERT INTO jobs (job_id, tape_sha256, tape_name, as_of, spool, status, attempts, fence, owner, lease_until,
  submitted_at, served_by, run_id, epoch, error, seal, event_seq)
VALUES (:job_id, :tape_sha256, :tape_name, :as_of, :spool, :status, :attempts, :fence, :owner, :lease_until,
  :submitted_at, :served_by, :run_id, :epoch, :error, :seal, :event_seq)"""
# What the job is of never changes.
MOVE_JOB = """
UPDATE jobs SET status = :status, attempts = :attempts, fence = :fence, owner = :owner,
  lease_until = :lease_until, served_by = :served_by, run_id = :run_id, epoch = :epoch, error = :error, seal = :seal,
  event_seq = :event_seq
WHERE job_id = :job_id"""
EXTEND_JOB = "UPDATE jobs SET lease_until = :lease_until WHERE job_id = :job_id"
SERVED_OF = """
SELECT id, job_id, release, run_id, epoch, fence, served_at, seal, event_seq FROM served
WHERE job_id = :job_id ORDER BY id"""
SERVED_IN_ORDER = """
SELECT id, job_id, release, run_id, epoch, fence, served_at, seal, event_seq FROM served ORDER BY id"""
SERVED_LATEST_FIRST = """
SELECT id, job_id, release, run_id, epoch, fence, served_at, seal, event_seq FROM served
ORDER BY id DESC LIMIT :limit"""
ADD_SERVED = """
INSERT INTO served (job_id, release, run_id, epoch, fence, served_at, seal, event_seq)
VALUES (:job_id, :release, :run_id, :epoch, :fence, :served_at, :seal, :event_seq)"""

# --- cutovers ---

# As in `cutovers.STATE_ACTIONS`; a test holds both together.
EVENTS_OF_CUTOVERS = """
SELECT seq, action, subject, payload FROM events
WHERE action IN ('cutover.planned', 'cutover.running', 'cutover.held', 'cutover.completed',
  'cutover.rolled_back', 'cutover.stopped', 'cutover.approved', 'step.started', 'step.done', 'step.failed',
  'step.undone')
ORDER BY seq"""
CUTOVER = """
SELECT cutover_id, kind, from_release, to_release, plan, plan_hash, status, under_way, created_by, created_at,
  started_at, finished_at, outcome, seal, event_seq
FROM cutovers WHERE cutover_id = :cutover_id"""
CUTOVERS_LATEST_FIRST = """
SELECT cutover_id, kind, from_release, to_release, plan, plan_hash, status, under_way, created_by, created_at,
  started_at, finished_at, outcome, seal, event_seq
FROM cutovers ORDER BY event_seq DESC LIMIT :limit"""
CUTOVERS_IN_ORDER = """
SELECT cutover_id, kind, from_release, to_release, plan, plan_hash, status, under_way, created_by, created_at,
  started_at, finished_at, outcome, seal, event_seq
FROM cutovers ORDER BY event_seq"""
ADD_CUTOVER = """
INSERT INTO cutovers (cutover_id, kind, from_release, to_release, plan, plan_hash, status, under_way,
  created_by, created_at, started_at, finished_at, outcome, seal, event_seq)
VALUES (:cutover_id, :kind, :from_release, :to_release, :plan, :plan_hash, :status, :under_way, :created_by,
  :created_at, :started_at, :finished_at, :outcome, :seal, :event_seq)"""
# The plan never changes.
MOVE_CUTOVER = """
UPDATE cutovers SET status = :status, under_way = :under_way, started_at = :started_at,
  finished_at = :finished_at, outcome = :outcome, seal = :seal, event_seq = :event_seq
WHERE cutover_id = :cutover_id"""
STEPS_OF = """
SELECT cutover_id, number, phase, name, status, attempt, evidence, started_at, finished_at, seal, event_seq
FROM cutover_steps WHERE cutover_id = :cutover_id ORDER BY number"""
STEPS_IN_ORDER = """
SELECT cutover_id, number, phase, name, status, attempt, evidence, started_at, finished_at, seal, event_seq
FROM cutover_steps ORDER BY cutover_id, number"""
ADD_STEP = """
INSERT INTO cutover_steps (cutover_id, number, phase, name, status, attempt, evidence, started_at, finished_at,
  seal, event_seq)
VALUES (:cutover_id, :number, :phase, :name, :status, :attempt, :evidence, :started_at, :finished_at, :seal,
  :event_seq)"""
MOVE_STEP = """
UPDATE cutover_steps SET status = :status, attempt = :attempt, evidence = :evidence, started_at = :started_at,
  finished_at = :finished_at, seal = :seal, event_seq = :event_seq
WHERE cutover_id = :cutover_id AND number = :number"""
APPROVALS_OF = """
SELECT id, cutover_id, plan_hash, role, person, how, verified, reason, at, expires_at, seal, event_seq
FROM approvals WHERE cutover_id = :cutover_id ORDER BY id"""
APPROVALS_IN_ORDER = """
SELECT id, cutover_id, plan_hash, role, person, how, verified, reason, at, expires_at, seal, event_seq
FROM approvals ORDER BY id"""
ADD_APPROVAL = """
INSERT INTO approvals (cutover_id, plan_hash, role, person, how, verified, reason, at, expires_at, seal,
  event_seq)
VALUES (:cutover_id, :plan_hash, :role, :person, :how, :verified, :reason, :at, :expires_at, :seal, :event_seq)"""

# --- watches ---

# As in `watches.STATE_ACTIONS`; a test holds both together.
EVENTS_OF_WATCHES = """
SELECT seq, action, subject, payload FROM events
WHERE action IN ('watch.watching', 'watch.extended', 'watch.signed_off', 'watch.ended', 'checkpoint.done',
  'checkpoint.missed', 'decision.asked', 'decision.made', 'decision.defaulted')
ORDER BY seq"""
WATCH = """
SELECT watch_id, release, baseline_release, started_at, baseline, ends_at, status, seal, event_seq
FROM watches WHERE watch_id = :watch_id"""
WATCHES_IN_ORDER = """
SELECT watch_id, release, baseline_release, started_at, baseline, ends_at, status, seal, event_seq
FROM watches ORDER BY event_seq"""
ADD_WATCH = """
INSERT INTO watches (watch_id, release, baseline_release, started_at, baseline, ends_at, status, seal, event_seq)
VALUES (:watch_id, :release, :baseline_release, :started_at, :baseline, :ends_at, :status, :seal, :event_seq)"""
MOVE_WATCH = """
UPDATE watches SET ends_at = :ends_at, status = :status, seal = :seal, event_seq = :event_seq
WHERE watch_id = :watch_id"""
CHECKPOINTS_OF = """
SELECT watch_id, hour, due_at, done_at, status, metrics, judged, seal, event_seq
FROM checkpoints WHERE watch_id = :watch_id ORDER BY event_seq"""
CHECKPOINTS_IN_ORDER = """
SELECT watch_id, hour, due_at, done_at, status, metrics, judged, seal, event_seq
FROM checkpoints ORDER BY event_seq"""
ADD_CHECKPOINT = """
INSERT INTO checkpoints (watch_id, hour, due_at, done_at, status, metrics, judged, seal, event_seq)
VALUES (:watch_id, :hour, :due_at, :done_at, :status, :metrics, :judged, :seal, :event_seq)"""
DECISIONS_OF = """
SELECT watch_id, point, asked_at, deadline, decided_by, decision, by_default, reason, seal, event_seq
FROM decisions WHERE watch_id = :watch_id"""
DECISIONS_IN_ORDER = """
SELECT watch_id, point, asked_at, deadline, decided_by, decision, by_default, reason, seal, event_seq
FROM decisions"""
ADD_DECISION = """
INSERT INTO decisions (watch_id, point, asked_at, deadline, decided_by, decision, by_default, reason, seal, event_seq)
VALUES (:watch_id, :point, :asked_at, :deadline, :decided_by, :decision, :by_default, :reason, :seal, :event_seq)"""
MAKE_DECISION = """
UPDATE decisions SET decided_by = :decided_by, decision = :decision, by_default = :by_default, reason = :reason,
  seal = :seal, event_seq = :event_seq
WHERE watch_id = :watch_id AND point = :point"""

# --- alerts, deliveries, silences and breakers ---

# As in `alerts.ALERT_ACTIONS` and `alerts.DELIVERY_ACTIONS`; a test holds both together.
EVENTS_OF_ALERTS = """
SELECT seq, action, subject, payload FROM events
WHERE action IN ('alert.raised', 'alert.worsened', 'alert.acknowledged', 'alert.resolved', 'alert.silenced')
ORDER BY seq"""
EVENTS_OF_DELIVERIES = """
SELECT seq, action, subject, payload FROM events
WHERE action IN ('delivery.queued', 'delivery.sent', 'delivery.given_up') ORDER BY seq"""
ALERT = """
SELECT alert_id, fingerprint, rule, subject, severity, status, open_as, words, owner, runbook, first_seen, last_seen,
  seen, acknowledged_by, acknowledged_at, resolved_at, seal, event_seq
FROM alerts WHERE alert_id = :alert_id"""
ALERTS_IN_ORDER = """
SELECT alert_id, fingerprint, rule, subject, severity, status, open_as, words, owner, runbook, first_seen, last_seen,
  seen, acknowledged_by, acknowledged_at, resolved_at, seal, event_seq
FROM alerts ORDER BY event_seq"""
ADD_ALERT = """
INSERT INTO alerts (alert_id, fingerprint, rule, subject, severity, status, open_as, words, owner, runbook,
  first_seen, last_seen, seen, acknowledged_by, acknowledged_at, resolved_at, seal, event_seq)
VALUES (:alert_id, :fingerprint, :rule, :subject, :severity, :status, :open_as, :words, :owner, :runbook,
  :first_seen, :last_seen, :seen, :acknowledged_by, :acknowledged_at, :resolved_at, :seal, :event_seq)"""
MOVE_ALERT = """
UPDATE alerts SET severity = :severity, status = :status, open_as = :open_as, words = :words, last_seen = :last_seen,
  seen = :seen, acknowledged_by = :acknowledged_by, acknowledged_at = :acknowledged_at, resolved_at = :resolved_at,
  seal = :seal, event_seq = :event_seq
WHERE alert_id = :alert_id"""
SEE_ALERT = "UPDATE alerts SET last_seen = :last_seen, seen = :seen WHERE alert_id = :alert_id"
DELIVERY = """
SELECT delivery_id, alert_id, kind, severity, step, channel, silenced_until, notice_key, queued_at, status, sent_at,
  attempts, next_at, lease_until, last_code, seal, event_seq
FROM deliveries WHERE delivery_id = :delivery_id"""
DELIVERIES_LATEST_FIRST = """
SELECT delivery_id, alert_id, kind, severity, step, channel, silenced_until, notice_key, queued_at, status, sent_at,
  attempts, next_at, lease_until, last_code, seal, event_seq
FROM deliveries WHERE CAST(:alert_id AS TEXT) IS NULL OR alert_id = :alert_id
ORDER BY event_seq DESC LIMIT :limit"""
DELIVERIES_IN_ORDER = """
SELECT delivery_id, alert_id, kind, severity, step, channel, silenced_until, notice_key, queued_at, status, sent_at,
  attempts, next_at, lease_until, last_code, seal, event_seq
FROM deliveries ORDER BY event_seq"""
DELIVERIES_TO_SEND = """
SELECT delivery_id, alert_id, kind, severity, step, channel, silenced_until, notice_key, queued_at, status, sent_at,
  attempts, next_at, lease_until, last_code, seal, event_seq
FROM deliveries WHERE status = 'queued' ORDER BY event_seq"""
ADD_DELIVERY = """
INSERT INTO deliveries (delivery_id, alert_id, kind, severity, step, channel, silenced_until, notice_key, queued_at,
  status, sent_at, attempts, next_at, lease_until, last_code, seal, event_seq)
VALUES (:delivery_id, :alert_id, :kind, :severity, :step, :channel, :silenced_until, :notice_key, :queued_at,
  :status, :sent_at, :attempts, :next_at, :lease_until, :last_code, :seal, :event_seq)"""
# What is sent to whom never changes.
MOVE_DELIVERY = """
UPDATE deliveries SET status = :status, sent_at = :sent_at, attempts = :attempts, next_at = :next_at,
  lease_until = :lease_until, last_code = :last_code, seal = :seal, event_seq = :event_seq
WHERE delivery_id = :delivery_id"""
SILENCE = """
SELECT fingerprint, silenced_until, silenced_by, reason, silenced_at, seal, event_seq FROM silences
WHERE fingerprint = :fingerprint"""
SILENCES_IN_ORDER = """
SELECT fingerprint, silenced_until, silenced_by, reason, silenced_at, seal, event_seq FROM silences
ORDER BY event_seq"""
ADD_SILENCE = """
INSERT INTO silences (fingerprint, silenced_until, silenced_by, reason, silenced_at, seal, event_seq)
VALUES (:fingerprint, :silenced_until, :silenced_by, :reason, :silenced_at, :seal, :event_seq)"""
MOVE_SILENCE = """
UPDATE silences SET silenced_until = :silenced_until, silenced_by = :silenced_by, reason = :reason,
  silenced_at = :silenced_at, seal = :seal, event_seq = :event_seq
WHERE fingerprint = :fingerprint"""
BREAKERS = "SELECT channel, failures, opened_at, retry_at, last_code FROM breakers ORDER BY channel"
DROP_BREAKER = "DELETE FROM breakers WHERE channel = :channel"
ADD_BREAKER = """
INSERT INTO breakers (channel, failures, opened_at, retry_at, last_code)
VALUES (:channel, :failures, :opened_at, :retry_at, :last_code)"""

# --- the schema and the server; by backend ---

REVISION = "SELECT version_num FROM alembic_version"
HAS_REVISION = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT name FROM (SELECT to_regclass('alembic_version') AS name) t WHERE name IS NOT NULL",
}
# Rows are held against events that another statement reads: a change between the two would look like damage.
BEGIN_TO_READ = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}
BEGIN_TO_WRITE = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
WAIT_AT_MOST = "SELECT set_config('lock_timeout', :wait, true)"
WRITE_ALONE = "SELECT pg_advisory_xact_lock(:key)"
