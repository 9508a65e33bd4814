"""The tables of verdicts once more, from tables of replicas and studies alone, by pandas, scipy and statsmodels.

A program of its own: of the project it uses nothing.
"""

import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import binom_test, proportion_confint


def read(path):
    """A row for each replica, a column for each run/measure."""
    wide = pd.read_csv(path).drop(columns="seed").pivot(index="replica", columns="run")
    wide.columns = [f"{run}/{measure}" for measure, run in wide.columns]
    for run in {name.split("/")[0] for name in wide}:
        wide[f"{run}/generalization_gap"] = wide[f"{run}/train_accuracy"] - wide[f"{run}/validation_accuracy"]
    return wide


def worst(name):
    measure = name.split("/")[1]
    if measure == "generalization_gap" or measure[:6] in ("mean_W", "std_W1", "std_W2", "std_W3", "std_W4"):
        return np.nan
    return -np.inf if measure.endswith("accuracy") else np.inf


def names_of(part):
    parts = [part.get(name) for name in ("of", "minus", "over")]
    return list(np.hstack([value for value in parts if value]))


def quantity(part, frame):
    """From arrays by name, which broadcast."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if part.get("sum_of_signs"):
            pairs = zip(part["of"], part["minus"], strict=True)
            return np.sum([np.sign(frame[of] - frame[minus]) for of, minus in pairs], axis=0)
        if part.get("minus"):
            return frame[part["of"]] - frame[part["minus"]]
        return frame[part["of"]] / frame[part["over"]] if part.get("over") else frame[part["of"]]


def inside(part, values):
    low, high = part.get("low"), part.get("high")
    values = np.round(values, 7)
    result = ~np.isnan(values)
    result &= True if low is None else values > low
    return result & (True if high is None else values < high)


def margin_of(part, margins):
    """Of a difference that is compared with 0."""
    if not part.get("minus") or part.get("sum_of_signs") or {part.get("low"), part.get("high")} != {0, None}:
        return 0
    measure = part["of"].split("/")[1]
    if measure.endswith("accuracy") or measure == "generalization_gap":
        return margins.get("accuracy", 0)
    return margins.get("cost", 0) if measure.endswith("cost") or measure == "roughness" else 0


def median_interval(values, level):
    values = np.sort(values[~np.isnan(values)])
    n, k = len(values), int(stats.binom.ppf(level / 2, len(values), 0.5))
    with np.errstate(invalid="ignore"):
        median = values[[(n - 1) // 2, n // 2]].mean()
    return median, *((values[k - 1], values[n - k]) if k else (np.nan, np.nan))


def resampled(replicas, evidence):
    random = np.random.default_rng(evidence["seed"])
    return random.multinomial(replicas, [1 / replicas] * replicas, size=evidence["resamples"]) / replicas


def with_ends(name, estimate, values, level):
    low, high = np.quantile(values, [level / 2, 1 - level / 2])
    return {name: estimate, f"{name}_low": low, f"{name}_high": high}


def ahead(first, second, evidence):
    """P(first > second), with the bootstrap's interval."""
    level, n = 1 - evidence["confidence"], len(first)
    with np.errstate(invalid="ignore"):
        wins = (np.sign(np.round(np.subtract.outer(first, second), 7)) + 1) / 2
    wins[np.isnan(wins)] = 0.5
    estimate = wins.mean()
    if estimate in (0, 1):
        low, high = proportion_confint(n * estimate, n, level, method="beta")
        return {"ahead": estimate, "ahead_low": low, "ahead_high": high}
    weights = resampled(n, evidence)
    return with_ends("ahead", estimate, ((weights @ wins) * weights).sum(1), level)


