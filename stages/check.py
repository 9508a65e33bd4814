"""Check that parameters and studies fit together, before anything is computed; if not, say so in one line.

The first stage, so that a parameter that is refused costs nothing: DVC removes what a stage has written before it runs
it again, and this one writes nothing of value.
"""

from nnlib.data.catalogue import split_sizes
from nnlib.errors import InputError
from nnlib.evidence.study import Study, fewest_replicas
from nnlib.records import SEEDS
from stages.configurations import cells, explanations
from stages.parameters import Parameters
from stages.paths import CHANCE, CHECKED, EXPLANATIONS, GRID, STUDIES, STUDIES_RUNS, STUDY, TOGETHER
from stages.program import run
from stages.studies import load_others, load_study

# Of reports/runs, where each run of the study has a folder, too.
RUN_FOLDERS = (GRID, EXPLANATIONS, CHANCE, STUDIES_RUNS)


def main(params: Parameters) -> None:
    study, others = load_study(), load_others()
    study.check_data(params.dataset, study.configurations(params.common()) | explanations(params, study))
    check_sizes(study, params)
    study.check_claims(cells(params))
    for explanation in study.explanations:
        if explanation.change and explanation.change not in params.explanations.changes:
            raise InputError(
                f"explanation {explanation.id}: expected one of params.yaml's explanations.changes, "
                f"{', '.join(params.explanations.changes)}, got {explanation.change!r}"
            )
    if taken := [name for name in RUN_FOLDERS if name in study.runs]:
        raise InputError(f"{STUDY}: runs: expected other names than {', '.join(RUN_FOLDERS)}, got {', '.join(taken)}")
    for other in others:
        if other.key == TOGETHER:
            raise InputError(f"{STUDIES / other.key}.yaml: key: expected another name; reports/verdicts has this one")
        if other.frozen or other.explanations:
            raise InputError(f"{STUDIES / other.key}.yaml: expected frozen and explanations in {STUDY} alone")
        configurations = other.configurations()
        other.check_data(params.dataset, configurations)
        other.check_claims([])
        if other.data and params.preprocess.examples:
            few = other.data.share(params.preprocess.examples, params.dataset.train).train
            for run_of, settings in configurations.items():
                if settings.batch_size > few:
                    raise InputError(
                        f"preprocess.examples: expected enough for the mini-batches of {settings.batch_size} images "
                        f"of run {run_of} of {other.key}; with {params.preprocess.examples} it has {few} to train on"
                    )
    check_freeze(study, params)
    for name, asked in (("crossed", params.chance.crossed), ("split_replicas", params.chance.split_replicas)):
        if asked > params.replicas:
            print(f"chance.{name}: expected at most the {params.replicas} replicas, got {asked}; all are taken")
    claims = [claim for claim in study.claims if claim.asked_by == "study"]
    needed = fewest_replicas(len(claims), 1 - params.evidence.confidence)
    if params.replicas < needed:
        print(f"replicas: {params.replicas} decide no claim of the study; that takes at least {needed}")
    CHECKED.write_text("Parameters and studies fit together.\n", encoding="utf-8")


def check_sizes(study: Study, params: Parameters) -> None:
    """That the seeds are within their bounds, and the training set is large enough for every mini-batch.

    Raises
    ------
    InputError
        If not; the message names the parameter, and the run if there is one.
    """
    if params.seed + params.replicas > SEEDS:
        raise InputError(f"seed: expected at most {SEEDS - params.replicas}, so that all have one, got {params.seed}")
    if params.preprocess.seed in params.chance.split_seeds:
        raise InputError(f"chance.split_seeds: expected others than preprocess.seed, got {params.preprocess.seed}")
    split = params.preprocess
    examples = split.examples or params.dataset.pool(split.pool)
    sizes = dict(zip(("train", "validation", "test"), split_sizes(examples, split.test, split.validation), strict=True))
    if empty := [name for name, size in sizes.items() if size < 1]:
        raise InputError(f"preprocess: expected images for every set, got none for {' and '.join(empty)}")
    configurations = cells(params) | study.configurations(params.common()) | explanations(params, study)
    for key, settings in configurations.items():
        batch, most = settings.batch_size, sizes["train"]
        if batch > most:
            raise InputError(f"{key}: batch_size: expected at most the {most} training images, got {batch}")
        if not settings.epochs:
            raise InputError(f"{key}: epochs: expected at least 1, got 0")


def check_freeze(study: Study, params: Parameters) -> None:
    """That the claims are those that were frozen, or those of the last change that the study names.

    Other rules than the frozen ones are printed, not refused: they are parameters, which anybody may try.

    Raises
    ------
    InputError
        With the digest that the claims have.
    """
    if not study.frozen:
        return
    if study.claims_digest() != study.frozen.latest:
        raise InputError(
            f"{STUDY}: frozen: expected the claims of {study.frozen.latest}, got {study.claims_digest()}: they were "
            f"changed after {study.frozen.date}; under frozen.changes say what was changed, with the digest"
        )
    rules = params.evidence.margins.model_dump() | {"confidence": params.evidence.confidence}
    if rules != study.frozen.rules:
        print(f"evidence: other rules than those frozen on {study.frozen.date}: {rules}, not {study.frozen.rules}")


if __name__ == "__main__":
    run(main)
