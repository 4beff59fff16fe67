"""Names of persons by Microsoft Presidio's analyzer with a spaCy model, in its own environment.

The model is the first English pipeline (en_...) that is installed there; it is never downloaded.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exchange import serve, windows

WINDOW = 100_000  # characters; spaCy refuses a million


def main():
    """Loads the model and answers."""
    import spacy.util
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    models = sorted(name for name in spacy.util.get_installed_models() if name.startswith("en_"))
    if not models:
        sys.exit("presidio needs an English spaCy model (en_core_web_sm) in its environment")
    settings = {
        "nlp_engine_name": "spacy",
        "models": [{"lang_code": "en", "model_name": models[0]}],
    }
    engine = NlpEngineProvider(nlp_configuration=settings).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def find(text):
        return [
            (start + one.start, start + one.end)
            for start, part in windows(text, WINDOW)
            for one in analyzer.analyze(text=part, language="en", entities=["PERSON"])
        ]

    serve(find)


if __name__ == "__main__":
    main()
