"""The files of a run folder.

config.json          the texts of program, data and loss, what the data know, the settings, the
                     versions; under "first_stages" the runs that program or loss loads, where
                     their copies are, and the hashes of their weights; under "resumed" each change
                     since, as [before, after]
metrics.jsonl        one record for each epoch
weights.safetensors  the parameters of the best epoch, without those of first stages
columns.json         of a run on `table`, what its columns are
vocabulary.json      of a run on texts, what each token stands for
first_stages/        what opening the program takes of each run that it loads
checkpoint.pt        the last parameters, the optimizer's and the generators' state
results.json         the evaluation on the test data, at the end
evaluation-*.json    results of the command evaluate; of other data or settings, another file
*.png                figures; and a copy of the user's file, if the program is one
*.txt                what a program of texts writes, in the place of figures
samples.json         of a run on molecules, the numbers of the last table of `sample`
train.smi, test.smi  the canonical SMILES of its data, written by the first `sample`
"""

__all__ = [
    "CHECKPOINT",
    "COLUMNS",
    "CONFIG",
    "FIRST_STAGES",
    "METRICS",
    "REFERENCES",
    "RESULTS",
    "VOCABULARY",
    "WEIGHTS",
]

CONFIG, METRICS, WEIGHTS = "config.json", "metrics.jsonl", "weights.safetensors"
CHECKPOINT, RESULTS, FIRST_STAGES = "checkpoint.pt", "results.json", "first_stages"
COLUMNS = "columns.json"
VOCABULARY, REFERENCES = "vocabulary.json", ("train.smi", "test.smi")
