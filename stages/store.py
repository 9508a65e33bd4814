"""The store of trained replicas: list it, or remove what no parameter set uses.

    python -m stages.store                  list it
    python -m stages.store prune            remove what neither this workspace nor a branch, a tag or an experiment uses
    python -m stages.store prune --yes      without asking, where the store may be shared with other clones

A parameter set is the params.yaml and the studies of a commit; it uses its settings' replicas, whatever their length,
data and version of the code.
"""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnlib import Seeds, Settings, Store
from nnlib.errors import InputError
from nnlib.evidence.study import Study
from nnlib.replicas.store import Entry
from stages import parameters
from stages.chance import asked as asked_by_chance
from stages.configurations import cells, explanations
from stages.parameters import Parameters
from stages.paths import STUDIES, STUDY, store_folder
from stages.program import run
from stages.studies import load_others, load_study, read_study
from stages.yaml_files import parse_yaml

Key = tuple[Settings, Seeds]


def main(params: Parameters, *arguments: str) -> None:
    if arguments not in ((), ("prune",), ("prune", "--yes")):
        sys.exit("usage: python -m stages.store [prune [--yes]]")
    store = Store(store_folder())
    entries = list(store.entries())
    if not arguments:
        for line in listing(entries):
            print(line)
        print(f"{len(entries)} entries, {megabytes(entries)}, in {store.folder}")
        return
    used = {key for keys in parameter_sets(params) for key in keys}
    unused = [entry for entry in entries if (entry.settings.identity(), entry.seeds) not in used]
    elsewhere = not store.folder.resolve().is_relative_to(Path.cwd().resolve())
    if unused and (elsewhere or os.environ.get("REPLICA_STORE")) and "--yes" not in arguments:
        print(f"{len(unused)} of {len(entries)} entries in {store.folder} are of no use to this clone.")
        print("Other clones that share the store may use them.")
        if not sys.stdin.isatty() or input("Remove them? [y/N] ").strip().lower() not in ("y", "yes"):
            sys.exit("nothing removed; `prune --yes` removes them without asking")
    for entry in unused:
        entry.path.unlink()
        if not any(entry.path.parent.iterdir()):
            entry.path.parent.rmdir()
    print(f"removed {len(unused)} of {len(entries)} entries, {megabytes(unused)}, from {store.folder}")


def listing(entries: list[Entry]) -> Iterator[str]:
    """A line for each configuration, with the settings that differ from the defaults."""
    groups: dict[Settings, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.settings.identity()].append(entry)
    for settings, group in groups.items():
        usual = Settings(layers_dims=settings.layers_dims)
        own = {name: value for name, value in settings if value != getattr(usual, name) and name != "epochs"}
        epochs = sorted({entry.epoch for entry in group})
        yield (
            f"{'-'.join(map(str, settings.layers_dims))}  epochs {', '.join(map(str, epochs))}  "
            f"{', '.join(f'{name} {value}' for name, value in own.items()) or 'defaults'}: "
            f"{len({entry.seeds for entry in group})} seeds, {megabytes(group)}"
        )


def megabytes(entries: list[Entry]) -> str:
    return f"{sum(entry.size for entry in entries) / 1e6:.1f} MB"


def parameter_sets(params: Parameters) -> Iterator[set[Key]]:
    """What each parameter set uses: the workspace's, and that of every branch, tag and experiment."""
    yield keys(params, load_study(), load_others())
    try:
        refs = git("for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags", "refs/exps").split()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise InputError(f"expected a clone of git, whose branches tell what is in use; {said.strip()}") from None
    for ref in refs:
        try:
            paths = git("ls-tree", "--name-only", ref, f"{STUDIES.as_posix()}/").split()
            studies = {path: read_study(parse_yaml(git("show", f"{ref}:{path}"))) for path in paths if ".yaml" in path}
            study = studies.pop(STUDY.as_posix())
            there = parameters.check(parse_yaml(git("show", f"{ref}:params.yaml")))
            yield keys(there, study, list(studies.values()))
        except (subprocess.CalledProcessError, ValueError, LookupError, TypeError, AttributeError) as error:
            print(f"{ref}: no parameter set of this version ({str(error).splitlines()[0]})", file=sys.stderr)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, encoding="utf-8").stdout


def keys(params: Parameters, study: Study, others: list[Study]) -> set[Key]:
    """All that the stages train: every configuration with each of its seeds."""
    trained: list[tuple[Settings, Sequence[int | Seeds]]] = []
    seeds = params.seeds
    for settings in (*cells(params).values(), *study.configurations(params.common()).values()):
        trained.append((settings, seeds))
    trained += [(settings, seeds[: params.explanations.replicas]) for settings in explanations(params, study).values()]
    for other in others:
        trained += [(settings, seeds[: params.reports.replicas]) for settings in other.configurations().values()]
    for asked in asked_by_chance(params, study):
        trained += [(settings, asked.seeds) for settings in asked.configurations.values()]
    return {(settings.identity(), Seeds.of(seed)) for settings, those in trained for seed in those}


if __name__ == "__main__":
    run(main)
