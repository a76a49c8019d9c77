"""Reads what the Autobahn suite found, prints it in a line for each echo, and exits with 1 where that is not as it should be."""

import collections
import json
import pathlib
import sys

PASSED = ["OK", "NON-STRICT", "INFORMATIONAL"]
# What a violation of RFC 6455 is closed with; what tungstenite ends without a word counts as worse than that.
CODES = {1002, 1007}


def read(folder, agent):
    index = json.loads((folder / "index.json").read_text())[agent]
    return {case: json.loads((folder / result["reportfile"]).read_text()) for case, result in index.items()}


def worst(report):
    """The worse of the two verdicts on a case: on what was said, and on how it was closed."""
    verdicts = [report["behavior"], report["behaviorClose"]]
    return max(verdicts, key=lambda verdict: PASSED.index(verdict) if verdict in PASSED else len(PASSED))


def main():
    folder = pathlib.Path(sys.argv[1])
    ours, library = read(folder, "bugzfeed"), read(folder, "tungstenite")
    faults = []
    for case, report in sorted(ours.items(), key=lambda item: [int(number) for number in item[0].split(".")]):
        verdict, beside = worst(report), worst(library[case])
        if verdict not in PASSED:
            faults.append(f"{case}: {verdict}: {report['result']}")
        elif beside in PASSED and PASSED.index(verdict) > PASSED.index(beside):
            faults.append(f"{case}: {verdict}, where tungstenite is {beside}")
        # The suite did not begin the close: a violation was noticed.
        if report["closedByMe"] is False and report["remoteCloseCode"] not in CODES:
            faults.append(f"{case}: ended with {report['remoteCloseCode']}, which is neither 1002 nor 1007")
    for agent, reports in [("bugzfeed", ours), ("tungstenite", library)]:
        counts = collections.Counter(map(worst, reports.values()))
        ends = sum(report["remoteCloseCode"] is None for report in reports.values())
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        print(f"{agent}: {len(reports)} cases: {said}; {ends} ended without a code")
    print("\n".join(faults))
    sys.exit(bool(faults))


main()
