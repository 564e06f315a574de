"""Counts that are to be nought, however many are tried: hostile input, faults, forgeries, and what must never leak.

The corpora are those of the tests, which try each case against the real thing; here they are counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests.lab.benchmarks.figures import Row
from tests.lab.torture.tally import Tally
from tests.support.paths import ROOT

IN_TURN = "cases"
"""What a test that tries many cases calls their number."""
MAX_NAMED = 3


@dataclass(frozen=True)
class Corpus:
    """Cases, and what none of them may do.

    Attributes:
        tests: In files below ``tests/``, as ``file.py::name``.
        long: Takes minutes: left to the whole run.
    """

    what: str
    tests: tuple[str, ...]
    long: bool = False


def _of(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


CORPORA = (
    Corpus(
        "forbidden addresses, names, URLs and redirects that were connected to",
        (
            *_of(
                "unit/images/download/test_refusals.py",
                "a_forbidden_url_is_refused_without_a_connection",
                "a_name_of_a_closed_address_is_refused_without_a_connection",
                "an_origin_that_is_not_exactly_the_trusted_one_is_not_trusted",
                "another_spelling_of_the_trusted_origin_is_not_trusted",
            ),
            *_of("unit/images/download/test_resolvers.py", "of_a_mixed_answer_the_public_addresses_are_used"),
            *_of(
                "unit/images/download/test_redirects.py",
                "a_redirect_to_a_forbidden_address_is_refused",
                "each_hop_resolves_once_and_a_rebound_name_is_refused",
                "a_public_host_cannot_send_us_to_the_trusted_origin",
            ),
        ),
    ),
    Corpus(
        "bombs and drips that took more than 30 s or twice the cap",
        (
            *_of(
                "unit/images/download/test_bounds.py",
                "a_compressed_bomb_is_refused",
                "a_length_above_the_cap_is_refused_before_reading",
                "an_endless_body_is_cut_at_the_cap",
            ),
            *_of(
                "unit/images/download/test_deadlines.py",
                "a_slow_host_is_cut_off_at_the_deadline",
                "the_deadline_covers_a_slow_name_and_all_redirects_together",
                "the_deadline_covers_a_handshake_that_never_ends_and_leaves_no_socket_open",
            ),
            *_of("unit/images/test_dimensions.py", "a_pixel_bomb_is_refused_before_anything_decodes_it"),
            *_of("unit/images/test_data_uri.py", "a_huge_data_uri_is_refused_without_decoding_it"),
            *_of("unit/images/download/test_fetcher.py", "an_image_takes_no_more_memory_than_twice_the_cap"),
            *_of(
                "unit/images/resizing/test_resize.py",
                "a_compressed_bomb_beside_the_pixels_takes_no_memory",
                "a_pixel_bomb_is_refused_before_it_is_decoded",
            ),
        ),
    ),
    Corpus(
        "paths, links, races, pipes and devices by which something outside was read or written",
        (
            *_of(
                "unit/images/local/test_local_files.py",
                "a_path_outside_is_refused_in_the_same_words_whether_it_exists_or_not",
                "text_that_is_no_absolute_path_is_refused",
                "anything_but_a_regular_file_inside_is_refused_at_once",
            ),
            *_of("unit/images/local/test_local_races.py", "a_race_of_links_leaks_nothing"),
            *_of(
                "unit/images/saving/test_output_folder_faults.py",
                "a_lines_file_that_is_no_regular_file_is_logged_and_neither_followed_nor_waited_for",
                "an_image_that_is_a_link_is_not_followed",
                "a_pipe_is_no_image_and_not_waited_for_even_if_it_offers_one",
            ),
            *_of(
                "unit/tools/test_references.py",
                "a_path_that_may_not_be_read_is_refused_with_a_message_and_nothing_is_sent",
            ),
            *_of(
                "integration/http/test_server_files.py",
                "paths_are_refused_in_the_same_words_whatever_is_there_even_in_an_allowed_folder",
            ),
        ),
    ),
    Corpus(
        "pictures under a wrong type or name that did not end with the right one, and text taken for a picture",
        (
            *_of("unit/images/test_formats.py", "data_that_are_no_known_image_have_no_type"),
            *_of(
                "unit/images/download/test_fetcher.py",
                "the_bytes_decide_the_type_not_the_header_and_not_the_url",
                "an_answer_that_is_no_image_is_refused_with_a_message",
            ),
            *_of("unit/images/saving/test_output_folder.py", "the_extension_is_that_of_the_bytes"),
        ),
    ),
    Corpus(
        "wrong tokens that got more than a 401, or were sent on",
        (
            *_of(
                "integration/http/test_oauth_tokens.py",
                "any_invalid_token_gets_the_same_refusal_and_is_not_sent_on",
            ),
            *_of(
                "integration/http/test_tokens.py", "any_text_that_is_no_token_gets_the_same_refusal_and_is_not_sent_on"
            ),
        ),
    ),
    Corpus(
        "looks at another's task, by method and resource, that differ from looks at a missing one",
        _of("integration/http/test_isolation.py", "a_task_of_another_caller_is_answered_as_a_missing_one"),
    ),
    Corpus(
        "foreign Hosts and Origins that were answered",
        (
            *_of("integration/http/test_serve.py", "a_foreign_host_or_origin_is_refused"),
            *_of("integration/http/test_binds.py", "under_another_server_the_names_and_the_tokens_hold_too"),
        ),
    ),
    Corpus(
        "runs of misuse after which a secret or a prompt was in the log, by its form and by era",
        _of("integration/http/test_logs.py", "no_log_holds_a_secret_or_a_prompt_whatever_happens"),
    ),
    Corpus(
        "answers to a submit after which it was repeated though it must not be, or more than three times",
        (
            *_of(
                "unit/defapi/test_submit_refused.py",
                "a_refusal_is_reported_with_its_reason_and_never_retried",
                "a_redirect_is_never_followed_and_the_key_never_sent_to_its_target",
            ),
            *_of(
                "unit/service/test_submission.py",
                "a_refusal_is_not_repeated_and_leaves_no_record",
                "a_submit_that_is_limited_three_times_leaves_no_record",
                "three_server_errors_leave_a_failed_record_with_the_three_answers",
                "an_unknown_outcome_is_recorded_returned_and_never_repeated",
            ),
            *_of(
                "unit/defapi/test_submit_broken.py",
                "a_submit_that_may_have_arrived_is_never_repeated",
                "a_connection_that_is_reset_at_once_is_never_a_second_request",
                "a_refused_connection_charges_nothing",
            ),
        ),
    ),
    Corpus(
        "searches over submit, crash, restart, callback, replay, query and cancel that lost one or paid one twice",
        _of("lab/crash/test_stateful.py", "nothing_is_lost_or_paid_twice_in_any_order_of_events"),
        long=True,
    ),
    Corpus(
        "states of the view with an error on the console, or with one that an accessibility audit finds",
        _of(
            "integration/browser/test_view_states.py",
            "a_state_is_named_and_accessible_in_light_and_dark_narrow_and_wide",
        ),
        long=True,
    ),
    Corpus(
        "revisions of the protocol for which a scenario of the official conformance suite does not pass",
        _of("release/conformance/test_conformance.py", "every_scenario_that_applies_passes"),
        long=True,
    ),
)


@dataclass
class Outcome:
    """What became of a corpus."""

    tried: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def outcomes(report: ElementTree.Element, corpora: Iterable[Corpus]) -> dict[str, Outcome]:
    """Of each corpus, by what it is, out of a report in JUnit's form."""
    outcome_by_corpus = {corpus.what: Outcome() for corpus in corpora}
    by_test = {test: corpus.what for corpus in corpora for test in corpus.tests}
    for case in report.iter("testcase"):
        file = f"{case.get('classname', '').removeprefix('tests.').replace('.', '/')}.py"
        name = case.get("name", "")
        outcome = outcome_by_corpus[by_test[f"{file}::{name.partition('[')[0]}"]]
        if (skipped := case.find("skipped")) is not None:
            outcome.skipped.append(skipped.get("message", ""))
            continue
        own = [int(item.get("value", "1")) for item in case.iter("property") if item.get("name") == IN_TURN]
        outcome.tried += own[0] if own else 1
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed.append(name)
    return outcome_by_corpus


