"""Whether a trial costs the same after thousands: one long study on a small table.

    python benchmarks/many_trials.py --trials 10000

Runs `grovekeeper launch` in an empty folder, then reads from Optuna's database when trials ended.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import optuna
from sklearn.datasets import make_friedman1

_ROWS = 150


def main() -> None:
    """Print the seconds of each thousand trials, and the last's relative to the first's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--step", type=int, default=1_000)
    arguments = parser.parse_args()
    command = [str(Path(sys.executable).with_name("grovekeeper")), "launch", "many"]
    command += ["--data", "table.csv", "--trials", str(arguments.trials), "--no-register"]
    with tempfile.TemporaryDirectory() as folder:
        X, y = make_friedman1(_ROWS, n_features=6, noise=1.0, random_state=0)
        header = ",".join([*(f"x{k}" for k in range(X.shape[1])), "y"])
        np.savetxt(Path(folder) / "table.csv", np.column_stack([X, y]), "%.6g", ",", header=header,
                   comments="")  # fmt: skip
        subprocess.run(command, cwd=folder, check=True)
        study = optuna.load_study(study_name="many", storage=f"sqlite:///{folder}/optuna.db")
        trials = study.get_trials(deepcopy=False)
    ended = sorted(t.datetime_complete.timestamp() for t in trials if t.datetime_complete)
    begun = min(t.datetime_start.timestamp() for t in trials if t.datetime_start)
    marks = [begun, *ended[arguments.step - 1 :: arguments.step]]
    seconds = np.diff(marks)
    for k, each in enumerate(seconds):
        print(f"trials {k * arguments.step:6} to {(k + 1) * arguments.step:6}  {each:6.1f} s")
    print(f"the last {arguments.step} cost {seconds[-1] / seconds[0]:.2f} times the first")


if __name__ == "__main__":
    main()