def finding(part, frame, published, margins, evidence):
    level, names = 1 - evidence["confidence"], names_of(part)
    row = {"margin": margin_of(part, margins), "published": np.nan, "p": np.nan, "replicas": 0}
    if all(name in published for name in names):
        row["published"] = float(quantity(part, published))
    if not all(name in frame and frame[name].notna().any() for name in names):
        return row
    counted = {name: frame[name].fillna(worst(name)).to_numpy(dtype=float) for name in names}
    values = quantity(part, counted)
    within = (np.abs(np.round(values, 7)) <= row["margin"]) & (row["margin"] > 0)
    held = inside(part, values) & ~within
    n, k = len(values), int(held.sum())
    median, low, high = median_interval(values, level)
    share_low, share_high = proportion_confint(k, n, level, method="beta")
    row |= {"replicas": n, "held": k, "within": int(within.sum()), "p": binom_test(k, n)}
    row |= {"against": int((~held & ~within & ~np.isnan(values)).sum())}
    row |= {"share": k / n, "share_low": share_low, "share_high": share_high}
    row |= {"median": median, "median_low": low, "median_high": high}
    most = max(row["within"], row["against"])
    row["p_instead"] = binom_test(most, n) if 2 * most > n else 1.0
    # An axis for each run.
    runs = list(dict.fromkeys(name.split("/")[0] for name in names))
    shapes = {run: [-1 if other == run else 1 for other in runs] for run in runs}
    every = quantity(part, {name: own.reshape(shapes[name.split("/")[0]]) for name, own in counted.items()})
    row["holds"] = (runs, inside(part, every))
    if not np.isnan(row["published"]):
        others = np.round(every[~np.isnan(every)], 7)
        row["percentile"] = stats.percentileofscore(others, np.round(row["published"], 7), kind="mean")
    if len(names) == 2 and not part.get("sum_of_signs") and len(runs) == 2:
        row |= ahead(*counted.values(), evidence)
    return row


def judge(claims, frame, published, margins, evidence):
    """For each claim of a family its row, and those of its parts."""
    level = (1 - evidence["confidence"]) * 2 / 3
    findings = [[finding(part, frame, published, margins, evidence) for part in one["comparisons"]] for one in claims]
    p = pd.Series([max((part["p"] for part in parts if part["replicas"]), default=np.nan) for parts in findings])
    tested = p.dropna()
    corrected = pd.Series(np.nan, p.index)
    if len(tested):
        corrected[tested.index] = multipletests(tested, method="holm")[1]
    rank, rejected = tested.rank(method="first") - 1, (corrected <= level).sum()
    levels = (level / (len(tested) - rank.clip(upper=min(rejected, len(tested) - 1)))).reindex(p.index)
    rows = []
    for k, (one, parts) in enumerate(zip(claims, findings, strict=True)):
        there = [part for part in parts if part["replicas"]]
        steps = [[part[p] for part in there] for p in ("p", "p_instead")]
        decided = [multipletests(p, method="simes-hochberg")[1] <= levels[k] for p in steps] if there else [[], []]
        for part in parts:
            part["verdict"] = "not tested"
        for part, wins, instead in zip(there, *decided, strict=True):
            if 2 * part["held"] > part["replicas"]:
                found = "supported"
            else:
                found = ["contradicted", "equivalent"][part["within"] > part["against"]] if instead else "not supported"
            part["verdict"] = found if wins else "undecided"
        words = [part["verdict"] for part in parts]
        supported, contradicted = words.count("supported"), words.count("contradicted")
        if len(set(words)) == 1:
            word = words[0]
        elif one.get("every") and contradicted:
            word = "contradicted"
        elif supported or contradicted:
            word = "partly supported" if supported >= contradicted else "partly contradicted"
        else:
            word = "not supported" if {*words} <= {"equivalent", "not supported"} else "undecided"
        row = {"claim": one["id"], "verdict": word, "p": p[k], "corrected": corrected[k], "level": levels[k]}
        printed = [
            bool(inside(part, np.array(found["published"])))
            for part, found in zip(one["comparisons"], parts, strict=True)
            if not np.isnan(found["published"])
        ]
        row["own_numbers"] = "not printed" if not printed else "agree" if all(printed) else "disagree"
        rows.append((row, parts))
    return rows


