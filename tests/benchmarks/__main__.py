"""Print the figures, each with its target."""

import anyio

from tests.benchmarks import cold_start, detection, load, per_call, replicas, sharing, webhook


def main() -> None:
    start = cold_start.measure(11)
    print(
        f"cold start over stdio, spawn to tools/list:  {start.ratio:.2f} × a bare SDK echo server "
        f"(target ≤ {cold_start.TARGET_RATIO}; medians {start.ours:.3f} s and {start.echo:.3f} s, "
        f"pairs {min(start.pairs):.2f}-{max(start.pairs):.2f})"
    )
    call = anyio.run(per_call.measure, 200)
    print(
        f"get_task over stdio against the sandbox:     {call.ratio:.2f} × (bare echo call + bare GET) "
        f"(target ≤ {per_call.TARGET_RATIO}; medians {call.get_task * 1000:.2f}, {call.echo * 1000:.2f} and "
        f"{call.get * 1000:.2f} ms)"
    )

    print("\ndetection, simulated (lognormal latencies, round trip 0.25 s):")
    print("\n".join(detection.report()))

    print("\ncallbacks and polling on a fresh server, simulated (the same latencies):")
    print("\n".join(sharing.report()))

    print("\ncallbacks and polling on a fresh server, measured (lognormal latencies, median 3 s):")
    anyio.run(webhook.show)

    print("\n`serve --http` under load:")
    for line in load.lines():
        print(line, flush=True)

    print("\nthree replicas on one PostgreSQL:")
    print("\n".join(replicas.report()))


if __name__ == "__main__":
    main()
