"""Names of persons by GLiNER, in its own environment, from a model on this machine.

The model is the folder `model` beside this file (a link suffices); it is never downloaded.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exchange import serve, windows

WINDOW = 1000  # characters that the model reads at once, cut at white space


def main():
    """Loads the model and answers."""
    from gliner import GLiNER

    folder = Path(__file__).resolve().parent / "model"
    if not folder.is_dir():
        sys.exit(f"gliner needs a model in {folder} (gliner_config.json and its weights)")
    model = GLiNER.from_pretrained(str(folder), local_files_only=True)

    def find(text):
        return [
            (start + one["start"], start + one["end"])
            for start, part in windows(text, WINDOW)
            for one in model.predict_entities(part, ["person"], threshold=0.5)
        ]

    serve(find)


if __name__ == "__main__":
    main()
