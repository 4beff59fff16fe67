"""LESS by its authors' code (github princeton-nlp/LESS): gradient files in, influence scores out.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Needs torch. The columns of the vectors are one group a checkpoint (`checkpoint_weights`). Their
datastore holds one file a checkpoint, `all_orig.pt`, of gradients at length one, and
`less.data_selection.matching` makes scores of it. It knows tasks by name only, each with a fixed
number of sub-tasks of equally many examples: here every one of tydiqa's 9 is the whole target, so
that the score is the mean over the target (one sub-task).
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange

SUBTASKS = 9


def main(work):
    """Writes the datastore, runs the matching script, and reads its scores."""
    import torch

    checkout, arguments = exchange.request(work)
    weights, ids = arguments["checkpoint_weights"], exchange.documents(work, "pool")[0]
    for name in ("pool", "target"):
        rows = torch.from_numpy(exchange.vectors(work, name))
        if rows.shape[1] % len(weights):
            sys.exit(f"{rows.shape[1]} columns are not {len(weights)} equal groups")
        for number, part in enumerate(rows.chunk(len(weights), dim=1)):
            part = part / part.norm(dim=1, keepdim=True).clamp_min(1e-30)
            folder = Path(work) / "grads" / f"{name}-ckpt{number}"
            folder.mkdir(parents=True)
            whole = part if name == "pool" else part.repeat(SUBTASKS, 1)
            torch.save(whole.contiguous(), folder / "all_orig.pt")
    numbers = [str(number) for number in range(len(weights))]
    folders = str(Path(work) / "grads")
    options = {
        "gradient_path": [f"{folders}/{{1}}-ckpt{{0}}/all_orig.pt"],
        "validation_gradient_path": [f"{folders}/target-ckpt{{0}}/all_orig.pt"],
        "train_file_names": ["pool"],
        "target_task_names": ["tydiqa"],
        "ckpts": numbers,
        "checkpoint_weights": [str(weight) for weight in weights],
        "output_path": [str(Path(work) / "selected")],
    }
    script = str(checkout / "less" / "data_selection" / "matching.py")
    words = [word for name, values in options.items() for word in (f"--{name}", *values)]
    subprocess.run([sys.executable, script, *words], check=True)
    path = Path(work) / "selected" / "tydiqa" / "pool_influence_score.pt"
    scores = torch.load(path, weights_only=True)
    exchange.answer(work, ids, scores.tolist(), checkpoints=len(weights))


if __name__ == "__main__":
    main(sys.argv[1])
