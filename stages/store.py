"""The store of trained replicas: what lies in it, and away with what no parameter set uses.

    python -m stages.store            list it
    python -m stages.store prune      remove what neither this workspace nor a branch, a tag or an experiment asks for

A parameter set is the params.yaml and dvc.yaml of a commit; it uses its settings' replicas, whatever their length, data
and version of the code.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from dvc.parsing.context import Context

from nnlib import Settings, Store
from nnlib.replicas.store import Entry
from stages import parameters
from stages.common import run, store_folder
from stages.configurations import cells, changed, experiment
from stages.parameters import Parameters

Key = tuple[str, int]


def main(params: Parameters, *arguments: str) -> None:
    if arguments not in ((), ("prune",)):
        sys.exit("usage: python -m stages.store [prune]")
    store = Store(store_folder())
    entries = list(store.entries())
    if arguments:
        used = {key for configured in parameter_sets(params) for key in configured}
        unused = [entry for entry in entries if key_of(entry) not in used]
        for entry in unused:
            entry.path.unlink()
        print(f"removed {len(unused)} of {len(entries)} entries, {megabytes(unused)}, from {store.folder}")
    else:
        for line in listing(entries):
            print(line)
        print(f"{len(entries)} entries, {megabytes(entries)}, in {store.folder}")


def listing(entries: list[Entry]) -> Iterator[str]:
    """A line for each configuration."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[json.dumps(entry.settings)].append(entry)
    for group in groups.values():
        settings, epochs = group[0].settings, sorted({entry.epoch for entry in group})
        batchnorm = settings["batchnorm_rule"] if settings["use_batchnorm"] else "none"
        yield (
            f"{'-'.join(map(str, settings['layers_dims']))}  batch {settings['batch_size']}  λ {settings['L2']:g}  "
            f"batch norm {batchnorm}  epochs {', '.join(map(str, epochs))}: "
            f"{len({entry.seed for entry in group})} seeds, {megabytes(group)}"
        )


def megabytes(entries: list[Entry]) -> str:
    return f"{sum(entry.size for entry in entries) / 1e6:.1f} MB"


def key_of(entry: Entry) -> Key:
    return json.dumps(entry.settings, sort_keys=True), entry.seed


def parameter_sets(params: Parameters) -> Iterator[set[Key]]:
    """What each parameter set uses: the workspace's, and that of every branch, tag and experiment."""
    yield keys(params, parameters.read_yaml("dvc.yaml"))
    for ref in git("for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags", "refs/exps").split():
        try:
            yield keys(
                parameters.check(parameters.parse_yaml(git("show", f"{ref}:params.yaml"))),
                parameters.parse_yaml(git("show", f"{ref}:dvc.yaml")),
            )
        except (subprocess.CalledProcessError, ValueError, LookupError, TypeError, AttributeError) as error:
            print(f"{ref}: no parameter set of this version ({str(error).splitlines()[0]})", file=sys.stderr)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, encoding="utf-8").stdout


def keys(params: Parameters, pipeline: dict[str, Any]) -> set[Key]:
    items = Context(params.model_dump()).resolve(pipeline["stages"]["experiment"]["foreach"])
    experiments = [experiment(params, item["batchnorm"], float(item["l2"])) for item in items.values()]
    configured = [*cells(params).values(), *experiments]
    configured += [changed(one, change) for one in experiments for change in params.alternatives.changes.values()]
    seeds = range(params.seed, params.seed + params.replicas)
    return {(json.dumps(without_epochs(one), sort_keys=True), seed) for one in configured for seed in seeds}


def without_epochs(settings: Settings) -> dict[str, Any]:
    return {name: value for name, value in settings.record().items() if name != "epochs"}


if __name__ == "__main__":
    run(main)
