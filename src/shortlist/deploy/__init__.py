"""From a finished run to a model that is used: model directories, export, serving."""