def row(what: str, outcome: Outcome) -> Row:
    """The figure: how many tests found what must not be."""
    if not outcome.tried:
        return Row(what, None, "", "", "=", 0, outcome.skipped[0] if outcome.skipped else "left to the whole run")
    named = ", ".join(outcome.failed[:MAX_NAMED])
    more = f" and {len(outcome.failed) - MAX_NAMED} more" if len(outcome.failed) > MAX_NAMED else ""
    return Row(what, len(outcome.failed), "", f"of {outcome.tried:,}", "=", 0, named + more)


def rows(quick: bool) -> Iterator[Row]:
    """Corpora, then the faults and the odd requests of a short ``make torture``."""
    corpora = [corpus for corpus in CORPORA if not (quick and corpus.long)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tests = [f"tests/{test}" for corpus in corpora for test in corpus.tests]
        _run("pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--junitxml", str(report), *tests)
        outcome_by_corpus = outcomes(ElementTree.parse(report).getroot(), corpora)
        for corpus in CORPORA:
            yield row(corpus.what, outcome_by_corpus.get(corpus.what, Outcome()))
        results = Path(folder) / "torture.json"
        _run("tests.lab.torture", "--quick", "--only", "faults,requests,bytes", "--results", str(results))
        parts = json.loads(results.read_text(encoding="utf-8"))["parts"]
    tallies = {name: [Tally.of(item) for item in part["tallies"]] for name, part in parts.items()}
    yield from tortured("faults of sockets, TLS and DNS at a submit, query, fetch, callback or call", tallies["faults"])
    yield from tortured("odd requests and bytes, over stdio and HTTP", [*tallies["requests"], *tallies["bytes"]])


def tortured(what: str, tallies: list[Tally]) -> Iterator[Row]:
    """Three counts of these parts."""
    of = f"of {sum(tally.tried for tally in tallies):,}"
    why = "; ".join(item.failures[0][:100] for item in tallies if item.failures)
    for name, attributes in (
        ("lost", ["lost"]),
        ("sent twice", ["double"]),
        ("crashed or wrong", ["crashes", "wrong"]),
    ):
        count = sum(getattr(item, attribute) for item in tallies for attribute in attributes)
        yield Row(f"{what}: {name}", count, "", of, "=", 0, why if count else "")


def _run(module: str, *arguments: str) -> None:
    """Failures of single cases are figures; whatever else ends it is not.

    Raises:
        RuntimeError: it did not come to its end.
    """
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"{module} ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-500:]}")
