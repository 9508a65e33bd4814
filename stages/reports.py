"""The runs of all other studies, by their own protocols: trained, and measured as tables."""

import torch
from torch import Tensor

from nnlib.data.dataset import report_sets, sets
from nnlib.data.files import load_tensors
from nnlib.data.raw import Raw, load_raw
from nnlib.evidence.study import Study
from stages.parameters import Parameters
from stages.paths import DATASET, RAW, RUNS, STUDIES_RUNS
from stages.program import run
from stages.studies import load_others
from stages.training import KINDS, train_and_measure


@torch.no_grad()
def main(params: Parameters) -> None:
    raw = load_raw(RAW, params.dataset)
    seeds = params.seeds[: params.reports.replicas]
    (RUNS / STUDIES_RUNS).mkdir(parents=True, exist_ok=True)
    for study in load_others():
        configurations = study.configurations()
        if params.reports.most_epochs:
            configurations = {
                key: settings.replace(epochs=min(settings.epochs, params.reports.most_epochs))
                for key, settings in configurations.items()
            }
        if not configurations:
            continue
        folder = RUNS / STUDIES_RUNS / study.key
        train_and_measure(params, images_of(study, params, raw), configurations, seeds, folder, kinds=KINDS[:2])


def images_of(study: Study, params: Parameters, raw: Raw) -> dict[str, tuple[Tensor, Tensor]]:
    """The sets that a report trains, validates and tests on: its own, or else the study's."""
    if not study.data:
        return sets(load_tensors(DATASET))
    examples, dataset = params.preprocess.examples, params.dataset
    share = study.data.share(examples, dataset.train)
    return report_sets(*raw, share.train, share.validation, test=examples, classes=dataset.classes)


if __name__ == "__main__":
    run(main)
