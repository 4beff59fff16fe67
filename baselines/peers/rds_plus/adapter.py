"""RDS+ by its authors' code (github hamishivi/automated-instruction-selection): texts in, cosines out.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Needs what `minimal_multitask` imports (torch, transformers, datasets, ...) and the model as a folder
(`model_name`). Each text becomes one user message of its chat files; one text a batch, since its
pooling counts padding in. It leaves a pickle of cosines, which is read without running anything in
it; its own script for the last step asks a hub for a tokenizer, so the round robin over the targets
is done here: the score is minus the place.
"""

import json
import pickle
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange


class Plain(pickle.Unpickler):
    """Reads dicts, lists and numbers; refuses everything that would be called."""

    def find_class(self, module, name):
        """Refuses."""
        raise pickle.UnpicklingError(f"expected plain numbers, found {module}.{name}")


def main(work):
    """Writes the chat files, runs the encoder script, and puts its cosines in order."""
    checkout, arguments = exchange.request(work)
    if not arguments.get("model_name"):
        sys.exit("no model: set selector.arguments.model_name to the model's folder")
    folder = Path(work)
    ids = exchange.documents(work, "pool")[0]
    for name in ("pool", "target"):
        texts = exchange.documents(work, name)[1]
        rows = [{"messages": [{"role": "user", "content": text}]} for text in texts]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}_chat.jsonl").write_text(lines, encoding="utf-8")
    options = {
        "train_dataset": folder / "pool_chat.jsonl",
        "eval_dataset": folder / "target_chat.jsonl",
        "index_path": folder / "index" / "pool.pt",
        "save_dir": folder / "cosines",
        "batch_size": 1,
        **arguments,
    }
    command = [
        sys.executable,
        "-m",
        "minimal_multitask.compute_influence_cosinesim",
        "--prompt_only",
    ]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    subprocess.run(command, cwd=checkout, check=True)
    # Their name of the file is that of the evaluation set, which is a path here.
    with (folder / "target_chat.jsonl_cossim_promptonly.pkl").open("rb") as file:
        cosines = Plain(file).load()
    queues = [sorted(row, key=row.get, reverse=True) for row in cosines.values()]
    scores = [None] * len(ids)
    place = 0
    for nearest in zip(*queues, strict=True):
        for row in nearest:
            if scores[row] is None:
                scores[row] = -place
                place += 1
    exchange.answer(work, ids, scores, targets=len(queues))


if __name__ == "__main__":
    main(sys.argv[1])
