"""Parameters, claims and labels fit together: said in one line before anything is computed.

The first stage, so that a parameter that is refused costs nothing: DVC removes what a stage has written before it runs
it again, and this one writes nothing of value.
"""

from nnlib.data.files import write_text
from nnlib.evidence.claims import count_tests
from nnlib.evidence.measures import measures_of
from nnlib.evidence.statistics import fewest_trials
from stages.common import CHECKED, PUBLISHED, WEIGHT_DIFF, run
from stages.configurations import cells
from stages.parameters import Parameters, experiments, read_yaml
from stages.reporting.labels import check_label
from stages.study import check_study


def main(params: Parameters) -> None:
    # DVC takes dvc.yaml for no dependency; a new experiment without a label is refused by its training stage, too.
    for key in experiments():
        check_label(key)
    runs = {*experiments(), *cells(params), WEIGHT_DIFF}
    claims = check_study(read_yaml(PUBLISHED), runs, set(params.alternatives.changes))
    names = {f"{key}/{measure}" for key in runs for measure in measures_of(len(params.network.layers_dims) - 1)}
    needed = fewest_trials(max(1, count_tests(claims, names)), 1 - params.evidence.confidence)
    if params.replicas < needed:
        print(f"replicas: {params.replicas} decide no claim, unless runs diverge; that takes at least {needed}")
    write_text(CHECKED, "Parameters, claims and labels fit together.\n")


if __name__ == "__main__":
    run(main)
