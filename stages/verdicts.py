"""The study's claims and numbers against ours: verdicts, percentiles, what fifty more epochs bring."""

import re
from typing import Any

import pandas as pd
import yaml

from nnlib import Run
from nnlib.data.files import load_tensors, write_csv, write_json
from nnlib.evidence.claims import VERDICTS, Claim, decide
from nnlib.evidence.inspection import history_measures
from nnlib.evidence.tables import best_cells, epoch_gains, fidelity_table, verdict_table
from stages.common import EPOCHS, FIDELITY, MODELS, PUBLISHED, RUNS, TIMING, VERDICTS_FILE, WEIGHT_TABLE, run, run_keys


def main(params: Any) -> None:
    study = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    measured = measures(params, study["early_steps"])
    statistics = {name: getattr(params.evidence, name) for name in ("confidence", "resamples", "seed")}

    claims = [Claim.from_record(record) for record in study["claims"]]
    verdicts = decide(claims, measured, study["published"], **statistics)
    write_csv(VERDICTS_FILE, verdict_table(verdicts, measured))

    fidelity = fidelity_table(study["published"], measured, **statistics)
    write_csv(FIDELITY, fidelity)
    gains = epoch_gains(measured, **statistics)
    write_csv(EPOCHS, gains)

    counts = {name: sum(verdict.verdict == name for verdict in verdicts) for name in VERDICTS}
    collapsed = {
        key: int((values["test_accuracy"] < params.evidence.collapsed_below).sum())
        for key, values in measured.items()
        if "test_accuracy" in values
    }
    write_json(
        VERDICTS_FILE.with_suffix(".json"),
        counts
        | {"published_inside": int(fidelity["inside"].sum()), "published": len(fidelity)}
        | {"best": best_cells(measured), "collapsed": collapsed},
    )
    for verdict in verdicts:
        print(f"{verdict.verdict:>12}  {verdict.claim.says}")
    print(f"{fidelity['inside'].sum()} of the study's {len(fidelity)} numbers lie within our replicas' range")


def measures(params: Any, early_steps: int) -> dict[str, Any]:
    """run → measure → one value for each replica, of every run in the pipeline; `timing`'s replicas are its rounds."""
    measured: dict[str, Any] = {}
    for key in run_keys(params):
        table = pd.read_csv(RUNS / f"{key}.csv")
        history = history_measures(Run.from_tensors(load_tensors(MODELS / f"{key}.safetensors")), early_steps)
        measured[key] = {str(name): values.to_numpy() for name, values in table.items()} | history
    timing = pd.read_csv(TIMING)
    for code, rounds in timing.groupby("code"):
        name = "timing" if code == "loop" else f"timing-{code}"
        measured[name] = {key: rounds[key].to_numpy() for key in rounds if re.match("experiment-", str(key))}
    weights = pd.read_csv(WEIGHT_TABLE)
    measured["weight-diff"] = {
        f"mean_difference_{layer}": rows["mean_difference"].to_numpy() for layer, rows in weights.groupby("layer")
    }
    return measured


if __name__ == "__main__":
    run(main)
