"""Do the statistics keep what they promise, on data like ours? Run as

    python -m benchmarks.evidence [--samples N]

Differences of paired replicas are drawn that are normal, skewed, or normal with one bad seed in ten, whose true median
is known. How often do intervals cover it, and how often does a family of as many tests as the study's claims need find
something where nothing is? The usual methods stand beside: the BCa bootstrap of the mean, and the t-test.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy import stats
from stages.common import PUBLISHED

from benchmarks.common import FOLDER, markdown
from nnlib.data.files import write_text
from nnlib.evidence.claims import Claim, count_tests
from nnlib.evidence.statistics import Values, holm, median_interval, sign_p
from stages.parameters import load, read_yaml

REPLICAS = (10, 20, 50)
BOOTSTRAPS = 300  # of the samples, since each takes a thousand resamples


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return random.normal(size=shape)


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    return random.exponential(size=shape) - np.log(2)


def one_bad_in_ten(random: np.random.Generator, shape: tuple[int, ...]) -> Values:
    """With probability 0.1 lower by 20 standard deviations; shifted so that the median is 0."""
    bad = random.random(shape) < 0.1
    return random.normal(size=shape) - 20 * bad - stats.norm.ppf(0.4 / 0.9)


KINDS: dict[str, tuple[Callable[..., Values], float]] = {
    # With the true mean, which is what the usual methods are after.
    "normal": (normal, 0.0),
    "skewed": (skewed, 1 - np.log(2)),
    "one bad seed in ten": (one_bad_in_ten, -2 - stats.norm.ppf(0.4 / 0.9)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage and error rates of the evidence, by simulation.")
    parser.add_argument("--samples", type=int, default=2000, help="of each kind and size (default: %(default)s)")
    samples = parser.parse_args().samples
    confidence = load().evidence.confidence
    tests = count_tests([Claim.from_record(record) for record in read_yaml(PUBLISHED)["claims"]])
    random = np.random.default_rng(0)

    rows = []
    for name, (draw, mean) in KINDS.items():
        for n in REPLICAS:
            drawn = draw(random, (samples, n))
            ours = np.mean([covers(median_interval(sample, confidence), 0) for sample in drawn])
            bca = np.mean([bootstrap_covers(sample, mean, confidence) for sample in drawn[:BOOTSTRAPS]])
            families = draw(random, (samples, tests, n))
            signs = share_of_families([sign_p(int(k), n) for k in range(n + 1)], families, 1 - confidence)
            t = np.mean([min(stats.ttest_1samp(family.T, mean).pvalue) * tests < 1 - confidence for family in families])
            rows.append((name, n, *(f"{100 * share:.1f} %" for share in (ours, bca, signs, t))))
    header = ("differences", "replicas", "median's interval covers", "BCa of the mean covers")
    errors = (f"sign tests: any of {tests} wrong", f"t-tests: any of {tests} wrong")
    text = (
        f"{samples} samples of each kind ({BOOTSTRAPS} for BCa), confidence {confidence:g}. An interval should cover "
        f"in {100 * confidence:g} % or more, and a family of tests err in {100 * (1 - confidence):.3g} % or less.\n\n"
        + markdown((*header, *errors), rows)
    )
    write_text(FOLDER / "evidence.md", text)
    print(text)


def covers(interval: object, value: float) -> bool:
    return bool(interval.low <= value <= interval.high)  # type: ignore[attr-defined]


def bootstrap_covers(sample: Values, mean: float, confidence: float) -> bool:
    result = stats.bootstrap((sample,), np.mean, confidence_level=confidence, n_resamples=999, rng=0)
    return covers(result.confidence_interval, mean)


def share_of_families(p_by_count: list[float], families: Values, level: float) -> float:
    """How often any of a family's tests, corrected together, finds a side where both are as likely."""
    p = np.array(p_by_count)[(families > 0).sum(-1)]
    return float(np.mean([holm(family).min() <= level for family in p]))


if __name__ == "__main__":
    main()
