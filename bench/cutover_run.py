"""A cutover of sampled production, and its rollback: ``python -m bench.cutover_run WORKSPACE TAPES LOANS``.

v1 is active and has run two tapes; drill and shadow run pass; v2 becomes active while a tape waits, TAPES more arrive
under it, and production goes back. Everything is what the commands do; only the four who approve are a rehearsal's.
Prints the seconds of each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from bench.process import BenchError

END = "completed"


def main(root: Path, tapes: int, loans: int) -> dict[str, object]:
    """Do it all in a fresh workspace; seconds by what took them."""
    from abaco_loans.operations.cut_over import roll_back, start_cutover
    from abaco_loans.operations.drill_rollback import drill_rollback
    from abaco_loans.operations.plan_cutover import approve_plan, plan_cutover
    from abaco_loans.operations.run_shadow import ShadowRequest, run_shadow
    from abaco_loans.operations.submit_tape import submit_tape
    from abaco_loans.operations.workspace import SETTINGS_FILE, open_workspace
    from abaco_loans.operations.write_sample import BUCKETED_FILE, write_sample
    from abaco_loans.releases.approval import Role
    from abaco_loans.sample import SampleSpec
    from abaco_loans.wiring import cutover_tools, drill_tools, queue_worker, side_worker

    settings = root / SETTINGS_FILE
    settings.write_text(settings.read_text(encoding="utf-8").replace("release: v2", "release: v1"), encoding="utf-8")
    place = open_workspace(root, os.environ)
    given = cutover_tools(place, os.environ, lambda told: None)
    tools = given.tools

    def arrive(*numbers: int) -> None:
        with tools.open_records() as records:
            for number in numbers:
                folder = root.parent / f"{root.name}-tapes" / str(number)
                write_sample(SampleSpec(loans=loans, months=12, seed=number), folder)
                tape = folder / BUCKETED_FILE
                submit_tape(place, tape, records, as_of=None, clock=tools.clock, who="the bench")

    def work() -> None:
        worker = queue_worker(place, os.environ, lambda text: None)
        while worker.work_once() is not None:
            pass

    arrive(1, 2)
    work()
    tape = root.parent / f"{root.name}-tapes" / "2" / BUCKETED_FILE
    shadow = run_shadow(ShadowRequest(path=tape, baseline="v1", candidate="v2"), tools, side_worker(os.environ))
    drill = drill_rollback(place, drill_tools(os.environ, lambda told: None), "the bench")
    if shadow["verdict"] != "pass" or not drill["passed"]:
        raise BenchError(f"what a cutover needs has not passed: {shadow['verdict']}, {drill}")
    arrive(3)
    with tools.open_records() as records:
        plan = plan_cutover("v2", "the bench", tools, records, rehearsal=True)
        for role in Role:
            approve_plan(plan.cutover_id, role, role.value, tools, records, rehearsed_by=role.value)
    begin = time.perf_counter()
    changed = start_cutover(plan.cutover_id, given)
    cutover_s = time.perf_counter() - begin
    arrive(*range(4, 3 + tapes))
    work()
    begin = time.perf_counter()
    back = roll_back("the bench asks for it", "the bench", given)
    rollback_s = time.perf_counter() - begin
    with tools.open_records() as records:
        steps = {record.cutover_id: records.cutover_reader.steps(record.cutover_id) for record in (changed, back)}
    if (changed.status, back.status) != (END, END):
        raise BenchError(f"the cutover is {changed.status}, the rollback {back.status}")
    said = {name: [item.evidence for item in found] for name, found in steps.items()}
    inactive = [item["inactive_s"] for item in said[changed.cutover_id] if item.get("inactive_s")]
    (again,) = [item["requeued"] for item in said[back.cutover_id] if "requeued" in item]
    (lost,) = [item["lost"] for item in said[back.cutover_id] if "lost" in item]
    return {
        "cutover_s": cutover_s,
        "inactive_s": float(inactive[-1]),
        "rollback_s": rollback_s,
        "run_again": len(again),
        "lost": lost,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
