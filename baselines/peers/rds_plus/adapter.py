"""RDS+ by its authors' code (github hamishivi/automated-instruction-selection): texts in, cosines out.

    python adapter.py WORK          (WORK: see src/shortlist/selectors/peer.py)

Each text becomes one user message of their chat files, of pool and target alike, so that their
script reads `<|user|>`, a line break and the text, up to 2,048 tokens. One text a batch: their
pooling counts padding in. Without `--prompt_only`, which their code refuses for files. Importing
their data sets loads `evalplus/mbppplus` from the hub, which no run on files uses: it is empty here.
The cosines lie in a pickle, which is read without running anything in it. Their script for the last
step asks the hub for a tokenizer, so the round robin over the targets is done here, with ties in the
order of the pool: the score is minus the place. With `rank: best` it is the largest cosine to a
target.
"""

import json
import os
import pickle
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import exchange

SCRIPT = "minimal_multitask.compute_influence_cosinesim"


class Plain(pickle.Unpickler):
    """Reads dicts, lists and numbers; refuses everything that would be called."""

    def find_class(self, module, name):
        """Refuses."""
        raise pickle.UnpicklingError(f"expected plain numbers, found {module}.{name}")


def run(checkout, options):
    """Runs the encoder script with the data set that its import loads left empty."""
    sys.path.insert(0, str(checkout))
    import datasets

    loaded, none = datasets.load_dataset, datasets.Dataset.from_dict({"prompt": []})

    def load(path, *rest, **settings):
        return {"test": none} if path == "evalplus/mbppplus" else loaded(path, *rest, **settings)

    datasets.load_dataset = load
    os.chdir(checkout)  # it looks for its folder `data`
    words = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    sys.argv = [SCRIPT, *words]
    runpy.run_module(SCRIPT, run_name="__main__", alter_sys=True)


def places(queues):
    """Returns minus the place of each document in the round robin over the targets' queues."""
    scores = [None] * len(queues[0])
    place = 0
    for nearest in zip(*queues, strict=True):
        for row in nearest:
            if scores[row] is None:
                scores[row] = -place
                place += 1
    return scores


def main(work):
    """Writes the chat files, runs the encoder script, and puts its cosines in order."""
    folder = Path(work)
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets")}
    checkout, arguments = exchange.request(work)
    if not arguments.get("model_name"):
        sys.exit("no model: set selector.arguments.model_name to the model's folder")
    rank = arguments.pop("rank")
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
    run(checkout, options)
    with (folder / "cosines" / "target_chat.jsonl_cossim.pkl").open("rb") as file:
        cosines = list(Plain(file).load().values())
    if rank == "best":
        scores = [max(row[place] for row in cosines) for place in range(len(ids))]
    else:
        scores = places([sorted(row, key=row.get, reverse=True) for row in cosines])
    exchange.answer(work, ids, scores, targets=len(cosines))


if __name__ == "__main__":
    main(sys.argv[1])
