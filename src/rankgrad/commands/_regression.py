"""Options that ``train regression`` and ``compare regression`` share."""

import argparse
from typing import TYPE_CHECKING, Any

from rankgrad.commands._terminal import counting
from rankgrad.commands.errors import CommandError
from rankgrad.commands.options import names, natural, positive

if TYPE_CHECKING:
    from rich.console import Console

    from rankgrad.data.regression import RegressionData
    from rankgrad.recipes.regression.settings import RegressionSettings

__all__ = [
    "add_data_options",
    "add_training_options",
    "load",
    "preset_values",
    "settings_from",
]

# Fields of the settings that are options of the same name
_DATA: tuple[str, ...] = ("target", "split", "limit", "image_root", "path_column", "image_size")
_DATA += ("vectors", "embeddings", "bin_low", "bin_width", "num_bins", "many_above", "few_below")
_TRAINING: tuple[str, ...] = ("model", "head", "epochs", "batch_size", "optimizer", "learning_rate")
_TRAINING += ("weight_decay", "schedule", "clip_norm", "select", "patience")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the data is."""
    add = parser.add_argument_group("data").add_argument
    add(
        "--data",
        metavar="WHAT",
        help="digits, digits3, a CSV or TSV file, or a folder with STS-B-DIR (default: digits)",
    )
    add("--target", metavar="COLUMN", help="the column to predict")
    add("--features", type=names, metavar="A,B", help="columns to predict from (default: others)")
    add("--split", metavar="COLUMN", help="train, val or test a row (default: drawn by the seed)")
    add("--limit", type=positive, metavar="N", help="use N rows, drawn by the seed")
    add("--image-root", metavar="DIR", help="rows are images: the folder of their paths")
    add("--path-column", metavar="COLUMN", help="of image paths (default: path)")
    add("--image-size", type=positive, metavar="N", help="resize images to N x N (default: 224)")
    add("--no-augment", action="store_true", help="no random crops and mirroring in training")
    add("--skip-unreadable", action="store_true", help="leave out images that cannot be opened")
    add("--vectors", metavar="FILE", help="word vectors as text, or glove-50d")
    add(
        "--embeddings",
        metavar="WHAT",
        help="of sentences: minilm, a file .npz, or package.module:function",
    )
    add("--bin-width", type=float, metavar="X", help="width of the label bins")
    add("--bin-low", type=float, metavar="X", help="where the first label bin starts")
    add("--num-bins", type=positive, metavar="N", help="how many label bins")
    add("--many-above", type=int, metavar="N", help="region many: more training samples a bin")
    add("--few-below", type=int, metavar="N", help="region few: fewer training samples a bin")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of model and training."""
    parser.add_argument("--preset", metavar="NAME", help="published settings, e.g. agedb-ranksim")
    add = parser.add_argument_group("training").add_argument
    add("--model", metavar="NAME", help="auto, cnn, resnet18, ... or package.module:factory")
    add("--head", metavar="NAME", help="of a model of yours: the module that takes the features")
    add("--epochs", type=positive, metavar="N", help="(default: 60)")
    add("--batch-size", type=positive, metavar="N", help="(default: 128)")
    add("--optimizer", choices=("adamw", "adam", "sgd"), help="(default: adamw)")
    add("--learning-rate", "--lr", type=float, metavar="X", help="(default: 0.003)")
    add("--weight-decay", type=float, metavar="X", help="(default: 0.01)")
    add("--schedule", metavar="NAME", help="one-cycle (default), cosine, constant, steps:60,80")
    add("--clip-norm", type=float, metavar="X", help="clip the norm of the gradient")
    add("--no-scale", action="store_true", help="train on labels as they are")
    add("--select", choices=("best", "last"), help="which epoch's model is tested (default: best)")
    add(
        "--patience",
        type=natural,
        metavar="N",
        help="stop N epochs after the best (default: never)",
    )


def preset_values(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the preset says."""
    from rankgrad.recipes.regression.presets import PRESETS

    if options.preset is None:
        return {}
    if options.preset not in PRESETS:
        raise CommandError(f"unknown preset {options.preset!r}; there are {', '.join(PRESETS)}", 2)
    return dict(PRESETS[options.preset])


def settings_from(options: argparse.Namespace) -> "RegressionSettings":
    """Return the settings: defaults, then the preset, then what the command line says."""
    from rankgrad.recipes.regression.loading import DataSettings
    from rankgrad.recipes.regression.optimization import drops
    from rankgrad.recipes.regression.settings import RegressionSettings

    preset = preset_values(options)

    def given(fields: tuple[str, ...]) -> dict[str, Any]:
        values = {name: preset[name] for name in fields if name in preset}
        own = {name: getattr(options, name) for name in fields}
        return values | {name: value for name, value in own.items() if value is not None}

    data: dict[str, Any] = given(_DATA) | {"augment": not options.no_augment}
    data |= {"skip_unreadable": options.skip_unreadable, "features": options.features or ()}
    source = options.data
    if source is None:
        if preset:
            raise CommandError(f"the preset {options.preset} needs --data", 2)
        source = "digits"
    if preset.get("path_column") and options.image_root is None:
        raise CommandError(f"the preset {options.preset} needs --image-root", 2)
    data["source"] = str(source)
    scale = preset.get("scale_labels", True) and not options.no_scale
    settings = RegressionSettings(DataSettings(**data), **given(_TRAINING), scale_labels=scale)
    try:
        drops(settings.schedule)
    except ValueError as error:
        raise CommandError(str(error), 2) from None
    return settings


def load(
    settings: "RegressionSettings", seed: int, console: "Console"
) -> tuple["RegressionData", list[str]]:
    """Read the data and return it with the lines that describe it.

    Raises:
        CommandError: it cannot be read.
    """
    from rankgrad.data.regression import DataError
    from rankgrad.recipes.regression.loading import load_data, regions_of
    from rankgrad.recipes.regression.overview import overview

    try:
        with counting(console, "reading the data") as tell:
            data = load_data(settings.data, seed, tell)
        return data, overview(data, *regions_of(data, settings.data))
    except (DataError, ModuleNotFoundError) as error:
        raise CommandError(str(error), 2) from None
