#!/usr/bin/env python3
"""Say which tests passed, and whether all did that must.

  verdict.py [--only FILE] [--record FILE --about NAME=VALUE ...] REPORT.json ...

Each REPORT.json is that of one run of run.py over the same tests. A test passes
when it passed in every run. Those of tier X in tests.tsv are not looked at; all
others must pass, also those that the list does not know. --only names a file with
the ids of the tests that were meant to run. --record writes the outcome to a file,
with what is known about the runs: the documents are made from that.

Exit status: 1 when a test did not pass, or did not run.
"""
import argparse
import json
import os
import sys

TIERS = {
    "A": "producer and results", "B": "workflows", "C": "remote control",
    "?": "not in the list (see mktests.py)",
}
here = os.path.dirname(os.path.abspath(__file__))


def listed():
    """Tier of each test, by its id."""
    tiers = {}
    with open(os.path.join(here, "tests.tsv")) as fh:
        for line in fh:
            if not line.startswith("#"):
                tier, test = line.split("\t")[:2]
                tiers[test] = tier
    return tiers


def only(path, tiers):
    with open(path) as fh:
        wanted = {line.strip() for line in fh if line.strip() and not line.startswith("#")}
    kept = {t: tier for t, tier in tiers.items() if wanted & {t, t.split("[")[0]}}
    unknown = wanted - {t for test in kept for t in (test, test.split("[")[0])}
    if unknown:
        sys.exit(f"{path}: not in tests.tsv: {', '.join(sorted(unknown))}")
    return kept


def outcomes(reports):
    """For each test that was met, the outcome and the message of every run."""
    met = {}
    for number, path in enumerate(reports):
        with open(path) as fh:
            for nodeid, entry in json.load(fh)["tests"].items():
                test = nodeid.split("t/integration/")[-1]
                met.setdefault(test, {})[number] = (entry["outcome"] or "passed", entry["message"])
    return met


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="")
    p.add_argument("--record", default="")
    p.add_argument("--about", action="append", default=[])
    p.add_argument("reports", nargs="+")
    args = p.parse_args()

    tiers = listed()
    expected = {t: tier for t, tier in tiers.items() if tier != "X"}
    if args.only:
        expected = only(args.only, expected)
    met = outcomes(args.reports)
    for test in met:
        if "::" in test:
            expected.setdefault(test, tiers.get(test, "?"))
    runs = len(args.reports)
    passed = {t: sum(o == "passed" for o, _ in met.get(t, {}).values()) for t, tier in expected.items() if tier != "X"}

    for tier, name in TIERS.items():
        tests = [t for t in passed if expected[t] == tier]
        if tests:
            good = sum(passed[t] == runs for t in tests)
            print(f"  tier {tier}  {good:3} of {len(tests):3} passed  {name}")
    failed = sorted(t for t, n in passed.items() if n < runs)
    for test in failed:
        ran = met.get(test, {})
        bad = [(n + 1, o, m) for n, (o, m) in sorted(ran.items()) if o != "passed"]
        bad += [(n + 1, "did not run", "") for n in range(runs) if n not in ran]
        print(f"  FAILED {test}")
        for number, outcome, message in bad:
            print(f"         run {number}: {outcome}  {message}".rstrip()[:200])
    if args.record:
        about = dict(pair.split("=", 1) for pair in args.about)
        with open(args.record, "w") as fh:
            json.dump({**about, "runs": runs, "passed": dict(sorted(passed.items()))}, fh, indent=1)
            fh.write("\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
