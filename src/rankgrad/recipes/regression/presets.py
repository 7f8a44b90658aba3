"""Settings under which RankSim's and LDS and FDS's authors published their numbers."""

from typing import Any

__all__ = ["PRESETS"]

_FACES: dict[str, Any] = {
    "target": "age",
    "path_column": "path",
    "split": "split",
    "image_size": 224,
    "bin_low": 0.0,
    "bin_width": 1.0,
    "num_bins": 121,
    "many_above": 100,
    "few_below": 20,
    "model": "resnet50",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "steps:60,80",
    "scale_labels": False,
    "batch_size": 256,
    "learning_rate": 1e-3,
    "method": "l1",
}
_AGEDB = {**_FACES, "epochs": 120}
_IMDB_WIKI = {**_FACES, "epochs": 90}
_STSB: dict[str, Any] = {
    "model": "bilstm-large",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "constant",
    "clip_norm": 5.0,
    "batch_size": 16,
    "learning_rate": 2.5e-4,
    "epochs": 370,
    "patience": 37,
    "method": "mse",
}
_SMALL_BATCH = {"batch_size": 64, "learning_rate": 2.5e-4}
_RANKSIM = "ranksim:weight=100,strength=2,coupling=published"
_RANKSIM_STSB = "ranksim:weight=0.0003,strength=2,coupling=published"
_LDS = "lds:window=gaussian,size=5,sigma=2"
_FDS = "fds:window=gaussian,size=5,sigma=2"

PRESETS: dict[str, dict[str, Any]] = {
    "agedb-vanilla": _AGEDB,
    "agedb-sqinv": {**_AGEDB, "method": "l1 sqrt-inverse"},
    "agedb-lds": {**_AGEDB, "method": f"l1 {_LDS}"},
    "agedb-fds": {**_AGEDB, "method": f"l1 {_FDS}"},
    "agedb-ranksim": {**_AGEDB, **_SMALL_BATCH, "method": f"l1 {_RANKSIM}"},
    "agedb-sqinv-ranksim": {
        **_AGEDB,
        **_SMALL_BATCH,
        "method": f"l1 sqrt-inverse {_RANKSIM}",
    },
    "imdb-wiki-vanilla": _IMDB_WIKI,
    "imdb-wiki-sqinv": {**_IMDB_WIKI, "method": "l1 sqrt-inverse"},
    "imdb-wiki-lds": {**_IMDB_WIKI, "method": f"l1 {_LDS}"},
    "imdb-wiki-fds": {**_IMDB_WIKI, "method": f"l1 {_FDS}"},
    "imdb-wiki-ranksim": {**_IMDB_WIKI, "method": f"l1 {_RANKSIM}"},
    "imdb-wiki-sqinv-ranksim": {**_IMDB_WIKI, "method": f"l1 sqrt-inverse {_RANKSIM}"},
    "stsb-vanilla": _STSB,
    "stsb-inverse": {**_STSB, "method": "mse inverse"},
    "stsb-lds": {**_STSB, "method": f"mse inverse {_LDS}"},
    "stsb-fds": {**_STSB, "method": f"mse {_FDS}"},
    "stsb-ranksim": {**_STSB, "method": f"mse {_RANKSIM_STSB}"},
    "stsb-inverse-ranksim": {**_STSB, "method": f"mse inverse {_RANKSIM_STSB}"},
}
"""Name -> settings; the data itself and, for faces, the image folder are yours to name.

Where they differ from the publication: for STS-B patience counts epochs (the authors validate every
400 steps, some 1.2 epochs), labels are scaled by mean and deviation and not by 5, and the tokenizer
is our own; FDS on faces covers labels 0 to 120, the authors' 3 to 99 (AgeDB) and 0 to 99; FDS
takes its statistics while training, theirs in a pass of its own behind each epoch.
"""
