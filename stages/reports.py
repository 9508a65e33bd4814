"""The runs of all other studies, by their own protocols: trained, and measured as tables."""

import torch

from nnlib.data.dataset import report_sets, sets
from nnlib.data.files import load_tensors
from nnlib.data.raw import load_raw
from stages.parameters import Parameters
from stages.paths import DATASET, RAW, RUNS, STUDIES_RUNS
from stages.program import run
from stages.studies import load_others
from stages.training import KINDS, train_and_measure


@torch.no_grad()
def main(params: Parameters) -> None:
    images, examples = load_raw(RAW, params.dataset), params.preprocess.examples
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
        if study.data:
            share = study.data.share(examples, params.dataset.train)
            classes = params.dataset.classes
            both = report_sets(*images, share.train, share.validation, test=examples, classes=classes)
        else:
            both = sets(load_tensors(DATASET))
        train_and_measure(params, both, configurations, seeds, RUNS / STUDIES_RUNS / study.key, kinds=KINDS[:2])


if __name__ == "__main__":
    run(main)
