"""The files of a run folder.

config.json          the texts of program, data and loss, what the data know, the settings, the
                     versions; under "first_stages" the paths of the runs that program or loss
                     loads, and the hashes of their weights; under "resumed" each change since, as
                     [before, after]
metrics.jsonl        one record for each epoch
weights.safetensors  the parameters of the best epoch, without those of first stages
checkpoint.pt        the last parameters, the optimizer's and the generators' state
results.json         the evaluation on the test data, at the end
evaluation-*.json    results of the command evaluate; of other data or settings, another file
*.png                figures; and a copy of the user's file, if the program is one
"""

__all__ = ["CHECKPOINT", "CONFIG", "METRICS", "RESULTS", "WEIGHTS"]

CONFIG, METRICS, WEIGHTS = "config.json", "metrics.jsonl", "weights.safetensors"
CHECKPOINT, RESULTS = "checkpoint.pt", "results.json"
