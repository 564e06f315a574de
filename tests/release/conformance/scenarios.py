"""The scenarios of the official suite that apply to this server, by revision, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.release.conformance.suite import Check

APPLICABLE: dict[str, frozenset[str]] = {
    "2026-07-28": frozenset(
        {
            "caching",
            "dns-rebinding-protection",
            "http-header-validation",
            "input-required-result-unsupported-methods",
            "prompts-list",
            "resources-list",
            "sep-2164-resource-not-found",
            "server-sse-multiple-streams",
            "server-stateless",
            "tools-list",
        }
    ),
    "2025-11-25": frozenset(
        {
            "dns-rebinding-protection",
            "ping",
            "prompts-list",
            "resources-list",
            "server-initialize",
            "server-session-lifecycle",
            "server-sse-multiple-streams",
            "tools-list",
        }
    ),
}

CHECKS_THAT_NEED_A_FIXTURE: dict[tuple[str, str], frozenset[str]] = {
    # They call test_missing_capability, and tools that change the lists of tools and prompts; ours never change.
    ("2026-07-28", "server-stateless"): frozenset(
        {
            "sep-2575-missing-capability-http-400",
            "sep-2575-server-rejects-undeclared-capability",
            "sep-2575-server-sends-prompts-list-changed-on-subscription",
            "sep-2575-server-sends-tools-list-changed-on-subscription",
        }
    ),
}

TASK_SCENARIOS = frozenset(
    {
        "tasks-capability-negotiation",
        "tasks-dispatch-and-envelope",
        "tasks-lifecycle",
        "tasks-mrtr-composition",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-request-state-removal",
        "tasks-required-task-error",
        "tasks-status-notifications",
        "tasks-wire-fields",
    }
)
"""Of the extension io.modelcontextprotocol/tasks; run against a server with their tools and our extension class."""

SKIPPED_BY_THE_SUITE = frozenset({"tasks-status-notifications"})
"""The suite has no check for these yet."""

NOT_APPLICABLE: dict[str, frozenset[str]] = {
    "calls a tool test_… of a server made for the suite": frozenset(
        {
            "elicitation-sep1034-defaults",
            "elicitation-sep1330-enums",
            "input-required-result-basic-elicitation",
            "input-required-result-basic-list-roots",
            "input-required-result-basic-sampling",
            "input-required-result-capability-check",
            "input-required-result-ignore-extra-params",
            "input-required-result-missing-input-response",
            "input-required-result-multi-round",
            "input-required-result-multiple-input-requests",
            "input-required-result-request-state",
            "input-required-result-result-type",
            "input-required-result-tampered-state",
            "input-required-result-validate-input",
            "server-sse-polling",
            "tools-call-audio",
            "tools-call-elicitation",
            "tools-call-embedded-resource",
            "tools-call-error",
            "tools-call-image",
            "tools-call-mixed-content",
            "tools-call-sampling",
            "tools-call-simple-text",
            "tools-call-with-logging",
            "tools-call-with-progress",
        }
    ),
    "calls the tool json_schema_2020_12_tool, or one that mirrors arguments in headers": frozenset(
        {"http-custom-header-server-validation", "json-schema-2020-12"}
    ),
    "reads or watches a resource test://…": frozenset(
        {
            "resources-read-binary",
            "resources-read-text",
            "resources-subscribe",
            "resources-templates-read",
            "resources-unsubscribe",
        }
    ),
    "gets or completes a prompt test_…": frozenset(
        {
            "completion-complete",
            "input-required-result-non-tool-request",
            "prompts-get-embedded-resource",
            "prompts-get-simple",
            "prompts-get-with-args",
            "prompts-get-with-image",
        }
    ),
    "needs a capability that this server does not declare": frozenset({"logging-set-level"}),
    "calls tools of a server made for the suite, which task_fixtures.py is": TASK_SCENARIOS,
}


def problems(revision: str, scenarios: Mapping[str, Sequence[Check]]) -> list[str]:
    """What is wrong in a run of the suite, including scenarios that were not run or have no verdict yet."""
    unknown = set(scenarios) - APPLICABLE[revision] - frozenset().union(*NOT_APPLICABLE.values())
    unexpected = [f"{scenario}: there is no verdict whether it applies" for scenario in sorted(unknown)]
    for scenario in sorted(APPLICABLE[revision]):
        excused = CHECKS_THAT_NEED_A_FIXTURE.get((revision, scenario), frozenset())
        checks = scenarios.get(scenario, [])
        if gone := excused - {check.id for check in checks}:
            unexpected.append(f"{scenario}: what is excused must be there: {sorted(gone)}")
        judged = [check for check in checks if check.id not in excused]
        if not any(check.status == "SUCCESS" for check in judged):
            unexpected.append(f"{scenario} has checked nothing")
        unexpected += [f"{scenario}: {one}" for one in judged if one.status not in ("SUCCESS", "INFO")]
    return unexpected


def task_problems(scenarios: Mapping[str, Sequence[Check]]) -> list[str]:
    """What is not as it should be in a run against the server with the tools of the task scenarios."""
    unexpected = []
    for scenario in sorted(TASK_SCENARIOS):
        expected = {"SKIPPED"} if scenario in SKIPPED_BY_THE_SUITE else {"SUCCESS", "INFO"}
        checks = scenarios.get(scenario, [])
        if not checks:
            unexpected.append(f"{scenario} was not run")
        unexpected += [f"{scenario}: {check}" for check in checks if check.status not in expected]
    return unexpected