def single_run(parts, evidence):
    """Of a claim whose runs hang together like a tree, for each resample of the seeds; None of any other."""
    own, edges = {}, {}
    for runs, holds in (part["holds"] for part in parts):
        if len(runs) == 1:
            own[runs[0]] = own.get(runs[0], True) * holds
        else:
            first, second = sorted(runs)
            edges[first, second] = edges.get((first, second), True) * (holds if runs[0] == first else holds.T)
    runs = set(own) | {run for pair in edges for run in pair}
    neighbours = {run: {a if b == run else b for a, b in edges if run in (a, b)} for run in runs}
    replicas = len(parts[0]["holds"][1])
    weights = np.vstack([np.full(replicas, 1 / replicas), resampled(replicas, evidence)])
    seen = set()

    def message(run, parent):
        """For each of its replicas the probability of all that hangs on it."""
        if run in seen:
            raise LookupError("a circle")
        seen.add(run)
        result = np.ones_like(weights) * own.get(run, True)
        for child in neighbours[run] - {parent}:
            holds = edges.get((run, child))
            holds = edges[child, run].T if holds is None else holds
            result *= (weights * message(child, run)) @ holds.T
        return result

    result = np.ones(len(weights))
    try:
        for run in sorted(runs):
            if run not in seen:
                result *= (weights * message(run, None)).sum(1)
    except LookupError:
        return None
    level = 1 - evidence["confidence"]
    if 1e-9 < result[0] < 1 - 1e-9:
        return with_ends("single_run", result[0], result[1:], level)
    low, high = proportion_confint(replicas * round(result[0]), replicas, level, method="beta")
    return {"single_run": result[0], "single_run_low": low, "single_run_high": high}


def claim_tables(study, frame, evidence, margins=None):
    """`claims` and `comparisons`."""
    margins = evidence["margins"] if margins is None else margins
    published = {
        f"{run}/{name}": value for run, own in study.get("published", {}).items() for name, value in own.items()
    }
    for run in study.get("published", {}):
        if {f"{run}/train_accuracy", f"{run}/validation_accuracy"} <= published.keys():
            gap = published[f"{run}/train_accuracy"] - published[f"{run}/validation_accuracy"]
            published[f"{run}/generalization_gap"] = gap
    found = {}
    for asked_by in ("study", "readers"):
        family = [one for one in study["claims"] if one.get("asked_by", "study") == asked_by]
        found |= {row["claim"]: (row, parts) for row, parts in judge(family, frame, published, margins, evidence)}
    claims, comparisons = [], []
    for one in study["claims"]:
        row, parts = found[one["id"]]
        if all(part["replicas"] for part in parts):
            row |= single_run(parts, evidence) or {}
        claims.append(row)
        for place, part in enumerate(parts):
            kept = {name: value for name, value in part.items() if name not in ("holds", "p_instead")}
            comparisons.append({"claim": one["id"], "comparison": place} | kept)
    return {"claims": claims, "comparisons": comparisons}


def log_likelihood(value, values, logarithmic):
    """Of a new value: scipy's t, or that of its logarithm."""
    if logarithmic:
        return log_likelihood(np.log(value), np.log(values), False) - np.log(value)
    return stats.t(len(values) - 1, np.mean(values), np.std(values, ddof=1) * (1 + 1 / len(values)) ** 0.5).logpdf(
        value
    )


def explanation_rows(study, frame, changed):
    rows = []
    for one in study["explanations"]:
        pairs = []
        for run, own in study["published"].items():
            for name, value in own.items():
                key, source = f"{run}/{name}", frame
                other = one.get("instead", {}).get(key)
                if "change" in one:
                    other, source = f"{one['change']}/{run}|{name}", changed
                elif name in one.get("measured", {}):
                    other = f"{run}/{one['measured'][name]}"
                if key not in frame or other not in source:
                    continue
                ours, instead = frame[key].dropna(), source[other].dropna()
                n, logarithmic = min(len(ours), len(instead)), name.endswith("_cost")
                both = [log_likelihood(value, values[:n], logarithmic) for values in (ours, instead)]
                pairs.append([run, both[0], both[1]])
        table = pd.DataFrame(pairs, columns=["run", "protocol", "instead"]).astype(
            {"protocol": float, "instead": float}
        )
        for run in ["all", *dict.fromkeys(table["run"])]:
            there = table if run == "all" else table[table["run"] == run]
            sums = there[["protocol", "instead"]].sum(min_count=1)
            rows.append({"explanation": one["id"], "run": run, "numbers": len(there), **sums})
            rows[-1]["gain"] = sums["instead"] - sums["protocol"]
    return rows


