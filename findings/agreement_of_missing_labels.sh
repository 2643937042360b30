#!/bin/sh
# How far judges agree, where labels are missing: NLTK 3.10.4, crowd-kit 1.4.2, statsmodels 0.15.0, krippendorff 0.9.0.
#
# Guess: where no judge has a label, as for rows that failed, there is nothing to agree on, and the number stays.
# Seen:  a missing label is a label to three of them. Three judges of eight rows have an alpha of 0.68. With two more rows,
#        which all of them failed, NLTK has 0.80 if the missing ones are None, on which all agree, and 0.38 if they are
#        NaN, which is not equal to itself; so has crowd-kit, where pandas 3 makes NaN of each None in a column of texts,
#        and pandas 2 did not. Fleiss' kappa of statsmodels (NaN) rises from 0.67 to 0.79. Nothing is said. krippendorff
#        (NaN) leaves such rows out. crowd-kit's majority vote drops them: ten rows go in, eight come out.
# So:    keep the rows that have a label (`status` is `ok`) before agreement is computed, and count the rows of a vote. Of
#        NLTK it is known (issue 2865): `AnnotationTask(rows, missing_values=[None])` has 0.68 again.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile nltk==3.10.4 crowd-kit==1.4.2 pandas==3.1.1 \
  statsmodels==0.15.0 krippendorff==0.9.0 2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math

import krippendorff
import pandas as pd
from crowdkit.aggregation import MajorityVote
from crowdkit.metrics.data import alpha_krippendorff
from nltk.metrics.agreement import AnnotationTask
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

JUDGES = {
    "first": ["good", "bad", "good", "bad", "good", "bad", "good", "bad"],
    "second": ["good", "bad", "good", "bad", "good", "bad", "good", "good"],
    "third": ["good", "bad", "good", "bad", "bad", "bad", "good", "bad"],
}
FAILED = 2
whole = [(judge, row, label) for judge, labels in JUDGES.items() for row, label in enumerate(labels)]


def with_failed(missing):
    return [(judge, row, label) for judge, labels in JUDGES.items() for row, label in enumerate([*labels, *[missing] * FAILED])]


def frame(rows):
    return pd.DataFrame(rows, columns=["worker", "task", "label"])


def numbers(rows):
    """A judge a line, a number a label, NaN for none."""
    wide = frame(rows).pivot(index="worker", columns="task", values="label")
    return wide.map(lambda label: {"good": 1.0, "bad": 0.0}.get(label, math.nan)).to_numpy()


def nltk(rows):
    return AnnotationTask(rows).alpha()


AGREEMENTS = {
    "NLTK, alpha, None": (nltk, None),
    "NLTK, alpha, NaN": (nltk, math.nan),
    "NLTK, alpha, None, told so": (lambda rows: AnnotationTask(rows, missing_values=[None]).alpha(), None),
    "crowd-kit, alpha, None": (lambda rows: alpha_krippendorff(frame(rows)), None),
    "statsmodels, Fleiss' kappa, NaN": (lambda rows: fleiss_kappa(aggregate_raters(numbers(rows).T)[0]), None),
    "krippendorff, alpha, NaN": (lambda rows: krippendorff.alpha(numbers(rows), level_of_measurement="nominal"), None),
}
seen = {}
for name, (of, missing) in AGREEMENTS.items():
    seen[name] = [round(float(of(rows)), 2) for rows in (whole, with_failed(missing))]
    print(f"{name}: {seen[name][0]} of eight rows, {seen[name][1]} with {FAILED} that every judge failed")
voted = len(MajorityVote().fit_predict(frame(with_failed(None))))
print(f"crowd-kit, majority vote: {len(JUDGES['first']) + FAILED} rows in, {voted} out")

assert seen == {
    "NLTK, alpha, None": [0.68, 0.8],
    "NLTK, alpha, NaN": [0.68, 0.38],
    "NLTK, alpha, None, told so": [0.68, 0.68],
    "crowd-kit, alpha, None": [0.68, 0.38],
    "statsmodels, Fleiss' kappa, NaN": [0.67, 0.79],
    "krippendorff, alpha, NaN": [0.68, 0.68],
}, "agreement is computed otherwise: read this again"
assert voted == len(JUDGES["first"]), "the vote keeps other rows: read this again"
PYTHON