def fidelity_rows(study, frame, level):
    rows = []
    for run, own in study["published"].items():
        for name, value in own.items():
            if f"{run}/{name}" not in frame or not frame[f"{run}/{name}"].notna().any():
                continue
            ours = frame[f"{run}/{name}"].dropna()
            median, low, high = median_interval(ours.to_numpy(), level)
            rows.append(
                {"run": run, "measure": name, "published": value, "median": median, "median_low": low}
                | {"median_high": high, "middle_low": ours.quantile(0.05), "middle_high": ours.quantile(0.95)}
                | {"lowest": ours.min(), "highest": ours.max(), "inside": ours.min() <= value <= ours.max()}
                | {"percentile": stats.percentileofscore(ours, value, kind="mean")}
            )
    return rows


def epoch_rows(runs, frame, level):
    rows = []
    for (batch_size, l2), cells in runs.sort_values("epochs").groupby(["batch_size", "L2"]):
        for shorter, longer in zip(cells.iloc[:-1].itertuples(), cells.iloc[1:].itertuples(), strict=True):
            gain = (frame[f"{longer.run}/test_accuracy"] - frame[f"{shorter.run}/test_accuracy"]).dropna().to_numpy()
            median, low, high = median_interval(gain, level)
            ends = proportion_confint((gain > 0).sum(), len(gain), level, method="beta")
            rows.append(
                {"batch_size": batch_size, "l2": l2, "from_epochs": shorter.epochs, "to_epochs": longer.epochs}
                | {"median": median, "median_low": low, "median_high": high}
                | {"gained": np.mean(gain > 0), "gained_low": ends[0], "gained_high": ends[1]}
            )
    return rows


def failure_rows(runs, frame, threshold):
    accuracy = pd.DataFrame({run: frame[f"{run}/test_accuracy"] for run in runs["run"]})
    settings = runs.drop(columns=["run", "epochs"]).astype(str).agg("|".join, axis=1)
    rows = []
    for run, own, epochs in zip(runs["run"], settings, runs["epochs"], strict=True):
        longer = runs["run"][(settings == own) & (runs["epochs"] > epochs)]
        low, later = accuracy[run] < threshold, (accuracy[longer] >= threshold).any(axis=1)
        kinds = {"undertrained": low & later, "collapsed": low & ~later, "diverged": accuracy[run].isna()}
        counts = {kind: int(which.sum()) for kind, which in kinds.items()}
        rows += [{"run": run, "replicas": len(frame)} | counts] * any(counts.values())
    return rows


def tables(root, key):
    """The tables of one study by name, each as rows."""
    yaml = YAML(typ="safe")
    study, params = (yaml.load(root / path) for path in (f"data/studies/{key}.yaml", "params.yaml"))
    evidence, runs = params["evidence"], root / "reports/runs"
    level = 1 - evidence["confidence"]
    if key != "study":
        return claim_tables(study, read(runs / "studies" / key / "replicas.csv"), evidence)
    frame = pd.concat([read(runs / folder / "replicas.csv") for folder in ("grid", *study["runs"])], axis=1)
    changed = pd.read_csv(runs / "explanations/replicas.csv").drop(columns="seed").pivot(index="replica", columns="run")
    changed.columns = [f"{run}|{measure}" for measure, run in changed.columns]
    experiments = [
        run for run in study["runs"] if run in study["cells"][0].values() and not study["runs"][run].get("added")
    ]
    accuracy = {run: frame[f"{run}/test_accuracy"].fillna(-np.inf).to_numpy() for run in experiments}
    beats = [
        {"run": run, "other": other} | ahead(accuracy[run], accuracy[other], evidence)
        for run in experiments
        for other in experiments
        if other != run
    ]
    configurations = pd.concat(pd.read_csv(runs / folder / "runs.csv") for folder in ("grid", *study["runs"]))
    failed = failure_rows(configurations, frame, evidence["collapsed_below"])
    return (
        claim_tables(study, frame, evidence)
        | {"fidelity": fidelity_rows(study, frame, level), "explanations": explanation_rows(study, frame, changed)}
        | {"beats": beats, "epochs": epoch_rows(pd.read_csv(runs / "grid/runs.csv"), frame, level)}
        | {"failures": failed}
    )
